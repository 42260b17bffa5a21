//! What a program gets to know of a restart, from either side.

use thiserror::Error;

use crate::handover::succeed::Departure;
use crate::handover::{Failure, Refusal};

/// What came of a restart that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The successor is the service; this process drains.
    // Without `non_exhaustive`: an implementation of `fetch::Restart` makes it.
    Settled {
        /// The successor's process id.
        pid: u32,
    },
    /// Another restart was on its way and has settled: its successor restarts once more, for this request.
    PassedOn,
}

/// Why a restart failed or was refused. This process serves on (unless it is draining already).
#[derive(Clone, Error)]
#[non_exhaustive]
pub enum RestartError {
    /// The restart was refused before anything was started.
    #[error("restart refused")]
    Refused(#[source] Refusal),
    /// The successor did not get ready.
    #[error("restart failed, this process serves on")]
    Failed(#[source] Failure),
    /// The successor was lost after it was ready, and this process has taken back.
    #[error("restart taken back, this process serves on")]
    TakenBack(#[source] Failure),
    /// The service was stopped on the way.
    #[error("the service was stopped during the restart")]
    Stopped,
    /// A bug in heirloom: its thread is gone.
    #[error("heirloom's thread is gone")]
    DriverGone,
}

/// Why this process must not serve.
#[derive(Clone, Copy, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadyError {
    /// Its initialisation failed, as [`failed`](super::Restarter::failed) said.
    #[error("this process gave up during its initialisation")]
    Failed,
    /// It was asked to stop before it served.
    #[error("this process was asked to stop before it was ready; it has served nothing")]
    Stopped,
    /// Its predecessor lives and does not answer.
    #[error(
        "the predecessor did not answer by the start deadline; it serves on, and this process has served nothing"
    )]
    Unanswered,
    /// A bug in heirloom: its thread is gone.
    #[error("heirloom's thread is gone")]
    DriverGone,
}

debug_as_told!(RestartError, ReadyError);

impl From<Departure> for ReadyError {
    fn from(departure: Departure) -> ReadyError {
        match departure {
            Departure::Failed => ReadyError::Failed,
            Departure::Stopped => ReadyError::Stopped,
            Departure::Unanswered => ReadyError::Unanswered,
        }
    }
}
