//! What the two sides say to each other: versioned, bounded, and the same bytes for ever.
//!
//! A message is `[version][kind]` and then fields, as `fields.rs` has them. One message is one packet of the
//! handover channel, so there is no framing. Two rules keep mixed versions talking (G7):
//!
//! * a kind or tag of [`OPTIONAL`] or above that the reader does not know is skipped; below it, it is an
//!   error;
//! * the version changes only when a reader of the old one could do harm.
//!
//! The recorded bytes of every released version stand in the tests beside this and never change.

mod bytes;
mod error;
mod moved;
mod numbers;
mod private;
mod supervision;
mod takes;

use std::time::Duration;

pub use error::MessageError;
pub use moved::Moved;
pub use private::Private;
pub use supervision::{KeptSocket, Told};
pub use takes::Takes;

pub use super::fields::OPTIONAL;
use super::moves::Moves;
use super::state_reply::StateAnswer;

/// The version that this release writes, and the only one so far.
pub const VERSION: u8 = 1;
/// Longest message in bytes: one connection in the middle of a session ([`MAX_SESSION`]) and then some, and
/// small enough that a socket buffer of the kernel's default size (208 KiB) holds one whole.
pub const MAX_MESSAGE: usize = 128 * 1024;
/// Longest message in bytes that goes to a peer which has not said that it takes sessions: what the first
/// release reads.
pub const MAX_FIRST_MESSAGE: usize = 64 * 1024;
/// Longest reason in bytes that a failed successor may give; the rest is cut. Enough for an error chain, not
/// for a log.
pub const MAX_REASON: usize = 4 * 1024;
/// Longest last words in bytes; the rest is cut. A panic's place and message.
pub const MAX_WORDS: usize = 1024;
/// Most connections in one message, and most descriptors: the kernel takes 253 at a time.
pub const MAX_MOVED: usize = 200;
/// Most bytes of one connection's request and state that are moved; with more it stays. A quarter of a
/// message that every release reads, so that one talkative client does not hold up the others.
pub const MAX_BAGGAGE: usize = 16 * 1024;
/// Most bytes that go along with a connection in the middle of a session; with more it stays. 64 KiB of the
/// program's own state, and what was read and the head of the request beside that.
pub const MAX_SESSION: usize = 96 * 1024;
/// Most bytes that were read of one connection in the middle of a session and lie apart; with more it stays.
/// What HTTP/2 clients upload while their connection leaves is 4 MiB at most, and there may be some of the
/// next frames. More would keep them waiting for the copy, and take that much memory
/// twice for each of the connections that leave together.
pub const MAX_APART: usize = 4160 * 1024;
/// Most listeners that one process may hand down: as many as an announcement has
/// [room](super::announcement::MAX_SOCKETS_LENGTH) for at 45 bytes, which one on an IPv4 address takes.
pub const MAX_SOCKETS: usize = 2000;

