//! Feeds the machines from the outside world and does what they ask, on a thread of its own.
//!
//! The thread lives as long as the process: signals are unblocked in it (a signal that every thread blocks stays
//! pending for ever), and it outlives the runtimes of the program.

use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::Instant;

use futures_core::Stream;
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

use super::builder::{Deadlines, StartError};
use super::outcome::{Outcome, RestartError};
use super::peer::{Did, Peer};
use super::shared::{Answer, Command, Life, Shared};
use super::successor::{Made, Recipe};
use crate::ending::Ending;
use crate::event::Event;
use crate::handover::launch::{self, Launch, Report, Requested};
use crate::handover::message::Message;
use crate::handover::serving::{self, Reason, Serving};
use crate::handover::succeed::{self, Departure, Succeed};
use crate::handover::{Failure, Refusal};
use crate::inherited::Predecessor;
use crate::listeners::Socket;
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
}

/// What the driver waits for beside peers, signals and commands.
#[derive(Default)]
struct Watches {
    backlog: bool,
    connections: bool,
}

/// One try to restart.
struct Attempt {
    requested: Instant,
    sockets: Vec<Arc<Socket>>,
    step: Step,
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
            serving: Serving::new(deadlines.drain, deadlines.shutdown),
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
        })
    }

    async fn drive(mut self) {
        loop {
            let input = self.next().await;
            self.take(input);
            self.act();
        }
    }

    /// What happens next. Cancel safe in each of its branches.
    async fn next(&mut self) -> Input {
        let deadlines = [self.succeed.deadline(), self.launch.deadline(), self.serving.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        let signals = &mut self.signals;
        let attempt = &mut self.attempt;
        let predecessor = &mut self.predecessor;
        let shared = &self.shared;
        tokio::select! {
            input = next_of_attempt(attempt), if attempt.is_some() => input,
            did = next_of_peer(predecessor), if predecessor.is_some() => Input::Predecessor(did),
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
            Input::Made(Ok(made)) => self.made(now, made),
            Input::Made(Err(failure)) => {
                self.attempt = None;
                self.launch.spawn_failed(now, failure);
            }
            Input::Successor(did) => self.successor_did(now, did),
            Input::Predecessor(did) => self.predecessor_did(now, did),
            Input::BacklogServed => {
                self.watches.backlog = false;
                self.serving.emptied_backlog();
            }
            Input::Drained => {
                self.watches.connections = false;
                self.serving.drained();
            }
            Input::Timeout => {
                self.succeed.timeout(now);
                self.launch.timeout(now);
                self.serving.timeout(now);
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
                tracing::error!(reason, "initialisation failed");
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
            // The launch answers with an action that has no time limit in it.
            self.launch.stop();
            self.act_on_launch(now, within);
        } else {
            self.succeed.stop();
            self.act_on_succeed(now, within);
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
            Did::Say(message) => {
                tracing::debug!(?message, "the successor says");
                self.launch.message(now, message);
            }
            Did::Babble(error) => {
                tracing::warn!(%error, "the successor cannot be understood");
                self.launch.garbage(now, error.to_string());
            }
            Did::Die => {
                let how = self.reap();
                tracing::debug!(how, "the successor is gone");
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
            Did::Say(message) => {
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

    /// Does what the machines ask, until they ask for nothing more.
    fn act(&mut self) {
        let now = Instant::now();
        self.act_on_succeed(now, None);
        self.act_on_launch(now, None);
        self.act_on_serving(now);
    }

    fn act_on_succeed(&mut self, now: Instant, within: Option<std::time::Duration>) {
        while let Some(action) = self.succeed.poll_action() {
            match action {
                succeed::Action::Send(message) => {
                    if let Some(predecessor) = &self.predecessor {
                        predecessor.send(&message);
                    }
                }
                succeed::Action::StartAccepting => self.start_accepting(),
                succeed::Action::AnnounceOwn => self.announce_own(),
                succeed::Action::Serve { restart } => self.serve(now, restart),
                succeed::Action::Shutdown => self.serving.shutdown(now, within),
                succeed::Action::Leave(departure) => self.leave(departure),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn act_on_launch(&mut self, now: Instant, within: Option<std::time::Duration>) {
        while let Some(action) = self.launch.poll_action() {
            match action {
                launch::Action::Spawn => self.spawn(now),
                launch::Action::Send(message) => self.tell_successor(&message),
                launch::Action::Kill => self.kill(),
                launch::Action::Abandon => self.abandon(),
                launch::Action::PauseAccepting { unclaimed } => {
                    self.shared.listeners.pause(self.sockets(), &unclaimed);
                }
                launch::Action::ResumeAccepting => self.shared.listeners.accept(),
                launch::Action::Announce => self.announce_successor(),
                launch::Action::AnnounceOwn => self.announce_own(),
                launch::Action::HandOver { unclaimed } => {
                    self.shared.listeners.hand_over(self.sockets(), &unclaimed);
                    self.pid_file = None;
                    self.serving.handed_over(now);
                }
                launch::Action::Shutdown => {
                    self.answer_stopped();
                    self.serving.shutdown(now, within);
                }
                launch::Action::Report(report) => self.report(report),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn act_on_serving(&mut self, now: Instant) {
        while let Some(action) = self.serving.poll_action() {
            match action {
                serving::Action::ServeBacklog => {
                    self.shared.listeners.serve_backlog();
                    self.watches.backlog = true;
                }
                serving::Action::CloseListeners => {
                    self.watches.backlog = false;
                    self.shared.listeners.close();
                }
                serving::Action::Drain { deadline, .. } => {
                    let connections = self.shared.tracker.count();
                    let within = deadline.saturating_duration_since(now);
                    tracing::info!(connections, ?within, "draining");
                    self.shared.report(Event::Draining { connections, within });
                    self.shared.tracker.begin(self.deadlines.idle_linger);
                    self.watches.connections = true;
                }
                serving::Action::Hammer => self.watches.connections = false,
                serving::Action::End(reason) => self.end(reason),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn start_accepting(&mut self) {
        self.shared.listeners.accept();
        self.shared.life.send_replace(Life::Accepting);
        let generation = self.shared.generation;
        tracing::info!(generation, "accepting");
        self.shared.report(Event::Accepting { generation });
    }

    fn serve(&mut self, now: Instant, restart: bool) {
        // What it still has to tell has been told; its exit is none of our business.
        self.predecessor = None;
        // It wrote our id to its own pid file; ours may be another.
        self.announce_own();
        tracing::debug!("settled, this process is the service");
        if restart {
            self.answers.append(&mut self.later);
            self.request(now, None);
        }
    }

    fn leave(&mut self, departure: Departure) {
        tracing::info!(?departure, "leaving, nothing was taken");
        self.shared.listeners.close();
        self.shared.life.send_replace(Life::Left(departure));
        self.shared.tracker.begin(std::time::Duration::ZERO);
    }

    fn spawn(&mut self, now: Instant) {
        let sockets = self.shared.listeners.open();
        let recipe = self.recipe.clone();
        let (handed, pid_file) = (sockets.clone(), self.pid_file.clone());
        // A thread of its own, since an exec from a file system that hangs must not keep a stop from being heard.
        let step =
            Step::Spawning(tokio::task::spawn_blocking(move || recipe.make(&handed, pid_file.as_deref())));
        self.attempt = Some(Attempt { requested: now, sockets, step });
    }

    fn tell_successor(&self, message: &Message) {
        if let Some(Attempt { step: Step::Running { peer, .. }, .. }) = &self.attempt {
            peer.send(message);
        }
    }

    fn kill(&self) {
        if let Some(Attempt { step: Step::Running { peer, pid }, .. }) = &self.attempt {
            // ESRCH: it is dead already, and its death is on its way to us.
            if let Err(error) = peer.pidfd().signal(libc::SIGKILL) {
                tracing::debug!(pid, %error, "could not kill the successor");
            }
        }
    }

    fn abandon(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        self.abandoned.retain(|waiting| !waiting.is_finished());
        self.abandoned.push(tokio::spawn(async move {
            let mut peer = match attempt.step {
                Step::Running { pid, peer } => {
                    tracing::error!(pid, "a killed successor does not die; going on without it");
                    peer
                }
                Step::Spawning(spawning) => {
                    let Ok(Ok(made)) = spawning.await else { return };
                    let _ = made.spawned.pidfd.signal(libc::SIGKILL);
                    let Ok(peer) = Peer::new(made.channel, made.spawned.pidfd) else { return };
                    peer
                }
            };
            while !matches!(peer.next().await, Did::Die) {}
            let _ = peer.pidfd().reap();
        }));
    }

    fn announce_successor(&mut self) {
        if let (Some(pid_file), Some(pid)) = (&self.pid_file, self.successor_pid()) {
            pid_file.write(pid);
        }
        self.launch.announced();
    }

    fn announce_own(&self) {
        if let Some(pid_file) = &self.pid_file {
            pid_file.write(std::process::id());
        }
    }

    fn report(&mut self, report: Report) {
        let (pid, after) = (self.successor_pid().unwrap_or_default(), self.since_request());
        match report {
            Report::Starting => {
                tracing::info!("restart: starting a successor");
                self.shared.report(Event::Starting);
            }
            Report::Remembered => {
                tracing::info!("restart: one is on its way, another one follows it");
                self.shared.report(Event::Remembered);
            }
            Report::Ready => {
                tracing::info!(pid, ?after, "successor ready");
                self.shared.report(Event::Ready { pid, after });
            }
            Report::Settled => {
                tracing::info!(pid, ?after, "successor settled");
                self.shared.report(Event::Settled { pid, after });
                answer(&mut self.answers, &Ok(Outcome::Settled { pid }));
                answer(&mut self.later, &Ok(Outcome::PassedOn));
            }
            Report::Failed(failure) => {
                tracing::error!(%failure, "restart failed, serving on");
                self.shared.report(Event::Failed(failure.clone()));
                self.answer_failed(&Err(RestartError::Failed(failure)));
            }
            Report::TakenBack(failure) => {
                tracing::error!(%failure, "restart taken back, accepting again");
                self.shared.report(Event::TakenBack(failure.clone()));
                self.answer_failed(&Err(RestartError::TakenBack(failure)));
            }
            Report::OutOfTurn(message) => tracing::warn!(?message, "the successor speaks out of turn"),
            #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
            _ => {}
        }
    }

    fn answer_failed(&mut self, result: &Result<Outcome, RestartError>) {
        answer(&mut self.answers, result);
        // The machine starts the remembered one next; from now on it is the one that these wait for.
        self.answers.append(&mut self.later);
    }

    fn answer_stopped(&mut self) {
        answer(&mut self.answers, &Err(RestartError::Stopped));
        answer(&mut self.later, &Err(RestartError::Stopped));
    }

    fn end(&mut self, reason: Reason) {
        let aborted = self.shared.tracker.hammer();
        if !aborted.is_empty() {
            tracing::warn!(aborted = aborted.len(), "the hammer fell");
            for connection in aborted.iter().take(LISTED) {
                tracing::warn!(%connection, "aborted");
            }
            self.shared.report(Event::Hammered { aborted: aborted.len() });
        }
        if reason == Reason::Shutdown {
            if let Some(pid_file) = self.pid_file.take() {
                pid_file.remove();
            }
        }
        tracing::info!(?reason, "ended");
        self.shared.report(Event::Ended);
        self.shared.ending.send_replace(Some(Ending { reason, aborted }));
    }

    fn sockets(&self) -> &[Arc<Socket>] {
        self.attempt.as_ref().map_or(&[], |attempt| &attempt.sockets)
    }

    fn successor_pid(&self) -> Option<u32> {
        match self.attempt.as_ref()?.step {
            Step::Running { pid, .. } => Some(pid),
            Step::Spawning(_) => None,
        }
    }

    fn since_request(&self) -> std::time::Duration {
        self.attempt.as_ref().map(|attempt| attempt.requested.elapsed()).unwrap_or_default()
    }
}

/// How many aborted connections are named in the log; the rest are in the [`Ending`].
const LISTED: usize = 20;

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

fn answer(waiting: &mut Vec<Answer>, result: &Result<Outcome, RestartError>) {
    for answer in waiting.drain(..) {
        // Whoever has dropped the future does not want to know.
        let _ = answer.send(result.clone());
    }
}
