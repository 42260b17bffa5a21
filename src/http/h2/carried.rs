//! What goes to the successor with an HTTP/2 connection, in bytes that later releases read too.
//!
//! `[version][kind]` and then [fields], as with other sessions: see [`http::carried`](crate::http::carried).

use super::frame::{LARGEST_WINDOW, Settings};
use crate::handover::fields::{self, OPTIONAL};

/// What the client believes of the connection, and the successor's hyper has to be made to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::http) struct Carried {
    pub(super) client: Settings,
    pub(super) own: Settings,
    /// How many bytes of DATA we may still send on the whole connection.
    pub(super) send_window: u32,
    /// How many the client may still send, before those that were held back.
    pub(super) receive_window: u32,
    /// The last stream that was served.
    pub(super) last_stream: u32,
}

impl Carried {
    pub(in crate::http) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, HTTP2];
        let [send, receive, last] =
            [self.send_window, self.receive_window, self.last_stream].map(u32::to_le_bytes);
        let (client, own) = (self.client.payload(), self.own.payload());
        for (tag, value) in [
            (CLIENT, &client[..]),
            (OWN, &own),
            (SEND_WINDOW, &send),
            (RECEIVE_WINDOW, &receive),
            (LAST_STREAM, &last),
        ] {
            fields::push(&mut bytes, tag, value);
        }
        bytes
    }

    /// `None` for what this release cannot go on with.
    pub(in crate::http) fn decode(bytes: &[u8]) -> Option<Carried> {
        let mut rest = bytes.strip_prefix(&[VERSION, HTTP2])?;
        let (mut client, mut own) = (Settings::default(), Settings::default());
        let (mut send_window, mut receive_window, mut last_stream) = (None, None, None);
        while let Some((tag, value)) = fields::next(&mut rest).ok()? {
            let number = || value.try_into().ok().map(u32::from_le_bytes);
            match tag {
                CLIENT => client.merge(value),
                OWN => own.merge(value),
                SEND_WINDOW => send_window = Some(number()?),
                RECEIVE_WINDOW => receive_window = Some(number()?),
                LAST_STREAM => last_stream = Some(number()?),
                tag if tag >= OPTIONAL => {}
                _ => return None,
            }
        }
        let carried = Carried {
            client,
            own,
            send_window: send_window?,
            receive_window: receive_window?,
            last_stream: last_stream?,
        };
        let numbers = [carried.send_window, carried.receive_window, carried.last_stream];
        numbers.iter().all(|number| *number <= LARGEST_WINDOW).then_some(carried)
    }

    pub(in crate::http) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    /// Whether that is what it is about, even if it can be read no further.
    pub(in crate::http) fn is_in(bytes: &[u8]) -> bool {
        bytes.get(1) == Some(&HTTP2)
    }
}

const VERSION: u8 = 1;
/// Beside those of other sessions, and of TLS.
const HTTP2: u8 = 4;

const CLIENT: u8 = 1;
const OWN: u8 = 2;
const SEND_WINDOW: u8 = 3;
const RECEIVE_WINDOW: u8 = 4;
const LAST_STREAM: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as the first release that has them writes them. Never edit a line; add lines for new releases.
    #[test]
    fn g7_recorded_bytes_are_written_and_read() {
        let mut carried = Carried {
            client: Settings::default(),
            own: Settings::default(),
            send_window: 65_535,
            receive_window: 258,
            last_stream: 7,
        };
        carried.client.set(4, 1);
        carried.own.set(1, 0);
        carried.own.set(3, 200);
        let bytes = b"\x01\x04\x01\x06\0\0\0\0\x04\0\0\0\x01\x02\x0c\0\0\0\0\x01\0\0\0\0\0\x03\0\0\0\xc8\
            \x03\x04\0\0\0\xff\xff\0\0\x04\x04\0\0\0\x02\x01\0\0\x05\x04\0\0\0\x07\0\0\0";
        assert_eq!(carried.encode(), bytes);
        assert_eq!(Carried::decode(bytes), Some(carried));
    }

    #[test]
    fn g7_what_may_be_skipped_is_skipped_and_nothing_else() {
        let known = Carried {
            client: Settings::default(),
            own: Settings::default(),
            send_window: 1,
            receive_window: 2,
            last_stream: 3,
        };
        let bytes = known.encode();
        assert_eq!(Carried::decode(&[&bytes[..], b"\x80\x01\0\0\0x"].concat()), Some(known));
        for more in [&b"\x06\0\0\0\0"[..], b"\x03\x01\0\0\0x", b"\x03\x04\0\0\0\0\0\0\x80", b"\x01"] {
            assert_eq!(Carried::decode(&[&bytes[..], more].concat()), None, "{more:?}");
        }
        assert_eq!(Carried::decode(b"\x01\x04"), None);
        assert!(Carried::is_in(b"\x02\x04") && !Carried::is_in(b"\x01\x03"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Carried::decode(&[b"\x01\x04", &bytes[..]].concat());
        }
    }
}
