//! What the supervisor's machine is told, and what it says.

use std::time::Duration;

use crate::handover::message::{Message, Takes};
use crate::handover::reason::Failure;

/// A worker's number: its generation, from 1, failed ones included.
pub type Worker = u64;

/// What the machine goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// How long a worker may take until it is ready.
    pub start: Duration,
    /// How long a new worker is watched before the old one drains.
    pub probation: Duration,
    /// How long a worker that was replaced may take to be gone before it is killed.
    pub drain: Duration,
    /// How long the workers may take to be gone when the service stops.
    pub shutdown: Duration,
    /// The second replacement in a row waits this long, each further one twice as long as the one before it.
    pub backoff: Duration,
    /// No replacement waits longer.
    pub backoff_ceiling: Duration,
    /// A worker that has served for so long was no failure: the count of crashes begins anew.
    pub stable: Duration,
    /// After so many crashes in a row the last good program is run instead; 0 never does.
    pub rollback_after: u32,
    /// Whether workers accept as soon as they please and not at COMMIT, as programs do that are not
    /// heirloom's. Then one that is given up may hold requests, and is told to stop before it is killed.
    pub early: bool,
}

/// What to run as a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Program {
    /// Whatever lies at the program's path now.
    Current,
    /// The last one that served well, by its [number](super::Supervise::spawned).
    Good(u64),
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Start a worker; answer with [`Supervise::spawned`](super::Supervise::spawned) or
    /// [`Supervise::spawn_failed`](super::Supervise::spawn_failed).
    Spawn {
        /// The worker's number.
        worker: Worker,
        /// What it runs.
        program: Program,
        /// Whom it is to replace: the two get a channel to each other.
        replaces: Option<Worker>,
    },
    /// Tell this worker.
    Send(Worker, Message),
    /// This worker is to accept no more but on the sockets, of those that the candidate was handed, which
    /// that one does not want. A program that is not heirloom's cannot.
    Pause(Worker, Vec<u16>),
    /// This worker is to accept again.
    Resume(Worker),
    /// This worker is replaced: it is to close its sockets, drain, and exit.
    HandOver {
        /// The worker that is replaced.
        worker: Worker,
        /// The sockets, of those that the new worker was handed, which that one does not want.
        unclaimed: Vec<u16>,
        /// What the successor goes on with.
        takes: Takes,
    },
    /// This worker is to stop gracefully.
    Stop(Worker),
    /// This worker is to stop at once.
    Hammer(Worker),
    /// SIGKILL. Its death comes as [`Supervise::died`](super::Supervise::died).
    Kill(Worker),
    /// Wait for this one no longer; reap it whenever it dies.
    Abandon(Worker),
    /// Report this.
    Report(Report),
    /// Every worker is gone: the supervisor may end.
    End(End),
}

/// What happens, for the log and for operators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Report {
    /// A worker is being started.
    Starting {
        /// The worker's number.
        worker: Worker,
    },
    /// A request arrived on the way and is kept.
    Remembered,
    /// The new worker is ready and accepts.
    Ready {
        /// The worker's number.
        worker: Worker,
    },
    /// It is the service.
    Settled {
        /// The worker's number.
        worker: Worker,
    },
    /// It did not get ready.
    Failed {
        /// The worker's number.
        worker: Worker,
        /// What went wrong.
        why: Failure,
    },
    /// It was lost after it was ready, and the one before it, if there is one, accepts again.
    TakenBack {
        /// The worker's number.
        worker: Worker,
        /// What went wrong.
        why: Failure,
    },
    /// The worker that served has died.
    Died {
        /// The worker's number.
        worker: Worker,
        /// Its exit status or signal, for people.
        how: String,
    },
    /// Nobody serves; connections wait in the kernel until the next worker is there.
    Respawning {
        /// How long until it is started.
        within: Duration,
        /// How many have failed or died in a row.
        crashes: u32,
        /// Whether the wait does not grow any more.
        at_ceiling: bool,
    },
    /// The program has crashed too often; the last good one is run until the next request.
    RolledBack {
        /// How many have failed or died in a row.
        crashes: u32,
    },
    /// The service is to stop.
    Stopping {
        /// When the workers are killed that are still there then.
        within: Duration,
    },
    /// A worker did not go in time and was killed.
    Killed {
        /// The worker's number.
        worker: Worker,
    },
}

/// How it all ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// It was asked to stop.
    Stopped,
    /// The first worker could not even be started.
    CannotStart(Failure),
}
