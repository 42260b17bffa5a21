//! Feeds the machines from the outside world and does what they ask, on a [thread] of its own.

mod acting;
mod giving;
mod hearing;
mod moving;
mod operating;
mod superior;
mod telling;
mod thread;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

pub(super) use self::giving::Bounds;
use self::giving::{Asking, Giving, Made as MadeState};
use self::moving::{Arrivals, Moves};
use self::operating::{Asked, Control, Operating};
use self::superior::Superior;
pub(super) use self::thread::{Start, THREAD, start};
use super::builder::Deadlines;
use super::shared::{Answer, Command, Shared};
use super::start_error::StartError;
use crate::drain::ConnectionStatus;
use crate::drain::departure::Departure;
use crate::handdown::peer::{Did, MESSAGES_AT_ONCE, Peer, sleep_until};
use crate::handdown::recipe::{Made, Recipe};
use crate::handover::message::Takes;
use crate::handover::{Failure, Launch, Refusal, Serving, Succeed, Supervised};
use crate::operate::pid_file::PidFile;
use crate::restarter::ending::Ending;
use crate::restarter::signals::{Hooking, Inbox, SignalMap};
use crate::sockets::socket::Socket;
use crate::sys::arrivals::Arrival;

struct Driver {
    shared: Arc<Shared>,
    deadlines: Deadlines,
    commands: mpsc::UnboundedReceiver<Command>,
    signals: Signals,
    // What decides.
    succeed: Succeed,
    launch: Launch,
    serving: Serving,
    // The other processes.
    predecessor: Option<Peer>,
    superior: Option<Superior>,
    attempt: Option<Attempt>,
    /// Killed successors that would not die: waited for, so that they are reaped when they do.
    abandoned: Vec<JoinHandle<()>>,
    // What a successor is made from, or why there can be none.
    recipe: Recipe,
    refusal: Option<Refusal>,
    pid_file: Option<Arc<PidFile>>,
    announcement: Announcement,
    // What goes between two generations: connections out and in, state out and in.
    moves: Moves,
    arrivals: Arrivals,
    giving: Giving,
    asking: Asking,
    // Those who want to know.
    waiting: Waiting,
    operating: Operating,
    farewell: Farewell,
}

/// The signals that this process hears, and the hooks around them.
struct Signals {
    map: SignalMap,
    inbox: Inbox,
    /// One that waits for its hooks.
    hooking: Option<Hooking>,
}

/// Whoever waits for an answer.
#[derive(Default)]
struct Waiting {
    now: Vec<Answer>,
    /// Those whose request was remembered, for the next outcome but one.
    later: Vec<Answer>,
    /// For a word to the predecessor to be on its way.
    said: Vec<oneshot::Sender<()>>,
}

/// Which process the world takes for the service.
#[derive(Default)]
struct Announcement {
    /// The service manager is being told of the successor.
    heard: Option<oneshot::Receiver<()>>,
    /// The world was told last that this process is the service.
    is_own: bool,
}

/// The end of this process, and what it waits for.
#[derive(Default)]
struct Farewell {
    backlog: bool,
    /// For the last connection; until then, also for queues that are this process's alone.
    connections: Option<Instant>,
    /// When to tell next how the drain comes along.
    progress: Option<Instant>,
    /// When the connections are aborted that heirloom does not speak on.
    upgraded: Option<Instant>,
    aborted: Vec<ConnectionStatus>,
    /// Nothing is waited for any more.
    hammer_is_due: bool,
    /// What waits for a successor that is being born: with us gone it would take over.
    held: Option<(Instant, Ending)>,
}

/// One try to restart.
struct Attempt {
    requested: Instant,
    sockets: Vec<Arc<Socket>>,
    step: Step,
    /// What the successor goes on with.
    takes: Takes,
}

enum Step {
    Spawning(oneshot::Receiver<Result<Made, Failure>>),
    Running { pid: u32, peer: Peer },
}

/// One thing that happened.
enum Input {
    Command(Command),
    Signal(Arrival),
    Hooked,
    Asked(Asked),
    Made(Result<Made, Failure>),
    Successor(Did),
    Predecessor(Did),
    Supervisor(Did),
    Departure(Departure),
    State(MadeState),
    /// The channel was full; it may not be any more.
    Retry,
    BacklogServed,
    Drained,
    Announced,
    Timeout,
}

