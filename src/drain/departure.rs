//! The way of a connection out of this process, as those see it who hold one: depart, and wait for the
//! verdict.
//!
//! What happens in between is the driver's, by the rules of [`handover::moving`](crate::handover::moving).

use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::drain::Hold;
use crate::handover::message::Takes;
use crate::handover::moving::Along;

/// Takes connections that are to go to the successor. There is one while a successor takes them.
#[derive(Clone, Debug)]
pub(crate) struct Mover {
    pub(crate) takes: Takes,
    /// For how long a connection is served on in order to move, where its requests or its client are slow.
    pub(crate) patience: Duration,
    departures: mpsc::UnboundedSender<Departure>,
}

/// A connection that nobody in this process reads from any more.
#[derive(Debug)]
pub(crate) struct Departure {
    pub(crate) fd: OwnedFd,
    /// The cookie of the listening socket that it came from.
    pub(crate) listener: u64,
    pub(crate) along: Along,
    /// What is spoken on it, as it is told.
    pub(crate) spoken: &'static str,
    pub(crate) verdict: oneshot::Sender<Verdict>,
}

/// Whose the connection is. The descriptor comes back either way: a duplicate of another process's connection
/// to be closed, or the only one.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The successor's.
    Taken(OwnedFd),
    /// Still this process's.
    Kept(OwnedFd),
}

/// A connection that has come from the predecessor.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) fd: OwnedFd,
    pub(crate) handed: Along,
    /// Until it is tracked as a connection: this process must not end before.
    pub(crate) hold: Hold,
}

impl Mover {
    pub(crate) fn new(takes: Takes, patience: Duration) -> (Mover, mpsc::UnboundedReceiver<Departure>) {
        let (departures, departing) = mpsc::unbounded_channel();
        (Mover { takes, patience, departures }, departing)
    }

    /// Gives the connection away until the verdict, which comes when the successor has answered or died,
    /// however long that takes. If nobody hears it the connection comes back at once.
    pub(crate) fn depart(&self, departure: Departure) {
        if let Err(mpsc::error::SendError(departure)) = self.departures.send(departure) {
            let _ = departure.verdict.send(Verdict::Kept(departure.fd));
        }
    }
}