/// One message of the handover.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Message {
    /// Successor: initialised, accepting nothing yet. `unclaimed` are the announced sockets (by index) that
    /// it does not want; the predecessor serves their queues before it closes them.
    Ready {
        /// Indexes into the announcement's sockets.
        unclaimed: Vec<u16>,
        /// What the successor goes on with.
        takes: Takes,
        /// Whether it says [`Accepting`](Message::Accepting). From a release that does not, none is waited
        /// for.
        answers: bool,
    },
    /// Successor: could not initialise, and exits.
    Failed {
        /// For the predecessor's log; at most [`MAX_REASON`] bytes.
        reason: String,
    },
    /// Successor, in probation: leaves on purpose, so its exit is not to be taken for a death.
    Leaving,
    /// Predecessor: has stopped accepting; the successor accepts from now on.
    Commit {
        /// How long the predecessor watches before it settles, to the millisecond.
        probation: Duration,
    },
    /// Successor: has begun to accept, after [`Commit`](Message::Commit); it still does, after
    /// [`Probe`](Message::Probe).
    Accepting,
    /// Predecessor, at the end of probation: is the successor still there?
    Probe,
    /// Predecessor: probation is over, the sockets are the successor's. From a successor: it heard nothing
    /// for too long, and took the sockets for its own.
    Settled {
        /// A trigger arrived meanwhile: the successor is to restart at once.
        restart_again: bool,
    },
    /// Predecessor, in probation: the service is to stop, both of us. From a supervisor likewise. From the
    /// worker that serves: the program wants the service to stop.
    Stop,
    /// Supervisor: abort what is left, and exit.
    Hammer,
    /// Predecessor, draining: connections for the successor to serve on, each with one descriptor, in order.
    Move {
        /// At most [`MAX_MOVED`] of them.
        connections: Vec<Moved>,
    },
    /// Successor: these are its own from now on; it has not read from them yet. The predecessor closes its
    /// duplicates.
    Taken {
        /// As in [`Moved::id`].
        ids: Vec<u64>,
    },
    /// Successor: it has closed its descriptors of these, and the predecessor goes on with them.
    Refused {
        /// As in [`Moved::id`].
        ids: Vec<u64>,
    },
    /// Successor: wants what the predecessor provides under this name.
    StateRequest {
        /// Names the request in its answer.
        id: u64,
        /// At most [`MAX_NAME`](super::state_reply::MAX_NAME) bytes.
        name: String,
        /// Whether it is to be what is left after the predecessor's last connection, instead of what is there
        /// now.
        at_end: bool,
    },
    /// Predecessor: the answer to a [`StateRequest`](Message::StateRequest), with one descriptor if it is
    /// [`StateAnswer::Given`].
    State {
        /// The request's.
        id: u64,
        /// What it leads to.
        answer: StateAnswer,
    },
    /// Supervisor: this worker's successor has been started. With two descriptors: the channel between the
    /// two workers, and the successor's pidfd.
    Successor {
        /// Its process id.
        pid: u32,
    },
    /// Supervisor: accept no more, but on these; keep all open.
    Pause {
        /// The SO_COOKIE of each socket that the successor does not want.
        unclaimed: Vec<u64>,
    },
    /// Supervisor: the successor is lost, accept again on all.
    Resume,
    /// Supervisor: the successor is the service. Close the sockets, serve the queues of these first; then
    /// drain.
    HandOver {
        /// The SO_COOKIE of each socket that the successor does not want.
        unclaimed: Vec<u64>,
        /// What the successor goes on with.
        takes: Takes,
    },
    /// Worker: asks for a restart. With the connection of an operator who wants it, where the announcement
    /// says that the supervisor takes those: that one hears of it from the supervisor then.
    Restart,
    /// Supervisor: what became of a restart.
    Restarted(Told),
    /// Worker: it has bound this socket, and the workers after it are to have it too. With the socket, and
    /// the lock of a Unix socket's path. Supervisor: the worker before has bound it since this one was
    /// started. With the socket.
    Keep(KeptSocket),
    /// Worker: the workers after it are to have this descriptor, which comes along, under this name.
    HandDown {
        /// At most [`MAX_NAME`](super::state_reply::MAX_NAME) bytes.
        name: String,
    },
    /// Worker: the workers after it are not to have the descriptor of this name.
    Withhold {
        /// At most [`MAX_NAME`](super::state_reply::MAX_NAME) bytes.
        name: String,
    },
    /// Successor: what it has to say for itself should it die; the last one counts.
    Words {
        /// At most [`MAX_WORDS`] bytes.
        text: String,
    },
    /// Predecessor, with SETTLED: descriptors of the operators that wait for the restart which the successor
    /// is to make at once. They hear of it from the successor then.
    Followers,
    /// Predecessor, at its end: how its drain went. A figure for people.
    Drained {
        /// How long it took, to the millisecond.
        took: Duration,
        /// How many connections moved.
        moved: u64,
        /// How many the hammer aborted.
        aborted: u64,
        /// Those that moved by what was spoken on them, and those that were to and stayed by why.
        moves: Moves,
    },
}

/// `text` without what goes over `most` bytes, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    // `str::floor_char_boundary` is younger than the oldest Rust that builds this crate.
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
