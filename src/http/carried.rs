//! What goes to the successor with a connection in the middle of a session, in bytes that later releases read
//! too.
//!
//! `[version][kind]` and then [fields]. A tag of [`OPTIONAL`] or above that the reader does not know is
//! skipped; below it, the session cannot go on.

use crate::handover::fields::{self, OPTIONAL};

/// What a connection is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionKind {
    WebSocket,
    /// A response in chunks.
    Stream,
}

/// What the successor needs to know to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Carried {
    pub(super) kind: SessionKind,
    /// The request that began it, as the client sent it: its head and its body.
    pub(super) request: Vec<u8>,
    /// What the head of the response said that the next one must say as well.
    pub(super) terms: Vec<String>,
    /// The handler's own.
    pub(super) state: Vec<u8>,
}

impl Carried {
    pub(super) fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            SessionKind::WebSocket => WEBSOCKET,
            SessionKind::Stream => STREAM,
        };
        let mut bytes = vec![VERSION, kind];
        // The value of a header has no line end in it.
        let terms = self.terms.join("\n");
        for (tag, value) in [(REQUEST, &self.request[..]), (TERMS, terms.as_bytes()), (STATE, &self.state)] {
            fields::push(&mut bytes, tag, value);
        }
        bytes
    }

    /// `None` for what this release cannot go on with.
    pub(super) fn decode(bytes: &[u8]) -> Option<Carried> {
        let kind = Self::kind(bytes)?;
        let mut carried = Carried { kind, request: Vec::new(), terms: Vec::new(), state: Vec::new() };
        let mut rest = &bytes[2..];
        while let Some((tag, value)) = fields::next(&mut rest).ok()? {
            match tag {
                REQUEST => carried.request = value.to_vec(),
                TERMS => carried.terms = str::from_utf8(value).ok()?.split('\n').map(str::to_owned).collect(),
                STATE => carried.state = value.to_vec(),
                tag if tag >= OPTIONAL => {}
                _ => return None,
            }
        }
        Some(carried)
    }

    /// Of what can be read no further, too.
    pub(super) fn kind(bytes: &[u8]) -> Option<SessionKind> {
        match bytes {
            [VERSION, WEBSOCKET, ..] => Some(SessionKind::WebSocket),
            [VERSION, STREAM, ..] => Some(SessionKind::Stream),
            _ => None,
        }
    }
}

const VERSION: u8 = 1;

const WEBSOCKET: u8 = 1;
const STREAM: u8 = 2;

const REQUEST: u8 = 1;
const TERMS: u8 = 2;
const STATE: u8 = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as the first release that has them writes them. Never edit a line; add lines for new releases.
    #[test]
    fn g7_recorded_bytes_are_written_and_read() {
        for (carried, bytes) in [
            (
                Carried {
                    kind: SessionKind::WebSocket,
                    request: b"GET / HTTP/1.1\r\n\r\n".to_vec(),
                    terms: vec!["chat".to_owned(), String::new()],
                    state: b"7".to_vec(),
                },
                &b"\x01\x01\x01\x12\0\0\0GET / HTTP/1.1\r\n\r\n\x02\x05\0\0\0chat\n\x03\x01\0\0\x007"[..],
            ),
            (
                Carried {
                    kind: SessionKind::Stream,
                    request: vec![],
                    terms: vec!["a".to_owned()],
                    state: vec![],
                },
                b"\x01\x02\x01\0\0\0\0\x02\x01\0\0\0a\x03\0\0\0\0",
            ),
        ] {
            assert_eq!(carried.encode(), bytes);
            assert_eq!(Carried::decode(bytes), Some(carried));
        }
    }

    #[test]
    fn g7_what_may_be_skipped_is_skipped_and_nothing_else() {
        assert!(Carried::decode(b"\x01\x01\x80\x01\0\0\0x").is_some());
        for bytes in [&b"\x01\x01\x04\0\0\0\0"[..], b"\x01\x03", b"\x02\x01", b"\x01\x01\x01\xff\0\0\0", b""]
        {
            assert_eq!(Carried::decode(bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Carried::decode(&bytes);
            let _ = Carried::decode(&[b"\x01\x01", &bytes[..]].concat());
        }
    }
}
