//! Feeds the machine from the outside world and does what it asks, on the thread that called
//! [`run`](super::Supervisor::run).

mod acting;
mod hearing;
mod operating;
mod telling;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, oneshot};

use self::operating::Operating;
use super::binaries::Binaries;
use super::builder::{Hooks, SupervisorError};
use super::leftovers::Leftovers;
use super::making::{Born, Make, Manner, Readiness};
use super::metrics;
use super::orphans::Children;
use super::signals::{Heard, Meaning};
use super::store::Store;
use super::worker::{Process, next_of};
use super::{Answer, Command, SupervisorHandle, SupervisorStatus, WorkerRole, WorkerStatus};
use crate::aside::say::Voice;
use crate::handdown::peer::{Did, MESSAGES_AT_ONCE, sleep_until};
use crate::handover::Failure;
use crate::handover::supervise::{End, Limits, Supervise, Worker};
use crate::handover::supervised::Orphans;
use crate::operate::control::Asked;
use crate::operate::control::place::Bound;
use crate::operate::event::Event;
use crate::operate::pid_file::PidFile;
use crate::operate::service::Service;
use crate::restarter::signals::{HOOK, HOOKS, Hooking, Signal, SignalMap, finish_hooks};
use crate::sys::arrivals::Arrival;
use crate::sys::pidfd::Exit;

/// What the driver is made from.
pub(super) struct Start {
    pub(super) limits: Limits,
    pub(super) maker: Arc<dyn Make>,
    pub(super) store: Store,
    pub(super) signals: SignalMap,
    pub(super) forwarded: Vec<Signal>,
    pub(super) orphans: Orphans,
    pub(super) restarts: bool,
    pub(super) pid_file: Option<PidFile>,
    pub(super) service: Arc<Service>,
    pub(super) hooks: Hooks,
    pub(super) children: Arc<Children>,
    pub(super) control: Option<Bound>,
}

/// Supervises until every worker is gone.
pub(super) fn run(start: Start) -> Result<ExitCode, SupervisorError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(SupervisorError::System)?;
    let mut driver = runtime.block_on(async { Driver::new(start) })?;
    Voice::Supervisor.speaks_here();
    let ended = loop {
        // A recorder of metrics may panic. What was to be done next is in the machine.
        let driving = AssertUnwindSafe(|| runtime.block_on(driver.drive()));
        if let Ok(ended) = catch_unwind(driving) {
            break ended;
        }
    };
    driver.operating.ended();
    if driver.maker.is_foreign() {
        let alive = driver.abandoned.values().flat_map(Process::numbers);
        Leftovers::new(&driver.store.sockets(), alive).kill_all();
    }
    driver.store.close();
    if let Some(pid_file) = &driver.pid_file {
        pid_file.remove();
    }
    finish_hooks();
    crate::aside::say::finish();
    crate::aside::say::falls_silent();
    // An exec from a file system that hangs is not waited for.
    runtime.shutdown_background();
    match ended {
        End::Stopped => Ok(exit_code(driver.last_exit)),
        End::CannotStart(failure) => Err(SupervisorError::CannotStart(failure)),
    }
}

/// A worker's own status, or 128 and its signal's number as shells have it.
fn exit_code(exit: Option<Exit>) -> ExitCode {
    let code = match exit {
        Some(Exit::Code(code)) => code,
        Some(Exit::Signal(signal)) => 128 + signal,
        Some(Exit::Unknown) | None => 0,
    };
    // A status is one byte.
    ExitCode::from((code & 0xff) as u8)
}

struct Driver {
    machine: Supervise,
    maker: Arc<dyn Make>,
    store: Store,
    orphans: Orphans,
    restarts: bool,
    hooks: Hooks,
    children: Arc<Children>,
    pid_file: Option<PidFile>,
    service: Arc<Service>,
    signals: Heard,
    /// A signal that waits for its hooks.
    hooking: Option<Hooking>,
    commands: mpsc::UnboundedReceiver<Command>,
    handle: SupervisorHandle,
    workers: BTreeMap<Worker, Process>,
    /// Not waited for any more, but reaped when they die.
    abandoned: BTreeMap<Worker, Process>,
    binaries: Binaries,
    spawning: Option<Spawning>,
    /// How it becomes known that the candidate is ready, and at the end of probation that it lives, if it
    /// does not say so itself. That of one which was given up is kept to its end: it may be writing to what
    /// is behind it.
    readiness: BTreeMap<Worker, Readiness>,
    /// Workers that are to get their signal a while after they were replaced.
    signalled: BTreeMap<Worker, Instant>,
    answers: Vec<Answer>,
    later: Vec<Answer>,
    /// Workers that want more time, and how much from the moment when they said so.
    extensions: mpsc::UnboundedReceiver<(Worker, Duration)>,
    /// For the next worker.
    extends: mpsc::UnboundedSender<(Worker, Duration)>,
    operating: Operating,
    /// How the worker ended that served last.
    last_exit: Option<Exit>,
    ended: Option<End>,
}

