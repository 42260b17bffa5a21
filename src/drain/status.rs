//! What can be said of a connection, for an operator who asks why the old process is still alive.

use std::fmt;
use std::time::Duration;

use crate::sys::address::Address;

/// Where a [`Tracker`](super::Tracker) is on its way from serving to gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nobody asked anything of it.
    Serving,
    /// Connections finish what they do, and end.
    Draining,
    /// What was left has been aborted.
    Hammered,
}

impl Phase {
    pub(super) fn from_bits(bits: u8) -> Phase {
        match bits {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Hammered,
        }
    }
}

/// What is spoken on a connection. Track it as [`Kind::Raw`] unless heirloom's own HTTP server gets it,
/// which tells the tracker what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Unknown to heirloom: the loop that accepted it speaks for it.
    Raw,
    /// HTTP/1.0 or 1.1, or nothing yet on a port that speaks HTTP.
    Http1,
    /// HTTP/2.
    Http2,
    /// Was HTTP/1 and became something else: a WebSocket, a CONNECT tunnel.
    Upgraded,
    /// Told of an upgraded connection that is a WebSocket, where heirloom looks for that, which is where
    /// WebSockets move. Elsewhere it is told as [`Kind::Upgraded`].
    WebSocket,
    /// Told of HTTP/1 in the middle of a response whose handler has asked for what moves with it: an event
    /// stream.
    Stream,
}

impl Kind {
    #[inline]
    pub(super) fn from_bits(bits: u8) -> Kind {
        match bits {
            0 => Kind::Raw,
            1 => Kind::Http1,
            2 => Kind::Http2,
            _ => Kind::Upgraded,
        }
    }

    /// Its name in a status, for programs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Raw => "raw",
            Kind::Http1 => "http1",
            Kind::Http2 => "http2",
            Kind::Upgraded => "upgraded",
            Kind::WebSocket => "websocket",
            Kind::Stream => "stream",
        }
    }

    /// The same, with whether it is over TLS.
    pub(crate) fn name_with(self, tls: bool) -> &'static str {
        match self {
            _ if !tls => self.name(),
            Kind::Raw => "raw+tls",
            Kind::Http1 => "http1+tls",
            Kind::Http2 => "http2+tls",
            Kind::Upgraded => "upgraded+tls",
            Kind::WebSocket => "websocket+tls",
            Kind::Stream => "stream+tls",
        }
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The client has not sent a byte since it connected.
    Fresh,
    /// Between requests.
    Idle,
    /// A part of a request's head has been read.
    ReadingHead,
    /// A request is in flight. Raw and upgraded connections are always busy once they spoke.
    Busy,
    /// The server has closed its direction, and waits for the client to close the other.
    Closing,
    /// It is on its way to the successor.
    Moving,
}

/// One connection, as [`Tracker::snapshot`](super::Tracker::snapshot) found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionStatus {
    /// Counts up from 1 within a tracker; never used twice.
    pub id: u64,
    /// What is spoken on it.
    pub kind: Kind,
    /// Whether that is over heirloom's own TLS.
    pub tls: bool,
    /// What it is doing.
    pub state: ConnectionState,
    /// How long ago it was tracked.
    pub age: Duration,
    /// How long it has been in that state, as exact as the tracker's coarse clock.
    pub in_state: Duration,
    /// Who is at the other end; `None` if the client has already reset it.
    pub peer: Option<Address>,
}

/// `#7 http1 busy from 127.0.0.1:5000, 12.3s old`
impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.name_with(self.tls);
        let state = match self.state {
            ConnectionState::Fresh => "fresh",
            ConnectionState::Idle => "idle",
            ConnectionState::ReadingHead => "reading a head",
            ConnectionState::Busy => "busy",
            ConnectionState::Closing => "closing",
            ConnectionState::Moving => "moving",
        };
        write!(f, "#{} {kind} {state}", self.id)?;
        if let Some(peer) = &self.peer {
            write!(f, " from {peer}")?;
        }
        write!(f, ", {:.1?} old", self.age)
    }
}