impl Driver {
    fn new(start: Start) -> Result<Driver, StartError> {
        let Start {
            refusal,
            deadlines,
            state,
            signals: map,
            predecessor,
            supervisor,
            recipe,
            pid_file,
            history,
            control,
            shared,
            commands,
        } = start;
        let numbers = map.signals();
        let failed = |source| StartError::Signals { signals: numbers.clone(), source };
        let inbox = Inbox::new(&numbers).map_err(failed)?;
        let is_awaited = predecessor.is_some() || supervisor.is_some();
        let succeed = match is_awaited {
            true => Succeed::new(deadlines.start),
            false => Succeed::first(deadlines.start),
        };
        let operating = Operating::new(
            history,
            predecessor.as_ref().map(|predecessor| predecessor.pid),
            Control::new(control).map_err(StartError::Wait)?,
        );
        let gives_state = predecessor.as_ref().map(|predecessor| predecessor.gives_state);
        let predecessor = predecessor
            .map(|predecessor| Peer::new(predecessor.channel, predecessor.pidfd))
            .transpose()
            .map_err(StartError::Wait)?;
        let superior = supervisor.map(|supervisor| {
            let peer = Peer::new(supervisor.channel, supervisor.pidfd)?;
            Ok(Superior::new(peer, Supervised::new(supervisor.orphans), supervisor.takes_operators))
        });
        let superior = superior.transpose().map_err(StartError::Wait)?;
        Ok(Driver {
            signals: Signals { map, inbox, hooking: None },
            launch: Launch::new(deadlines.start, deadlines.probation),
            serving: Serving::new(deadlines.drain, deadlines.shutdown).with_notice(deadlines.notice),
            shared,
            deadlines,
            commands,
            succeed,
            predecessor,
            superior,
            attempt: None,
            abandoned: Vec::new(),
            recipe,
            refusal,
            pid_file,
            announcement: Announcement::default(),
            moves: Moves::default(),
            arrivals: Arrivals::default(),
            giving: Giving::new(state),
            asking: Asking::new(state, gives_state),
            waiting: Waiting::default(),
            operating,
            farewell: Farewell::default(),
        })
    }

    async fn drive(&mut self) {
        loop {
            let input = self.next().await;
            if matches!(input, Input::Timeout | Input::Announced) {
                self.catch_up();
            }
            self.step(input);
        }
    }

    /// Takes one thing in, and does all that follows from it.
    fn step(&mut self, input: Input) {
        self.take(input);
        self.act();
        for said in std::mem::take(&mut self.waiting.said) {
            let _ = said.send(());
        }
        self.moves.send(self.attempt.as_ref());
        self.giving.send(self.attempt.as_ref());
        self.asking.send(self.predecessor.as_ref());
        if let Some(superior) = &mut self.superior {
            superior.send();
        }
        self.operating.moved_so_far(self.moves.is_idle());
        self.release_end_if_done();
        self.arrivals.deliver(&self.shared.listeners, self.predecessor.as_ref());
    }