/// A worker whose process does not exist yet.
struct Spawning {
    worker: Worker,
    binary: Option<u64>,
    /// Whom it is to replace, and that one's end of the channel between the two.
    to_replaced: Option<(Worker, OwnedFd)>,
    sockets: Vec<u64>,
    making: oneshot::Receiver<Result<Born, Failure>>,
    /// To be killed as soon as it exists.
    unwanted: bool,
}

/// One thing that happened.
enum Input {
    Command(Command),
    Signal(Arrival, Meaning),
    Hooked,
    Made(Result<Born, Failure>),
    Worker(Worker, Did),
    Abandoned(Worker),
    Readiness(Worker, Result<(), Failure>),
    Asked(Asked),
    Extension(Worker, Duration),
    Timeout,
}

impl Driver {
    fn new(start: Start) -> Result<Driver, SupervisorError> {
        let Start { limits, maker, store, signals, forwarded, orphans, restarts, .. } = start;
        let Start { pid_file, service, hooks, children, control, .. } = start;
        if children.reaps_orphans() {
            tokio::spawn(Arc::clone(&children).reap_for_ever());
        }
        let (commands, received) = mpsc::unbounded_channel();
        let (extends, extensions) = mpsc::unbounded_channel();
        let program = Arc::from(maker.program());
        let handle = SupervisorHandle { commands, events: broadcast::Sender::new(EVENTS), program };
        let signals = Heard::new(signals, &forwarded).map_err(SupervisorError::System)?;
        let mut driver = Driver {
            machine: Supervise::new(limits),
            maker,
            store,
            orphans,
            restarts,
            hooks,
            children,
            pid_file,
            service,
            signals,
            hooking: None,
            commands: received,
            handle,
            workers: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            binaries: Binaries::default(),
            spawning: None,
            readiness: BTreeMap::new(),
            signalled: BTreeMap::new(),
            answers: Vec::new(),
            later: Vec::new(),
            extensions,
            extends,
            operating: Operating::new(control).map_err(SupervisorError::System)?,
            last_exit: None,
            ended: None,
        };
        // Not refused: nothing is under way.
        let _ = driver.machine.request(Instant::now());
        Ok(driver)
    }

    async fn drive(&mut self) -> End {
        self.call_started();
        // One of them may have installed the recorder.
        metrics::describe();
        loop {
            self.act();
            if let Some(end) = self.ended.take() {
                return end;
            }
            let input = self.next().await;
            self.take(input);
        }
    }

    /// Within the runtime, and before there is anything to do.
    fn call_started(&mut self) {
        for hook in std::mem::take(&mut self.hooks.started) {
            let (handle, runtime) = (self.handle.clone(), Handle::current());
            let called = HOOKS.ask(HOOK, move || {
                let _within = runtime.enter();
                hook(handle);
            });
            if called.is_none() {
                say!(warn: within = ?HOOK, "what was to be called at the start hangs, or has panicked: going on without");
            }
        }
    }

