//! What the two sides say to each other: versioned, bounded, and the same bytes for ever.
//!
//! A message is `[version][kind]` and then fields, as `fields.rs` has them. One message is one packet of the
//! handover channel, so there is no framing. Two rules keep mixed versions talking (G7):
//!
//! * a kind or tag of [`OPTIONAL`] or above that the reader does not know is skipped; below it, it is an
//!   error;
//! * the version changes only when a reader of the old one could do harm.
//!
//! The recorded bytes of every released version stand in the tests below and never change.

mod error;
mod moved;
mod numbers;
mod private;
mod supervision;
mod takes;

use std::time::Duration;

pub use error::MessageError;
pub use moved::Moved;
use numbers::{kind, tag};
pub use private::Private;
pub use supervision::{KeptSocket, Told};
pub use takes::Takes;

use super::fields;
pub use super::fields::OPTIONAL;
use super::moves::Moves;
use super::state_reply::{MAX_NAME, StateAnswer, Withheld};

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
        /// At most [`MAX_NAME`] bytes.
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
        /// At most [`MAX_NAME`] bytes.
        name: String,
    },
    /// Worker: the workers after it are not to have the descriptor of this name.
    Withhold {
        /// At most [`MAX_NAME`] bytes.
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

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.kind()];
        match self {
            Message::Ready { unclaimed, takes, answers } => {
                if !unclaimed.is_empty() {
                    let value: Vec<u8> = unclaimed.iter().flat_map(|index| index.to_le_bytes()).collect();
                    fields::push(&mut bytes, tag::UNCLAIMED, &value);
                }
                takes.push(&mut bytes);
                if *answers {
                    fields::push(&mut bytes, tag::ANSWERS, &[]);
                }
            }
            Message::Move { connections } => {
                let mut value = Vec::with_capacity(connections.iter().map(Moved::size).sum());
                connections.iter().for_each(|moved| moved.encode(&mut value));
                let value = Private::from(value);
                // At once: a buffer that grows leaves copies behind, and there may be keys in it.
                bytes.reserve(1 + 4 + value.len());
                fields::push(&mut bytes, tag::CONNECTIONS, &value);
            }
            Message::Taken { ids } | Message::Refused { ids } => {
                let value: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                fields::push(&mut bytes, tag::IDS, &value);
            }
            Message::Failed { reason } => {
                fields::push(&mut bytes, tag::REASON, cut(reason, MAX_REASON).as_bytes())
            }
            Message::Commit { probation } => {
                let millis = u64::try_from(probation.as_millis()).unwrap_or(u64::MAX);
                fields::push(&mut bytes, tag::PROBATION, &millis.to_le_bytes());
            }
            Message::Settled { restart_again: true } => fields::push(&mut bytes, tag::RESTART_AGAIN, &[]),
            Message::Successor { pid } => fields::push(&mut bytes, tag::PID, &pid.to_le_bytes()),
            Message::Pause { unclaimed } => push_cookies(&mut bytes, unclaimed),
            Message::HandOver { unclaimed, takes } => {
                push_cookies(&mut bytes, unclaimed);
                takes.push(&mut bytes);
            }
            Message::Restarted(told) => fields::push(&mut bytes, tag::TOLD, &told.encode()),
            Message::Keep(socket) => fields::push(&mut bytes, tag::SOCKET, &socket.encode()),
            Message::HandDown { name } | Message::Withhold { name } => {
                fields::push(&mut bytes, tag::NAME, cut(name, MAX_NAME).as_bytes());
            }
            Message::StateRequest { id, name, at_end } => {
                fields::push(&mut bytes, tag::ID, &id.to_le_bytes());
                fields::push(&mut bytes, tag::NAME, cut(name, MAX_NAME).as_bytes());
                if *at_end {
                    fields::push(&mut bytes, tag::AT_END, &[]);
                }
            }
            Message::State { id, answer } => {
                fields::push(&mut bytes, tag::ID, &id.to_le_bytes());
                match answer {
                    StateAnswer::Given { tag, length } => {
                        fields::push(&mut bytes, tag::GIVEN, &StateAnswer::encode_given(*tag, *length));
                    }
                    StateAnswer::Withheld(why) => fields::push(&mut bytes, tag::WITHHELD, &why.encode()),
                }
            }
            Message::Words { text } => fields::push(&mut bytes, tag::WORDS, cut(text, MAX_WORDS).as_bytes()),
            Message::Drained { took, moved, aborted, moves } => {
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let value = [millis, *moved, *aborted].map(u64::to_le_bytes).concat();
                fields::push(&mut bytes, tag::FIGURES, &value);
                if !moves.is_empty() {
                    fields::push(&mut bytes, tag::MOVES, moves.encode().as_bytes());
                }
            }
            _ => {}
        }
        bytes
    }

    /// Reads a message; `None` for one that this release may skip.
    pub fn decode(bytes: &[u8]) -> Result<Option<Message>, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError::TooLong { length: bytes.len() });
        }
        let [version, kind, rest @ ..] = bytes else { return Err(MessageError::Truncated) };
        if *version != VERSION {
            return Err(MessageError::Version { version: *version });
        }
        let message = match *kind {
            kind::READY => Message::Ready { unclaimed: Vec::new(), takes: Takes::default(), answers: false },
            kind::FAILED => Message::Failed { reason: String::new() },
            kind::LEAVING => Message::Leaving,
            kind::COMMIT => Message::Commit { probation: Duration::ZERO },
            kind::ACCEPTING => Message::Accepting,
            kind::PROBE => Message::Probe,
            kind::SETTLED => Message::Settled { restart_again: false },
            kind::STOP => Message::Stop,
            kind::MOVE => Message::Move { connections: Vec::new() },
            kind::TAKEN => Message::Taken { ids: Vec::new() },
            kind::REFUSED => Message::Refused { ids: Vec::new() },
            kind::STATE_REQUEST => Message::StateRequest { id: 0, name: String::new(), at_end: false },
            // Without a field for it, nothing was given.
            kind::STATE => Message::State { id: 0, answer: StateAnswer::Withheld(Withheld::NoSuchName) },
            kind::SUCCESSOR => Message::Successor { pid: 0 },
            kind::PAUSE => Message::Pause { unclaimed: Vec::new() },
            kind::RESUME => Message::Resume,
            kind::HAMMER => Message::Hammer,
            kind::HAND_OVER => Message::HandOver { unclaimed: Vec::new(), takes: Takes::default() },
            kind::RESTART => Message::Restart,
            kind::RESTARTED => Message::Restarted(Told::Stopped),
            kind::KEEP => Message::Keep(KeptSocket::default()),
            kind::HAND_DOWN => Message::HandDown { name: String::new() },
            kind::WITHHOLD => Message::Withhold { name: String::new() },
            kind::WORDS => Message::Words { text: String::new() },
            kind::FOLLOWERS => Message::Followers,
            kind::DRAINED => {
                Message::Drained { took: Duration::ZERO, moved: 0, aborted: 0, moves: Moves::default() }
            }
            kind if kind >= OPTIONAL => return Ok(None),
            kind => return Err(MessageError::Kind { kind }),
        };
        message.with_fields(*kind, rest).map(Some)
    }

    fn with_fields(mut self, kind: u8, mut rest: &[u8]) -> Result<Message, MessageError> {
        let mut seen = [false; 256];
        while let Some((tag, value)) = fields::next(&mut rest)? {
            let unfit = MessageError::Field { kind, tag };
            if std::mem::replace(&mut seen[usize::from(tag)], true) {
                return Err(unfit);
            }
            match (&mut self, tag) {
                (
                    Message::Ready { takes, .. } | Message::HandOver { takes, .. },
                    tag::TAKES_MOVES | tag::TAKES_SESSIONS | tag::TAKES_HTTP2 | tag::TAKES_APART,
                ) => takes.read(tag),
                (Message::Ready { answers, .. }, tag::ANSWERS) => *answers = true,
                (Message::Move { connections }, tag::CONNECTIONS) => {
                    let mut rest = value;
                    while !rest.is_empty() {
                        connections.push(Moved::decode(&mut rest).ok_or_else(|| unfit.clone())?);
                    }
                    if connections.len() > MAX_MOVED {
                        return Err(unfit);
                    }
                }
                (Message::Taken { ids } | Message::Refused { ids }, tag::IDS) => {
                    let (numbers, rest) = value.as_chunks::<8>();
                    if !rest.is_empty() {
                        return Err(unfit);
                    }
                    *ids = numbers.iter().map(|id| u64::from_le_bytes(*id)).collect();
                }
                (Message::Ready { unclaimed, .. }, tag::UNCLAIMED) => {
                    let (indexes, rest) = value.as_chunks::<2>();
                    if !rest.is_empty() || indexes.len() > MAX_SOCKETS {
                        return Err(unfit);
                    }
                    *unclaimed = indexes.iter().map(|index| u16::from_le_bytes(*index)).collect();
                }
                (Message::Failed { reason }, tag::REASON) => {
                    *reason = cut(&String::from_utf8_lossy(value), MAX_REASON).to_owned();
                }
                (Message::Commit { probation }, tag::PROBATION) => {
                    let millis = value.try_into().map_err(|_| unfit)?;
                    *probation = Duration::from_millis(u64::from_le_bytes(millis));
                }
                (Message::Settled { restart_again }, tag::RESTART_AGAIN) => *restart_again = true,
                (Message::StateRequest { id, .. } | Message::State { id, .. }, tag::ID) => {
                    *id = u64::from_le_bytes(value.try_into().map_err(|_| unfit)?);
                }
                (
                    Message::StateRequest { name, .. }
                    | Message::HandDown { name }
                    | Message::Withhold { name },
                    tag::NAME,
                ) => {
                    let text = str::from_utf8(value).ok().filter(|text| text.len() <= MAX_NAME);
                    *name = text.ok_or(unfit)?.to_owned();
                }
                (Message::StateRequest { at_end, .. }, tag::AT_END) => *at_end = true,
                (Message::State { answer, .. }, tag::GIVEN) => {
                    *answer = StateAnswer::decode_given(value).ok_or(unfit)?;
                }
                (Message::State { answer, .. }, tag::WITHHELD) => {
                    *answer = Withheld::decode(value).map(StateAnswer::Withheld).ok_or(unfit)?;
                }
                (Message::Successor { pid }, tag::PID) => {
                    *pid = u32::from_le_bytes(value.try_into().map_err(|_| unfit)?);
                }
                (Message::Pause { unclaimed } | Message::HandOver { unclaimed, .. }, tag::COOKIES) => {
                    let (cookies, rest) = value.as_chunks::<8>();
                    if !rest.is_empty() || cookies.len() > MAX_SOCKETS {
                        return Err(unfit);
                    }
                    *unclaimed = cookies.iter().map(|cookie| u64::from_le_bytes(*cookie)).collect();
                }
                (Message::Restarted(told), tag::TOLD) => *told = Told::decode(value).ok_or(unfit)?,
                (Message::Keep(socket), tag::SOCKET) => {
                    *socket = KeptSocket::decode(value).ok_or(unfit)?;
                }
                (Message::Words { text }, tag::WORDS) => {
                    *text = cut(&String::from_utf8_lossy(value), MAX_WORDS).to_owned();
                }
                (Message::Drained { took, moved, aborted, .. }, tag::FIGURES) => {
                    // More of them are a later release's.
                    let (&[millis, first, second, ..], _) = value.as_chunks::<8>() else { return Err(unfit) };
                    *took = Duration::from_millis(u64::from_le_bytes(millis));
                    (*moved, *aborted) = (u64::from_le_bytes(first), u64::from_le_bytes(second));
                }
                // In a form that this release does not know, it goes without.
                (Message::Drained { moves, .. }, tag::MOVES) => {
                    *moves = str::from_utf8(value).ok().and_then(Moves::decode).unwrap_or_default();
                }
                (_, tag) if tag >= OPTIONAL => {}
                _ => return Err(unfit),
            }
        }
        Ok(self)
    }

    fn kind(&self) -> u8 {
        match self {
            Message::Ready { .. } => kind::READY,
            Message::Accepting => kind::ACCEPTING,
            Message::Probe => kind::PROBE,
            Message::Failed { .. } => kind::FAILED,
            Message::Leaving => kind::LEAVING,
            Message::Commit { .. } => kind::COMMIT,
            Message::Settled { .. } => kind::SETTLED,
            Message::Stop => kind::STOP,
            Message::Move { .. } => kind::MOVE,
            Message::Taken { .. } => kind::TAKEN,
            Message::Refused { .. } => kind::REFUSED,
            Message::StateRequest { .. } => kind::STATE_REQUEST,
            Message::State { .. } => kind::STATE,
            Message::Successor { .. } => kind::SUCCESSOR,
            Message::Pause { .. } => kind::PAUSE,
            Message::Resume => kind::RESUME,
            Message::Hammer => kind::HAMMER,
            Message::HandOver { .. } => kind::HAND_OVER,
            Message::Restart => kind::RESTART,
            Message::Restarted(_) => kind::RESTARTED,
            Message::Keep(_) => kind::KEEP,
            Message::HandDown { .. } => kind::HAND_DOWN,
            Message::Withhold { .. } => kind::WITHHOLD,
            Message::Drained { .. } => kind::DRAINED,
            Message::Words { .. } => kind::WORDS,
            Message::Followers => kind::FOLLOWERS,
        }
    }
}

fn push_cookies(bytes: &mut Vec<u8>, cookies: &[u64]) {
    if !cookies.is_empty() {
        let value: Vec<u8> = cookies.iter().flat_map(|cookie| cookie.to_le_bytes()).collect();
        fields::push(bytes, tag::COOKIES, &value);
    }
}

/// `text` without what goes over `most` bytes, cut between characters.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    // `str::floor_char_boundary` is younger than the oldest Rust that builds this crate.
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
