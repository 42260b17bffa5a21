//! What a poll came to.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use super::{CheckError, Digest, FetchError, InstallError};
use crate::restarter::{Outcome, RestartError};

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polled {
    /// There is nothing new.
    Unchanged,
    /// Something is on its way, and not complete yet.
    NotYet,
    /// Another process is updating this binary.
    Busy,
    /// What is offered has failed before.
    Rejected(Digest),
    /// It is in place, and restarts are off.
    Installed(Digest),
    /// It is in place, and the service was restarted.
    #[non_exhaustive]
    Restarted {
        /// Of the binary that serves now.
        digest: Digest,
        /// What the restart came to.
        outcome: Outcome,
    },
}

/// Why a poll failed. The running version serves on, and its binary is in place (but for
/// [`NotTried`](UpdateError::NotTried) and [`Stuck`](UpdateError::Stuck)).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Nothing was fetched.
    #[error("no update from {from}")]
    #[non_exhaustive]
    Fetch {
        /// The source.
        from: String,
        /// What went wrong.
        source: FetchError,
    },
    /// What was fetched is not taken.
    #[error("what {from} offers is not taken")]
    #[non_exhaustive]
    Check {
        /// The source.
        from: String,
        /// The check that failed.
        source: CheckError,
    },
    /// It did not get to its place.
    #[error("the update cannot be put in place")]
    Install(#[from] InstallError),
    /// It did not get to serve; the previous binary is back.
    #[error("the update {digest} did not take over, and {path:?} is the previous binary again")]
    #[non_exhaustive]
    RolledBack {
        /// Of the binary that failed.
        digest: Digest,
        /// Where the previous one is.
        path: PathBuf,
        /// Why the restart failed or was refused.
        source: RestartError,
    },
    /// It is in place, and the restart was refused, for a reason that has nothing to do with it. The next
    /// poll tries again.
    #[error("the update {digest} is in place, and the restart into it was not tried")]
    #[non_exhaustive]
    NotTried {
        /// The digest of the new binary.
        digest: Digest,
        /// Why the restart failed or was refused.
        source: RestartError,
    },
    /// It did not get to serve, and the previous binary could not be put back: the next start by hand runs
    /// the one that failed.
    #[error("the update {digest} did not take over ({restart}), and its predecessor could not be reinstated")]
    #[non_exhaustive]
    Stuck {
        /// Of the binary that failed.
        digest: Digest,
        /// Why it failed.
        restart: RestartError,
        /// Why it is still there.
        source: InstallError,
    },
    /// A step of it panicked: a fetcher or a check of the user's own, or tokio, whose files and name look-ups
    /// do where no thread can be made.
    #[error(
        "a step of the update panicked; if no thread could be made, look at RLIMIT_NPROC (ulimit -u) and pids.max"
    )]
    Panicked,
}

/// An interval that the source does not allow.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a poll every {interval:?} is too often for this source; every {floor:?} is the most")]
pub struct IntervalTooShort {
    /// As it was given.
    pub interval: Duration,
    /// What the source allows.
    pub floor: Duration,
}
