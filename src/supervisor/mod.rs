//! A parent with a stable PID: it owns the listening sockets and replaces its workers.
//!
//! Where something watches the PID (Docker, Kubernetes, supervisord), a process that replaces itself looks
//! crashed, and as PID 1 it ends its container. Here the process that the world knows stays; it accepts
//! nothing and runs none of the program's code, so that there is little in it to fail or to update.
//!
//! ```no_run
//! use heirloom::{Ending, Restarter, Supervisor};
//!
//! fn main() -> Result<std::process::ExitCode, heirloom::SupervisorError> {
//!     Supervisor::new().run(program)
//! }
//!
//! // In a process of its own: the worker. The rest is as without a supervisor.
//! #[tokio::main]
//! async fn program(restarter: Restarter) -> Result<Ending, Box<dyn std::error::Error>> {
//!     let listener = restarter.listen("127.0.0.1:8080")?;
//!     heirloom::http::serve(listener, axum::Router::new());
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! `kill -USR2` to the supervisor (or to the worker, or [`Restarter::restart`](crate::Restarter::restart) in
//! it) starts a new worker from the file that lies at the program's path. The old worker serves until the new
//! one is ready, and then drains. Its idle connections and its state move as without a supervisor. TERM to
//! the supervisor stops all of them.
//!
//! * The supervisor alone decides which worker serves (`src/handover/supervise.rs`).
//! * The supervisor keeps the sockets that a worker binds: when every worker has crashed, connections wait in
//!   the queues, and the next worker serves them. It also keeps descriptors that a worker [hands
//!   down](crate::Restarter::hand_down).
//! * A worker that dies is replaced: at once, then with a wait that doubles up to a ceiling.
//! * If a new program dies again and again, the supervisor goes back to the last one that did not. It keeps
//!   that file open, and so can run it even when the file is gone.
//! * When the supervisor itself is killed, the workers stop in order, or serve on ([`Orphans`]).
//!
//! # Hazards
//!
//! The supervisor is the program itself up to the call of [`run`](Supervisor::run). Supervisor and workers
//! both do what `main` does before that, and the supervisor keeps the results for ever. Start no threads and
//! open no files there. A new version of the program changes the workers; the supervisor stays the version
//! that was started.

mod binaries;
mod builder;
pub(crate) mod command;
mod driver;
mod leftovers;
mod making;
mod metrics;
mod orphans;
mod signals;
mod store;
#[cfg(feature = "fetch")]
mod updating;
mod watching;
mod worker;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot};

pub use crate::handover::supervise::Report;
pub use crate::handover::supervised::Orphans;
pub use builder::{Supervisor, SupervisorError};
pub use command::{
    EnvironmentError, EnvironmentSource, Listening, NumberError, Readiness, ReadinessError, WorkerCommand,
    become_worker,
};

use crate::operate::control::Follower;
use crate::operate::control::message::Reply;
use crate::restarter::{Outcome, RestartError};

/// What can be asked of a running supervisor. A handle: clones share everything.
#[derive(Clone, Debug)]
pub struct SupervisorHandle {
    commands: mpsc::UnboundedSender<Command>,
    events: broadcast::Sender<Report>,
    program: Arc<Path>,
}

/// What a handle asks of the driver.
#[derive(Debug)]
enum Command {
    Restart { answer: Option<Answer> },
    Stop,
    Hammer,
    Status { answer: oneshot::Sender<SupervisorStatus> },
}

/// Who waits for the outcome of a restart.
#[derive(Debug)]
enum Answer {
    /// Code in this process.
    Handle(oneshot::Sender<Result<Outcome, RestartError>>),
    /// An operator.
    Control(Follower),
}

impl Answer {
    fn is_wanted(&self) -> bool {
        match self {
            Answer::Handle(answer) => !answer.is_closed(),
            Answer::Control(follower) => follower.is_there(),
        }
    }

    /// Operators are told of each step as it happens; what is left for this is what ends without one.
    fn give(self, result: &Result<Outcome, RestartError>) {
        match (self, result) {
            // If the future was dropped, nobody wants the answer.
            (Answer::Handle(answer), result) => drop(answer.send(result.clone())),
            (Answer::Control(follower), Err(RestartError::Refused(refusal))) => {
                follower.end_with(&Reply::Refused { reason: refusal.to_string() });
            }
            (Answer::Control(follower), _) => follower.end_with(&Reply::Stopped),
        }
    }
}

/// What a supervisor is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SupervisorStatus {
    /// Its process id.
    pub pid: u32,
    /// Every worker that is alive, the oldest first.
    pub workers: Vec<WorkerStatus>,
    /// Whether the service is being stopped.
    pub stopping: bool,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// From 1, failed ones included.
    pub generation: u64,
    /// Its process id.
    pub pid: u32,
    /// Where it is on its way.
    pub role: WorkerRole,
    /// When it was started.
    pub started: std::time::Instant,
}

/// Where a worker is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerRole {
    /// Being tried: starting, or in probation.
    Candidate,
    /// It is the service.
    Serving,
    /// Replaced or stopped; it finishes what it holds.
    Leaving,
}

impl SupervisorHandle {
    /// What a restart executes, as it was named at the start. Absolute, unresolved.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Restarts: starts a new worker and waits for the outcome.
    ///
    /// # Errors
    ///
    /// The restart was refused, or the new worker failed; the old one serves on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future does not stop the restart.
    pub async fn restart(&self) -> Result<Outcome, RestartError> {
        let (answer, outcome) = oneshot::channel();
        self.send(Command::Restart { answer: Some(Answer::Handle(answer)) });
        outcome.await.unwrap_or(Err(RestartError::DriverGone))
    }

    /// Stops the service gracefully; a second time: at once.
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Ends the service now.
    pub fn hammer(&self) {
        self.send(Command::Hammer);
    }

    /// What the supervisor and its workers are doing; `None` once it has ended. Cancel safe.
    pub async fn status(&self) -> Option<SupervisorStatus> {
        let (answer, status) = oneshot::channel();
        self.send(Command::Status { answer });
        status.await.ok()
    }

    /// What happens from now on. A receiver that lags behind by more than 256 reports misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Report> {
        self.events.subscribe()
    }

    fn send(&self, command: Command) {
        // It fails once the supervisor has ended; then nobody waits for anything.
        let _ = self.commands.send(command);
    }
}
