//! What a process is doing.

use std::time::Duration;

use crate::drain::ConnectionStatus;
use crate::handover::serving::Reason;

/// A snapshot of this process; see [`Restarter::status`](super::Restarter::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The number of this process in the line of restarts, from 1.
    pub generation: u64,
    /// This process's id.
    pub pid: u32,
    /// Whether more clients should be sent here.
    pub ready: bool,
    /// Why and how long this process drains, if it does.
    pub draining: Option<Draining>,
    /// Every connection that it holds, with its kind, state, age and peer.
    pub connections: Vec<ConnectionStatus>,
    /// Its datagram sockets with conversations.
    #[cfg(feature = "udp")]
    pub flows: Vec<crate::udp::FlowsStatus>,
}

/// The drain of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Draining {
    /// Whether a successor serves on, or the service stops.
    pub reason: Reason,
    /// When the hammer falls, from now.
    pub within: Duration,
}
