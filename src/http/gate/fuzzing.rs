//! For [fuzzers](crate::fuzzing): the bytes of WebSockets and of requests that become sessions.

use super::following::{Begins, Following, RequestBody};
use super::frames::Frames;
use crate::http::carried::SessionKind;
use crate::http::framing::{Body, RequestHead};
use crate::http::fuzzing::part;

/// One direction of a WebSocket: however it is cut, it ends where it does, and what is given whole is.
pub fn frames(bytes: &[u8]) {
    let Some((most, bytes)) = bytes.split_first() else { return };
    let (mut whole, mut by_byte, mut given) = (Frames::default(), Frames::default(), Frames::default());
    whole.follow(bytes);
    bytes.chunks(1).for_each(|byte| by_byte.follow(byte));
    assert_eq!(format!("{whole:?}"), format!("{by_byte:?}"));
    let (mut rest, most) = (bytes, usize::from(*most));
    loop {
        let count = given.whole(rest, most);
        assert!(count <= rest.len());
        if count == 0 {
            break;
        }
        let was_between = given.is_between_frames();
        given.follow(&rest[..count]);
        if was_between && !given.is_between_frames() && !given.is_ending() {
            let left = given.whole(&[0; 256], most);
            assert!(count + left > most, "{count} of a short frame");
        }
        rest = &rest[count..];
    }
}

/// Both directions of a connection whose requests may become sessions: its parts as they come, and byte by
/// byte.
pub fn sessions(bytes: &[u8]) {
    let (mut whole, mut by_byte) = (Connection::new(), Connection::new());
    let mut rest = bytes;
    while let Some((how, part)) = part(&mut rest) {
        whole.say(how, [part]);
        by_byte.say(how, part.chunks(1));
        assert_eq!(whole.following.readiness(), by_byte.following.readiness());
        assert_eq!(whole.following.is_in_body(), by_byte.following.is_in_body());
        assert_eq!(whole.ahead, by_byte.ahead);
        if whole.following.is_held() {
            let [carried, same] =
                [&whole, &by_byte].map(|connection| connection.following.carried(Vec::new()));
            assert_eq!(carried, same);
        }
    }
}

/// A connection as its gate has it, below a server that understands every head at once.
struct Connection {
    following: Following,
    ahead: Vec<u8>,
    head: Vec<u8>,
    /// It is not HTTP/1 that the server understands.
    is_over: bool,
}

impl Connection {
    fn new() -> Connection {
        Connection { following: Following::new(), ahead: Vec::new(), head: Vec::new(), is_over: false }
    }

    /// In that direction, which is the lowest bit. The others say what a request may become.
    fn say<'a>(&mut self, how: u8, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            if how & 1 == 1 {
                self.following.written(piece);
            } else {
                self.ahead.extend_from_slice(piece);
                while self.give(how >> 1) {}
            }
        }
        // The server reads on when it has written.
        while self.give(how >> 1) {}
    }

    fn give(&mut self, how: u8) -> bool {
        let was_before_a_body = !self.following.is_in_body();
        let count = self.following.may_give(&self.ahead, false);
        assert!(count <= self.ahead.len());
        if count == 0 || self.is_over {
            return false;
        }
        let given: Vec<_> = self.ahead.drain(..count).collect();
        self.following.given(&given);
        if was_before_a_body && self.following.is_in_head() {
            self.head.extend_from_slice(&given);
            if self.following.is_between_requests() {
                let head = std::mem::take(&mut self.head);
                self.begin(&head, how);
            }
        }
        true
    }

    fn begin(&mut self, head: &[u8], how: u8) {
        let Some(request) = RequestHead::parse(head) else {
            self.is_over = true;
            return;
        };
        let body = match request.body {
            Body::Length(0) => RequestBody::None,
            Body::Length(length) => RequestBody::Length(length),
            Body::Chunks | Body::UntilEnd => RequestBody::Chunks,
        };
        let (kind, may_upgrade) = match how % 4 {
            0 => (None, false),
            1 => (Some(SessionKind::WebSocket), true),
            2 => (Some(SessionKind::Stream), false),
            _ => (None, true),
        };
        self.following.begin(Begins { kind, body, may_upgrade }, true);
    }
}
