//! Feeds the machine from the outside world and does what it asks, on the thread that called
//! [`run`](super::Supervisor::run).

mod acting;
mod hearing;
mod operating;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tracing::Instrument;

use self::operating::Operating;
use super::binaries::Binaries;
use super::builder::{Hooks, SupervisorError};
use super::leftovers::Leftovers;
use super::making::{Born, Make, Readiness};
use super::metrics;
use super::orphans::Children;
use super::signals::{Heard, Meaning};
use super::store::Store;
use super::worker::{Process, next_of};
use super::{Answer, Command, SupervisorHandle, SupervisorStatus, WorkerRole, WorkerStatus};
use crate::handover::Failure;
use crate::handover::supervise::{End, Limits, Supervise, Worker};
use crate::handover::supervised::Orphans;
use crate::operate::control::Asked;
use crate::operate::control::place::Bound;
use crate::operate::pid_file::PidFile;
use crate::operate::service::Service;
use crate::restarter::driver::sleep_until;
use crate::restarter::peer::{Did, MESSAGES_AT_ONCE};
use crate::signals::{Signal, SignalMap};
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
        // Workers are started a few times in a process's life: keep no thread for it.
        .thread_keep_alive(Duration::from_millis(1))
        .build()
        .map_err(SupervisorError::System)?;
    let mut driver = runtime.block_on(async { Driver::new(start) })?;
    let ended = loop {
        // Hooks may panic, and so may the program's `tracing` subscriber. What was to be done next is in the machine.
        let span = tracing::info_span!(target: "heirloom", "supervisor");
        let driving = AssertUnwindSafe(|| runtime.block_on(driver.drive().instrument(span)));
        if let Ok(ended) = catch_unwind(driving) {
            break ended;
        }
    };
    driver.operating.ended();
    if driver.maker.is_foreign() {
        let alive = driver.abandoned.values().map(|process| process.pid);
        Leftovers::new(&driver.store.sockets(), alive).kill_all();
    }
    driver.store.close();
    if let Some(pid_file) = &driver.pid_file {
        pid_file.remove();
    }
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
    commands: mpsc::UnboundedReceiver<Command>,
    handle: SupervisorHandle,
    workers: BTreeMap<Worker, Process>,
    /// Not waited for any more, but reaped when they die.
    abandoned: BTreeMap<Worker, Process>,
    binaries: Binaries,
    spawning: Option<Spawning>,
    /// How it becomes known that the candidate is ready, if it does not say so itself.
    readiness: Option<(Worker, Readiness)>,
    /// Workers that are to get their signal a while after they were replaced.
    signalled: BTreeMap<Worker, Instant>,
    answers: Vec<Answer>,
    later: Vec<Answer>,
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
    making: JoinHandle<Result<Born, Failure>>,
    /// To be killed as soon as it exists.
    unwanted: bool,
}

/// One thing that happened.
enum Input {
    Command(Command),
    Signal(Arrival, Meaning),
    Made(Result<Born, Failure>),
    Worker(Worker, Did),
    Abandoned(Worker),
    Readiness(Result<(), Failure>),
    Asked(Asked),
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
            commands: received,
            handle,
            workers: BTreeMap::new(),
            abandoned: BTreeMap::new(),
            binaries: Binaries::default(),
            spawning: None,
            readiness: None,
            signalled: BTreeMap::new(),
            answers: Vec::new(),
            later: Vec::new(),
            operating: Operating::new(control).map_err(SupervisorError::System)?,
            last_exit: None,
            ended: None,
        };
        // Not refused: nothing is under way.
        let _ = driver.machine.request(Instant::now());
        Ok(driver)
    }

    async fn drive(&mut self) -> End {
        for hook in std::mem::take(&mut self.hooks.started) {
            hook(self.handle.clone());
        }
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

    /// What happens next. Cancel safe in each of its branches.
    async fn next(&mut self) -> Input {
        let own = [self.machine.deadline(), self.operating.hammer_at].into_iter().flatten();
        let deadline = self.signalled.values().copied().chain(own).min();
        tokio::select! {
            (worker, did) = next_of(self.workers.iter_mut().map(|(worker, process)| (*worker, process))) => {
                Input::Worker(worker, did)
            }
            worker = died_of(&mut self.abandoned) => Input::Abandoned(worker),
            made = made(&mut self.spawning) => Input::Made(made),
            ready = ready(&mut self.readiness) => Input::Readiness(ready),
            (arrival, meaning) = self.signals.next() => Input::Signal(arrival, meaning),
            asked = self.operating.next() => asked,
            Some(command) = self.commands.recv() => Input::Command(command),
            () = sleep_until(deadline) => Input::Timeout,
        }
    }

    fn take(&mut self, input: Input) {
        let now = Instant::now();
        match input {
            Input::Command(command) => self.command(now, command),
            Input::Signal(arrival, meaning) => self.signal(now, &arrival, meaning),
            Input::Made(made) => self.made(now, made),
            Input::Worker(worker, did) => self.worker_did(now, worker, did),
            Input::Abandoned(worker) => {
                if let Some(process) = self.abandoned.remove(&worker) {
                    process.reap();
                    self.gone(worker, process.pid);
                    self.operating.gone(worker, process.pid);
                }
            }
            Input::Readiness(ready) => self.became_ready(now, ready),
            Input::Asked(asked) => self.asked(asked),
            Input::Timeout => {
                self.catch_up(now);
                self.machine.timeout(now);
                self.send_due_signals(now);
                if self.operating.hammer_at.take_if(|due| now >= *due).is_some() {
                    self.machine.hammer(now);
                }
            }
        }
    }

    /// Hears what the workers have done by now, before the machine acts on the passing of time alone: a worker that died
    /// in the last moment of its probation must not be settled on.
    fn catch_up(&mut self, now: Instant) {
        for _ in 0..MESSAGES_AT_ONCE {
            let did =
                self.workers.iter_mut().find_map(|(worker, process)| Some((*worker, process.peer.so_far()?)));
            let Some((worker, did)) = did else { return };
            self.worker_did(now, worker, did);
            self.act();
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

async fn ready(readiness: &mut Option<(Worker, Readiness)>) -> Result<(), Failure> {
    match readiness {
        Some((_, ready)) => ready.as_mut().await,
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
