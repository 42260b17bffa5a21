//! What went wrong on a connection, as its client saw it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) symptom: Symptom,
    pub(crate) stage: Stage,
    /// Nothing was answered on this connection before.
    pub(crate) is_fresh: bool,
    /// Some of the answer had come.
    pub(crate) had_begun: bool,
    /// The server had closed the connection before the request was sent, and the client did not know.
    pub(crate) was_closed: bool,
    /// When the connection was made.
    pub(crate) opened: Instant,
    /// The client's end of it.
    pub(crate) local: Option<SocketAddr>,
    /// Who held the server's end, where that was looked up.
    pub(crate) server: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    Refused,
    Reset,
    Closed,
    Silent,
    Status(u16),
    Garbled(String),
    /// A stream of HTTP/2, with this code.
    Cancelled(u32),
    Slow(Duration),
    /// The client's own: it has no descriptor, or no port.
    Own(String),
}

/// How far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Sending,
    /// The head is out, and the body is not.
    Uploading,
    Waiting,
}

impl Symptom {
    /// Of a connection that was there.
    pub(super) fn of(error: &io::Error) -> Symptom {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                Symptom::Reset
            }
            // Closed by the server, and reset before this was done.
            ErrorKind::NotConnected => Symptom::Reset,
            ErrorKind::UnexpectedEof => Symptom::Closed,
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Symptom::Silent,
            _ => Symptom::Own(error.to_string()),
        }
    }

    /// Of one that was not made.
    pub(super) fn of_connecting(error: &io::Error) -> Symptom {
        match error.kind() {
            // A Unix socket's path may be gone with its server.
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Symptom::Refused,
            _ => Symptom::of(error),
        }
    }
}

/// What, and when on its way.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.symptom {
            Symptom::Refused => f.write_str("refused"),
            Symptom::Reset => f.write_str("reset"),
            Symptom::Closed => f.write_str("closed"),
            Symptom::Silent => f.write_str("silent"),
            Symptom::Status(status) => write!(f, "status {status}"),
            Symptom::Garbled(text) => write!(f, "not understood ({})", text.escape_debug()),
            Symptom::Cancelled(code) => write!(f, "the stream was cancelled with code {code}"),
            Symptom::Slow(took) => write!(f, "answered after {took:.1?}"),
            Symptom::Own(why) => f.write_str(why),
        }?;
        f.write_str(match (self.stage, self.had_begun) {
            (_, true) => " in the middle of the answer",
            (Stage::Connecting, _) => " when it connected",
            (Stage::Sending, _) => " while it sent",
            (Stage::Uploading, _) => " while it sent the body",
            (Stage::Waiting, _) => " while it waited for the answer",
        })
    }
}