    /// What happens next. Cancel safe in each of its branches.
    async fn next(&mut self) -> Input {
        let own = [self.machine.deadline(), self.operating.hammer_at].into_iter().flatten();
        let deadline = self.signalled.values().copied().chain(own).min();
        let candidate = self.machine.candidate();
        tokio::select! {
            (worker, did) = next_of(self.workers.iter_mut().map(|(worker, process)| (*worker, process))) => {
                Input::Worker(worker, did)
            }
            worker = died_of(&mut self.abandoned) => Input::Abandoned(worker),
            made = made(&mut self.spawning) => Input::Made(made),
            (worker, ready) = ready(candidate, &mut self.readiness) => Input::Readiness(worker, ready),
            (arrival, meaning) = self.signals.next() => Input::Signal(arrival, meaning),
            () = Hooking::over(&mut self.hooking) => Input::Hooked,
            asked = self.operating.next() => asked,
            Some(command) = self.commands.recv() => Input::Command(command),
            Some((worker, time)) = self.extensions.recv() => Input::Extension(worker, time),
            () = sleep_until(deadline) => Input::Timeout,
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Signal(arrival, meaning) => self.signal(now, &arrival, meaning),
            Input::Hooked => self.hooked(now),
            Input::Made(made) => self.made(now, made),
            Input::Worker(worker, did) => self.worker_did(now, worker, did),
            Input::Abandoned(worker) => {
                if let Some(process) = self.abandoned.remove(&worker) {
                    process.reap();
                    self.gone(worker, process.pid);
                    self.operating.gone(worker, process.pid);
                }
            }
            Input::Readiness(worker, ready) => self.became_ready(now, worker, ready),
            Input::Asked(asked) => self.asked(asked),
            Input::Extension(worker, time) => self.extend(now, worker, time),
            Input::Timeout => {
                self.catch_up(now);
                let is_unheard =
                    |process: &Process| process.manner == Manner::Told && !process.peer.is_heard();
                if let Some((worker, _)) = self.workers.iter().rfind(|(_, process)| is_unheard(process)) {
                    self.machine.unheard(now, *worker);
                }
                self.machine.timeout(now);
                self.send_due_signals(now);
                if self.operating.hammer_at.take_if(|due| now >= *due).is_some() {
                    self.machine.hammer(now);
                }
            }
        }
    }

    /// Hears what the workers have done by now, before the machine acts on the passing of time alone: a
    /// worker that died in the last moment of its probation must not be settled on.
    fn catch_up(&mut self, now: Instant) {
        for _ in 0..MESSAGES_AT_ONCE {
            let did =
                self.workers.iter_mut().find_map(|(worker, process)| Some((*worker, process.peer.so_far()?)));
            let Some((worker, did)) = did else { break };
            self.worker_did(now, worker, did);
            self.act();
        }
        // Heard here, if it was not yet.
        self.workers.values().for_each(|process| drop(process.addressee.main()));
        while let Ok((worker, time)) = self.extensions.try_recv() {
            self.extend(now, worker, time);
        }
    }

    fn extend(&mut self, now: Instant, worker: Worker, time: Duration) {
        if !self.machine.extend(now, worker, time) {
            return;
        }
        say!(info: worker, ?time, "a worker takes more time");
        // Who watches this process has a deadline of its own.
        if self.machine.is_stopping() {
            self.service.worker_observed(&Event::Stopping { notice: time });
        }
    }

    fn role(&self, worker: Worker) -> WorkerRole {
        match Some(worker) {
            worker if worker == self.machine.serving() => WorkerRole::Serving,
            worker if worker == self.machine.candidate() => WorkerRole::Candidate,
            _ => WorkerRole::Leaving,
        }
    }

    fn status(&self) -> SupervisorStatus {
        let workers = self.workers.iter().map(|(worker, process)| WorkerStatus {
            generation: *worker,
            pid: process.pid,
            role: self.role(*worker),
            started: process.started,
        });
        SupervisorStatus {
            pid: std::process::id(),
            workers: workers.collect(),
            stopping: self.machine.is_stopping(),
        }
    }
}

/// How many reports a receiver may lag behind: a burst of restarts makes about ten each.
const EVENTS: usize = 256;

async fn made(spawning: &mut Option<Spawning>) -> Result<Born, Failure> {
    match spawning {
        Some(spawning) => (&mut spawning.making).await.unwrap_or_else(|_| {
            Err(Failure::Spawn { reason: "the thread that starts workers panicked".to_owned() })
        }),
        None => std::future::pending().await,
    }
}

async fn ready(
    candidate: Option<Worker>,
    readiness: &mut BTreeMap<Worker, Readiness>,
) -> (Worker, Result<(), Failure>) {
    match candidate.and_then(|worker| Some((worker, readiness.get_mut(&worker)?))) {
        Some((worker, ready)) => (worker, ready.as_mut().await),
        None => std::future::pending().await,
    }
}

async fn died_of(abandoned: &mut BTreeMap<Worker, Process>) -> Worker {
    loop {
        let (worker, did) = next_of(abandoned.iter_mut().map(|(worker, process)| (*worker, process))).await;
        if matches!(did, Did::Die) {
            return worker;
        }
    }
}
