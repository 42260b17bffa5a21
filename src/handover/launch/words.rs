//! What the machine asks for, and what it reports.

use std::time::Duration;

#[cfg(doc)]
use super::Launch;
use crate::handover::message::Message;
use crate::handover::reason::Failure;

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Start a successor; answer with [`Launch::spawned`] or [`Launch::spawn_failed`].
    Spawn,
    /// Tell the successor.
    Send(Message),
    /// SIGKILL the successor. Its death comes as [`Launch::died`].
    Kill,
    /// Stop watching the successor, dead or not; reap it whenever it dies.
    Abandon,
    /// Accept no more on the inherited listeners, but for these; keep them all open.
    PauseAccepting {
        /// What the successor did not claim.
        unclaimed: Vec<u16>,
    },
    /// Accept again on all.
    ResumeAccepting,
    /// Tell the world that the successor is the main process now (service manager, pid file); answer with
    /// [`Launch::announced`].
    Announce,
    /// Tell the world that this process is the main one after all.
    AnnounceOwn,
    /// Close the listeners without emptying them, but serve the queues of these first; then drain.
    HandOver {
        /// What the successor did not claim.
        unclaimed: Vec<u16>,
    },
    /// Stop the service: shut down, or hasten the drain that is on.
    Shutdown {
        /// The drain's limit, instead of the one that is set.
        within: Option<Duration>,
    },
    /// Report this.
    Report(Report),
}

/// What became of a restart, for the log and for operators.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Report {
    /// A successor is being started.
    Starting,
    /// A request arrived on the way and is kept.
    Remembered,
    /// The successor is ready and accepts; probation begins.
    Ready,
    /// Probation is over and the successor is the service; this process drains.
    Settled,
    /// The successor did not get ready; nothing has changed.
    Failed(Failure),
    /// The successor was lost after it was ready; this process accepts again.
    TakenBack(Failure),
    /// A message that does not belong here, and was ignored.
    OutOfTurn(Message),
}

/// What a request for a restart led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Requested {
    /// A successor is being started.
    Started,
    /// One is on its way already; this request is acted on after it.
    Remembered,
}