    /// Hears what the peers have done by now, before the machines act on the passing of time alone: a
    /// successor that died in the last moment of its probation must not be settled on.
    fn catch_up(&mut self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(input) = self.heard_so_far() else { return };
            self.step(input);
        }
    }

    fn heard_so_far(&mut self) -> Option<Input> {
        if let Some(did) = self.successor().and_then(Peer::so_far) {
            Some(Input::Successor(did))
        } else if let Some(did) = self.predecessor.as_mut().and_then(Peer::so_far) {
            Some(Input::Predecessor(did))
        } else {
            self.supervisor().and_then(Peer::so_far).map(Input::Supervisor)
        }
    }

    fn successor(&mut self) -> Option<&mut Peer> {
        match &mut self.attempt.as_mut()?.step {
            Step::Running { peer, .. } => Some(peer),
            Step::Spawning(_) => None,
        }
    }

    fn supervisor(&mut self) -> Option<&mut Peer> {
        self.superior.as_mut()?.peer.as_mut()
    }

    /// What happens next. Cancel safe in each of its branches.
    async fn next(&mut self) -> Input {
        let held = self.farewell.held.as_ref().map(|(until, _)| *until);
        let deadlines = [
            self.succeed.deadline(),
            self.launch.deadline(),
            self.serving.deadline(),
            held,
            self.farewell.progress,
            self.farewell.upgraded,
            self.asking.deadline(),
            self.superior.as_ref().and_then(|superior| superior.machine.deadline()),
            self.shared.service.next_sample(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let stuck = self.moves.is_stuck()
            || !self.arrivals.is_empty()
            || self.giving.is_stuck()
            || self.asking.is_stuck()
            || self.superior.as_ref().is_some_and(Superior::is_stuck)
            || self.peers().any(Peer::is_stuck);
        let Signals { inbox, hooking, .. } = &mut self.signals;
        let attempt = &mut self.attempt;
        let predecessor = &mut self.predecessor;
        let supervisor = self.superior.as_mut().and_then(|superior| superior.peer.as_mut());
        let shared = &self.shared;
        let operating = &mut self.operating;
        tokio::select! {
            input = next_of_attempt(attempt), if attempt.is_some() => input,
            // Not while it has sent more than we could answer: its queue holds the rest.
            did = next_of(predecessor.as_mut()), if predecessor.is_some() && self.arrivals.is_empty() => {
                Input::Predecessor(did)
            }
            did = next_of(supervisor) => Input::Supervisor(did),
            departure = self.moves.next() => Input::Departure(departure),
            made = self.giving.next() => Input::State(made),
            () = tokio::time::sleep(RETRY), if stuck => Input::Retry,
            arrival = inbox.next() => Input::Signal(arrival),
            () = Hooking::over(hooking) => Input::Hooked,
            Some(command) = self.commands.recv() => Input::Command(command),
            asked = operating.next() => Input::Asked(asked),
            () = shared.listeners.emptied(), if self.farewell.backlog => Input::BacklogServed,
            () = drained(shared, self.farewell.connections) => Input::Drained,
            () = told(&mut self.announcement.heard), if self.announcement.heard.is_some() => Input::Announced,
            () = sleep_until(deadline) => Input::Timeout,
        }
    }

    fn peers(&self) -> impl Iterator<Item = &Peer> {
        let successor = self.attempt.as_ref().and_then(|attempt| match &attempt.step {
            Step::Running { peer, .. } => Some(peer),
            Step::Spawning(_) => None,
        });
        let superior = self.superior.as_ref().and_then(|superior| superior.peer.as_ref());
        successor.into_iter().chain(&self.predecessor).chain(superior)
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Signal(arrival) => self.signal(now, &arrival),
            Input::Hooked => self.hooked(now),
            Input::Asked(asked) => self.asked(asked),
            Input::Made(made) => match made {
                Ok(made) => self.made(now, made),
                Err(failure) => {
                    self.attempt = None;
                    self.launch.spawn_failed(now, failure);
                }
            },
            Input::Successor(did) => self.successor_did(now, did),
            Input::Predecessor(did) => self.predecessor_did(now, did),
            Input::Supervisor(did) => self.supervisor_did(now, did),
            Input::Departure(departure) => self.moves.depart(departure),
            Input::State(made) => self.giving.made(made),
            Input::Retry => self.peers().for_each(Peer::send_unsent),
            Input::BacklogServed => {
                self.farewell.backlog = false;
                self.serving.emptied_backlog();
            }
            Input::Drained => {
                self.farewell.connections = None;
                self.serving.drained();
            }
            Input::Announced => {
                self.announcement.heard = None;
                self.launch.announced();
            }
            Input::Timeout => {
                self.succeed.timeout(now);
                if self.successor().is_some_and(|successor| !successor.is_heard()) {
                    self.launch.unheard(now);
                }
                self.launch.timeout(now);
                self.serving.timeout(now);
                self.asking.timeout(now);
                if let Some(superior) = &mut self.superior {
                    superior.machine.timeout(now);
                }
                self.act_on_supervised(now, Vec::new());
                self.hammer_upgraded(now);
                self.tell_progress(now);
                let _counted = self.shared.service.sample(now, || self.shared.tracker.count());
                #[cfg(feature = "udp")]
                if _counted {
                    self.shared.service.flows(&self.shared.flows());
                }
                if self.farewell.held.as_ref().is_some_and(|(until, _)| now >= *until) {
                    self.release_end();
                }
            }
        }
    }
}

/// How long to wait when the channel is full, or too many descriptors are under way in it: nothing says when
/// a peer has read. It reads as soon as it runs, so this is short.
const RETRY: std::time::Duration = std::time::Duration::from_millis(1);

async fn next_of_attempt(attempt: &mut Option<Attempt>) -> Input {
    let Some(attempt) = attempt else { return std::future::pending().await };
    match &mut attempt.step {
        Step::Spawning(making) => Input::Made(making.await.unwrap_or_else(|_| {
            Err(Failure::Spawn { reason: "the thread that starts successors panicked".to_owned() })
        })),
        Step::Running { peer, .. } => Input::Successor(peer.next().await),
    }
}

async fn drained(shared: &Shared, queues: Option<Instant>) {
    match queues {
        Some(queues) => shared.listeners.drained(&shared.tracker, queues).await,
        None => std::future::pending().await,
    }
}

async fn next_of(peer: Option<&mut Peer>) -> Did {
    match peer {
        Some(peer) => peer.next().await,
        None => std::future::pending().await,
    }
}

/// That nobody tells any more is as good: the machine's own deadline is for a manager that hangs.
async fn told(announcing: &mut Option<oneshot::Receiver<()>>) {
    if let Some(announcing) = announcing {
        let _ = announcing.await;
    }
}
