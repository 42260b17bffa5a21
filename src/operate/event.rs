//! What happens to a process, as it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::drain::{ConnectionStatus, Kind};
use crate::handover::serving::Reason;
use crate::handover::{Failure, Refusal};

/// Something that happened; see [`Restarter::events`](crate::Restarter::events). Each is a `tracing` event
/// too.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This process accepts connections.
    #[non_exhaustive]
    Accepting {
        /// The number of this process in the line of restarts, from 1.
        generation: u64,
    },
    /// A restart was asked for, and a successor is being started.
    Starting,
    /// A restart was asked for while one is on its way; it is acted on after that one, once however often it
    /// was asked.
    Remembered,
    /// A restart was asked for and refused.
    Refused(Refusal),
    /// The successor's process exists.
    #[non_exhaustive]
    Spawned {
        /// Its process id.
        pid: u32,
        /// Since the request.
        after: Duration,
    },
    /// The successor is ready and accepts; this process watches it.
    #[non_exhaustive]
    Ready {
        /// Its process id.
        pid: u32,
        /// Since the request.
        after: Duration,
    },
    /// The successor is the service; this process drains.
    #[non_exhaustive]
    Settled {
        /// Its process id.
        pid: u32,
        /// Since the request.
        after: Duration,
    },
    /// The successor did not get ready; nothing has changed.
    Failed(Failure),
    /// The successor was lost after it was ready; this process accepts again.
    TakenBack(Failure),
    /// This process begins to drain its connections.
    #[non_exhaustive]
    Draining {
        /// How many connections there are.
        connections: usize,
        /// When the hammer falls, from now.
        within: Duration,
    },
    /// This process was asked to stop. It serves on until the notice is over, but its readiness is false.
    #[non_exhaustive]
    Stopping {
        /// How long the notice is.
        notice: Duration,
    },
    /// It is still draining; once a second.
    #[non_exhaustive]
    Progress {
        /// How many connections are left, by kind.
        left: Vec<(Kind, usize)>,
        /// The connection that has been open for longest.
        oldest: Option<ConnectionStatus>,
        /// When the hammer falls, from now.
        within: Duration,
    },
    /// The hammer fell.
    #[non_exhaustive]
    Hammered {
        /// How many connections were aborted.
        aborted: usize,
    },
    /// What became of the connections that could go to the successor; once, before the end, if there were
    /// any.
    #[non_exhaustive]
    Moved {
        /// How many moved, by what was spoken on them, as in
        /// [`GenerationDetail::moved`](crate::control::GenerationDetail::moved).
        by_kind: BTreeMap<&'static str, u64>,
        /// How many were to move and stayed, by reason, as in
        /// [`GenerationDetail::unmoved`](crate::control::GenerationDetail::unmoved).
        unmoved: BTreeMap<&'static str, u64>,
    },
    /// An older generation has no conversations over a datagram socket any more: it has ended, or closed it.
    #[non_exhaustive]
    FlowsGone {
        /// Where the socket is bound.
        address: crate::Address,
        /// Its number.
        generation: u64,
        /// Datagrams that this process forwarded to it.
        forwarded: u64,
        /// Datagrams for it that were dropped.
        dropped: u64,
    },
    /// This process has nothing left to do.
    #[non_exhaustive]
    Ended {
        /// Why it ends.
        reason: Reason,
    },
}
