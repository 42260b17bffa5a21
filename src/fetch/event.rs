//! What an updater does, as it does it.

use std::sync::Arc;
use std::time::Duration;

use super::{Digest, UpdateError};
use crate::restarter::Outcome;

/// Something that happened; see [`Updater::events`](super::Updater::events). Each is a `tracing` event too.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FetchEvent {
    /// A download goes on; once a second.
    #[non_exhaustive]
    Downloading {
        /// Bytes so far.
        received: u64,
        /// Bytes to come altogether, if the source said so.
        total: Option<u64>,
        /// Bytes a second since its beginning.
        rate: u64,
    },
    /// A new binary has passed every check.
    #[non_exhaustive]
    Checked {
        /// What the source calls it.
        version: Option<String>,
        /// Of the binary, unpacked.
        digest: Digest,
        /// Until it is put in place: the delay, and this host's stagger.
        wait: Duration,
    },
    /// It is in place, and the one before it beside it.
    #[non_exhaustive]
    Installed {
        /// Of the binary.
        digest: Digest,
    },
    /// It is the service.
    #[non_exhaustive]
    Restarted {
        /// Of the binary.
        digest: Digest,
        /// What the restart led to.
        outcome: Outcome,
    },
    /// The previous binary is back in its place.
    #[non_exhaustive]
    RolledBack {
        /// Of the binary that failed; it is not taken again while this process lives.
        digest: Digest,
    },
    /// A poll failed. The running version serves on.
    #[non_exhaustive]
    Failed {
        /// Why.
        error: Arc<UpdateError>,
        /// How often in a row.
        times: u32,
        /// When the next poll is, from now.
        next: Duration,
    },
}
