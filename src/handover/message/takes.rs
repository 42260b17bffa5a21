//! What a successor goes on with, of what this process has open.

use super::numbers::tag;
use crate::handover::fields;

/// Said in READY, and by a supervisor to the worker before. A release that does not know one of them is not
/// sent any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Takes {
    /// Connections at all: it understands [`Move`](super::Message::Move).
    pub moves: bool,
    /// Those in the middle of a session.
    pub sessions: bool,
    /// Those that speak HTTP/2.
    pub http2: bool,
    /// What was read of a connection, in memory of its own beside the connection.
    pub apart: bool,
}

impl Takes {
    /// What this release goes on with.
    pub const ALL: Takes = Takes { moves: true, sessions: true, http2: true, apart: true };

    pub(super) fn push(self, bytes: &mut Vec<u8>) {
        for (takes, tag) in [
            (self.moves, tag::TAKES_MOVES),
            (self.sessions, tag::TAKES_SESSIONS),
            (self.http2, tag::TAKES_HTTP2),
            (self.apart, tag::TAKES_APART),
        ] {
            if takes {
                fields::push(bytes, tag, &[]);
            }
        }
    }

    pub(super) fn read(&mut self, tag: u8) {
        match tag {
            tag::TAKES_MOVES => self.moves = true,
            tag::TAKES_SESSIONS => self.sessions = true,
            tag::TAKES_HTTP2 => self.http2 = true,
            tag::TAKES_APART => self.apart = true,
            _ => {}
        }
    }
}
