//! Feeds the machines from the outside world and does what they ask, on a thread of its own.
//!
//! The thread lives as long as the process: signals are unblocked in it (a signal that every thread blocks stays
//! pending for ever), and it outlives the runtimes of the program.

mod acting;
mod moving;

use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Instant;

use futures_core::Stream;
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use self::moving::{Arrivals, Moves};
use super::builder::{Deadlines, StartError};
use super::outcome::RestartError;
use super::peer::{Did, Peer};
use super::shared::{Answer, Command, Life, Shared};
use super::successor::{Made, Recipe};
use crate::drain::ConnectionStatus;
use crate::ending::Ending;
use crate::event::Event;
use crate::handover::launch::Requested;
use crate::handover::message::Message;
use crate::handover::{Failure, Launch, Refusal, Serving, Succeed};
use crate::inherited::Predecessor;
use crate::listeners::Socket;
use crate::moving::Departure;
use crate::operate::pid_file::PidFile;
use crate::signals::{Reaction, Signal, SignalMap};
use crate::sys;
use crate::sys::pidfd::Exit;

/// What the driver is made from.
pub(super) struct Start {
    pub(super) refusal: Option<Refusal>,
    pub(super) deadlines: Deadlines,
    pub(super) signals: SignalMap,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) recipe: Recipe,
    pub(super) pid_file: Option<Arc<PidFile>>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
}

/// Starts the thread, and returns once the signals are handled.
pub(super) fn start(start: Start) -> Result<(), StartError> {
    let (started, outcome) = std_mpsc::sync_channel(1);
    thread::Builder::new()
        .name("heirloom".to_owned())
        .stack_size(STACK)
        .spawn(move || run(start, &started))
        .map_err(StartError::Thread)?;
    outcome.recv().unwrap_or_else(|_| Err(StartError::Thread(io::ErrorKind::BrokenPipe.into())))
}

/// Signal hooks and the program's `tracing` subscriber run on it, so it is not as small as the driver itself needs;
/// pages that nobody touches cost nothing.
const STACK: usize = 1024 * 1024;

fn run(start: Start, started: &std_mpsc::SyncSender<Result<(), StartError>>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Spawning happens a few times in a process's life: keep no thread for it.
        .thread_keep_alive(std::time::Duration::from_millis(1))
        .build();
    let made = runtime.map_err(StartError::Thread).and_then(|runtime| {
        let driver = runtime.block_on(async { Driver::new(start) })?;
        Ok((runtime, driver))
    });
    match made {
        Ok((runtime, driver)) => {
            let _ = started.send(Ok(()));
            let span =
                tracing::info_span!(target: "heirloom", "heirloom", generation = driver.shared.generation);
            runtime.block_on(driver.drive().instrument(span));
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    }
}

struct Driver {
    shared: Arc<Shared>,
    recipe: Recipe,
    refusal: Option<Refusal>,
    deadlines: Deadlines,
    map: SignalMap,
    signals: Signals,
    commands: mpsc::UnboundedReceiver<Command>,
    pid_file: Option<Arc<PidFile>>,
    succeed: Succeed,
    launch: Launch,
    serving: Serving,
    predecessor: Option<Peer>,
    attempt: Option<Attempt>,
    /// Killed successors that would not die: waited for, so that they are reaped when they do.
    abandoned: Vec<JoinHandle<()>>,
    answers: Vec<Answer>,
    /// Those whose request was remembered, for the next outcome but one.
    later: Vec<Answer>,
    watches: Watches,
    /// Connections on their way to the successor.
    moves: Moves,
    /// Connections from the predecessor, until they are answered for.
    arrivals: Arrivals,
    /// What waits for a successor that is being born: with us gone it would take over.
    held_end: Option<(Instant, Ending)>,
    /// When to tell next how the drain comes along.
    progress: Option<Instant>,
    /// When the connections are aborted that heirloom does not speak on, and what was aborted so far.
    upgraded: Option<Instant>,
    aborted: Vec<ConnectionStatus>,
}

/// What the driver waits for beside peers, signals and commands.
#[derive(Default)]
struct Watches {
    backlog: bool,
    connections: bool,
    /// The world has been told of the successor; the machine has not heard so yet.
    announced: bool,
}

/// One try to restart.
struct Attempt {
    requested: Instant,
    sockets: Vec<Arc<Socket>>,
    step: Step,
    /// Whether the successor goes on with connections that this process had.
    takes_moves: bool,
}

enum Step {
    Spawning(JoinHandle<Result<Made, Failure>>),
    Running { pid: u32, peer: Peer },
}

/// One thing that happened.
enum Input {
    Command(Command),
    Signal(Signal),
    Made(Result<Made, Failure>),
    Successor(Did),
    Predecessor(Did),
    Departure(Departure),
    /// The channel was full; it may not be any more.
    Retry,
    BacklogServed,
    Drained,
    Timeout,
}

impl Driver {
    fn new(start: Start) -> Result<Driver, StartError> {
        let Start { refusal, deadlines, signals: map, predecessor, recipe, pid_file, shared, commands } =
            start;
        let numbers = map.signals();
        let failed = |source| StartError::Signals { signals: numbers.clone(), source };
        let signals = Signals::new(&numbers).map_err(failed)?;
        // Not before the handlers are in: what came meanwhile is delivered now.
        sys::signals::unblock_here(&numbers).map_err(failed)?;
        let succeed = match predecessor {
            Some(_) => Succeed::new(deadlines.start),
            None => Succeed::first(deadlines.start),
        };
        let predecessor = predecessor
            .map(|predecessor| Peer::new(predecessor.channel, predecessor.pidfd))
            .transpose()
            .map_err(StartError::Thread)?;
        Ok(Driver {
            launch: Launch::new(deadlines.start, deadlines.probation),
            serving: Serving::new(deadlines.drain, deadlines.shutdown).with_notice(deadlines.notice),
            shared,
            recipe,
            refusal,
            deadlines,
            map,
            signals,
            commands,
            pid_file,
            succeed,
            predecessor,
            attempt: None,
            abandoned: Vec::new(),
            answers: Vec::new(),
            later: Vec::new(),
            watches: Watches::default(),
            moves: Moves::default(),
            arrivals: Arrivals::default(),
            held_end: None,
            progress: None,
            upgraded: None,
            aborted: Vec::new(),
        })
    }

    async fn drive(mut self) {
        loop {
            let input = self.next().await;
            self.take(input);
            self.act();
            self.moves.send(self.attempt.as_ref());
            self.arrivals.deliver(&self.shared.listeners, self.predecessor.as_ref());
            if std::mem::take(&mut self.watches.announced) {
                self.catch_up();
                self.launch.announced();
                self.act();
            }
        }
    }

    /// Hears what the peers have done by now, before the machines act on the passing of time alone: a successor that
    /// died in the last moment of its probation must not be settled on.
    fn catch_up(&mut self) {
        for _ in 0..MESSAGES_AT_ONCE {
            let now = Instant::now();
            if let Some(did) = self.successor().and_then(Peer::so_far) {
                self.successor_did(now, did);
            } else if let Some(did) = self.predecessor.as_mut().and_then(Peer::so_far) {
                self.predecessor_did(now, did);
            } else {
                return;
            }
            self.act();
        }
    }

    fn successor(&mut self) -> Option<&mut Peer> {
        match &mut self.attempt.as_mut()?.step {
            Step::Running { peer, .. } => Some(peer),
            Step::Spawning(_) => None,
        }
    }

    /// What happens next. Cancel safe in each of its branches.
    async fn next(&mut self) -> Input {
        let held = self.held_end.as_ref().map(|(until, _)| *until);
        let deadlines = [
            self.succeed.deadline(),
            self.launch.deadline(),
            self.serving.deadline(),
            held,
            self.progress,
            self.upgraded,
        ];
        let deadline = deadlines.into_iter().flatten().min();
        let stuck = self.moves.is_stuck() || !self.arrivals.is_empty();
        let signals = &mut self.signals;
        let attempt = &mut self.attempt;
        let predecessor = &mut self.predecessor;
        let shared = &self.shared;
        tokio::select! {
            input = next_of_attempt(attempt), if attempt.is_some() => input,
            // Not while it has sent more than we could answer: its queue holds the rest.
            did = next_of_peer(predecessor), if predecessor.is_some() && self.arrivals.is_empty() => {
                Input::Predecessor(did)
            }
            departure = self.moves.next() => Input::Departure(departure),
            () = tokio::time::sleep(RETRY), if stuck => Input::Retry,
            Some(signal) = std::future::poll_fn(|cx| Pin::new(&mut *signals).poll_next(cx)) => {
                Input::Signal(Signal::from_number(signal))
            }
            Some(command) = self.commands.recv() => Input::Command(command),
            () = shared.listeners.emptied(), if self.watches.backlog => Input::BacklogServed,
            () = shared.tracker.emptied(), if self.watches.connections => Input::Drained,
            () = sleep_until(deadline) => Input::Timeout,
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Signal(signal) => self.signal(now, signal),
            Input::Made(made) => {
                match made {
                    Ok(made) => self.made(now, made),
                    Err(failure) => {
                        self.attempt = None;
                        self.launch.spawn_failed(now, failure);
                    }
                }
                self.act();
                self.release_end();
            }
            Input::Successor(did) => self.successor_did(now, did),
            Input::Predecessor(did) => self.predecessor_did(now, did),
            Input::Departure(departure) => self.moves.depart(departure),
            Input::Retry => {}
            Input::BacklogServed => {
                self.watches.backlog = false;
                self.serving.emptied_backlog();
            }
            Input::Drained => {
                self.watches.connections = false;
                self.serving.drained();
            }
            Input::Timeout => {
                self.catch_up();
                self.succeed.timeout(now);
                self.launch.timeout(now);
                self.serving.timeout(now);
                self.hammer_upgraded(now);
                self.tell_progress(now);
                if self.held_end.as_ref().is_some_and(|(until, _)| now >= *until) {
                    self.release_end();
                }
            }
        }
    }

    fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Ready => {
                let unclaimed = self.shared.listeners.close_unclaimed();
                self.succeed.ready(now, unclaimed);
            }
            Command::Failed { reason, said } => {
                // The predecessor's log gets it, or else the program prints the error that it has in its hands.
                tracing::debug!(reason, "initialisation failed");
                self.succeed.failed(reason);
                self.act();
                let _ = said.send(());
            }
            Command::Restart { answer } => self.request(now, answer),
            Command::Shutdown { within } => self.stop(now, within),
            Command::Hammer => {
                self.stop(now, None);
                self.serving.hammer_now();
            }
        }
    }

    fn signal(&mut self, now: Instant, signal: Signal) {
        let reaction = self.map.reaction(signal);
        tracing::info!(%signal, ?reaction, "signal");
        self.map.run_before(signal);
        match reaction {
            Some(Reaction::Restart) => self.request(now, None),
            Some(Reaction::Stop) => self.stop_by_signal(now, signal),
            Some(Reaction::Hammer) => self.command(now, Command::Hammer),
            Some(Reaction::Hooks) | None => {}
        }
        self.act();
        self.map.run_after(signal);
    }

    fn request(&mut self, now: Instant, answer: Option<Answer>) {
        let requested = match &self.refusal {
            Some(refusal) => Err(refusal.clone()),
            None if !self.succeed.is_serving() => {
                self.succeed.request();
                self.shared.report(Event::Remembered);
                Ok(Requested::Remembered)
            }
            None => self.launch.request(now),
        };
        match requested {
            Ok(Requested::Started) => self.answers.extend(answer),
            Ok(_) => self.later.extend(answer),
            Err(refusal) => {
                tracing::warn!(%refusal, "restart refused");
                self.shared.report(Event::Refused(refusal.clone()));
                if let Some(answer) = answer {
                    let _ = answer.send(Err(RestartError::Refused(refusal)));
                }
            }
        }
    }

    fn stop_by_signal(&mut self, now: Instant, signal: Signal) {
        let left = matches!(*self.shared.life.borrow(), Life::Left(_));
        self.stop(now, None);
        if left {
            // A second one, and the program is still initialising: there is nothing to drain, and only the signal's
            // own meaning is left to end it.
            let _ = signal_hook::low_level::emulate_default_handler(signal.number());
        }
    }

    fn stop(&mut self, now: Instant, within: Option<std::time::Duration>) {
        if self.succeed.is_serving() {
            // The machines' actions have no time limit in them, so they are carried out here.
            self.launch.stop();
            self.act_on_launch(now, within);
        } else {
            self.succeed.stop();
            self.act_on_succeed(now, within);
        }
        // It may have been on already, by the other side's word.
        if let Some(within) = within {
            self.serving.hasten(now, within);
        }
    }

    fn made(&mut self, now: Instant, made: Made) {
        let Made { spawned, channel } = made;
        let pid = u32::try_from(spawned.pid).unwrap_or_default();
        let Some(attempt) = &mut self.attempt else { return };
        let reaper = spawned.pid;
        match Peer::new(channel, spawned.pidfd) {
            Ok(peer) => {
                attempt.step = Step::Running { pid, peer };
                let after = attempt.requested.elapsed();
                tracing::info!(pid, ?after, "successor started");
                self.shared.report(Event::Spawned { pid, after });
                self.launch.spawned();
            }
            Err(error) => {
                // What cannot be watched must not become the service.
                self.abandoned.push(tokio::task::spawn_blocking(move || sys::spawn::kill_and_reap(reaper)));
                self.attempt = None;
                self.launch.spawn_failed(
                    now,
                    Failure::Spawn { reason: format!("cannot watch the successor: {error}") },
                );
            }
        }
    }

    fn successor_did(&mut self, now: Instant, did: Did) {
        match did {
            Did::Say(Message::Taken { ids }, _) => self.moves.taken(&ids),
            Did::Say(Message::Refused { ids }, _) => self.moves.refused(&ids),
            Did::Say(message, _) => {
                tracing::debug!(?message, "the successor says");
                if let (Message::Ready { takes_moves, .. }, Some(attempt)) = (&message, &mut self.attempt) {
                    attempt.takes_moves = *takes_moves;
                }
                self.launch.message(now, message);
            }
            Did::Babble(error) => {
                tracing::warn!(%error, "the successor cannot be understood");
                self.launch.garbage(now, error.to_string());
            }
            Did::Die => {
                let how = self.reap();
                tracing::debug!(how, "the successor is gone");
                self.shared.tracker.withdraw_moves();
                self.moves.lost();
                // The machine first: an action that it still asks for must not reach the next successor.
                self.launch.died(now, Failure::Died { how });
                if !self.launch.in_progress() {
                    self.attempt = None;
                }
            }
        }
    }

    fn predecessor_did(&mut self, now: Instant, did: Did) {
        match did {
            Did::Say(Message::Move { connections }, fds) => self.arrivals.push(connections, fds),
            Did::Say(message, _) => {
                tracing::debug!(?message, "the predecessor says");
                self.succeed.message(now, message);
            }
            Did::Babble(error) => tracing::warn!(%error, "the predecessor cannot be understood"),
            Did::Die => {
                tracing::debug!("the predecessor is gone");
                self.predecessor = None;
                self.succeed.predecessor_died();
            }
        }
    }

    fn reap(&self) -> String {
        let Some(Attempt { step: Step::Running { peer, .. }, .. }) = &self.attempt else {
            return String::new();
        };
        match peer.pidfd().reap() {
            Ok(Some(exit)) => exit.to_string(),
            Ok(None) | Err(_) => Exit::Unknown.to_string(),
        }
    }
}

/// How much a peer may say before others are heard again. A handover is six messages; more is babble.
const MESSAGES_AT_ONCE: usize = 64;

/// How long to wait when the channel is full, or too many descriptors are under way in it: nothing says when a peer
/// has read. It reads as soon as it runs, so this is short.
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

async fn next_of_peer(peer: &mut Option<Peer>) -> Did {
    match peer {
        Some(peer) => peer.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
