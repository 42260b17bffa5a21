//! How the successor's hyper comes to know a connection that it has not begun.
//!
//! It is told a story, and what it answers is kept from the client, who has had all that from a predecessor:
//!
//! 1. The preface; SETTINGS with a table of no size; the ACK of its own SETTINGS, which are the
//!    predecessor's; as much more window as the client has given.
//! 2. A *ghost request*: three bytes of fields on the last stream that was served. So hyper knows of that
//!    stream and all before it, and late frames of those are its own business. The service is not asked:
//!    the answer is as many bytes as the client's window is below the 65,535 of its beginning.
//! 3. Once that has ended, SETTINGS with a table of one byte, of none, and then all that the client has said.
//!    So the encoder's next block begins with changes of the table's size, on which a client insists that
//!    had made its own smaller.
//!
//! Where no stream was served there is nothing to make up, and the client's settings come first.
//!
//! A server that is not heirloom's has a service that would be asked. Its ghost has fields that no request
//! has: h2 resets that stream by itself, and nothing is sent on it. So hyper cannot be brought to a window of
//! the client's that is below that of its beginning, and such a connection is [not lent
//! on](super::Line::is_large_enough).

use tokio::io::ReadBuf;

use super::carried::Carried;
use super::follower::Follower;
use super::frame::{
    ACK, DATA, DEFAULT_TABLE, DEFAULT_WINDOW, END_HEADERS, END_STREAM, HEADER_TABLE_SIZE, HEADERS, Head,
    PING, RST_STREAM, SETTINGS, Settings, WINDOW_UPDATE, increment, one_setting, push, push_window,
};
use crate::http::sniff::PREFACE;

#[derive(Debug)]
pub(super) struct Arriving {
    /// What hyper reads next, as if the client had sent it, and how much of it has been read.
    feed: Vec<u8>,
    fed: usize,
    /// What comes once the ghost has ended.
    then: Option<Vec<u8>>,
    /// Its stream; 0 for none.
    ghost: u32,
    /// Of what hyper writes.
    writing: Follower,
    /// For SETTINGS of the story, not written yet.
    acks_due: u32,
    /// The window that hyper believes the client to have.
    window: u32,
    /// What hyper says of itself, where that need not be what the predecessor's said.
    said: Option<Settings>,
    has_failed: bool,
}

/// The request that is none of a client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Ghost {
    /// It is answered in the service's place, with [that many bytes](ghost_bytes).
    Answered,
    /// It is none that a service would be asked, and h2 resets its stream.
    Refused,
}

/// How far it is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum Progress {
    /// hyper goes on by itself.
    Waits,
    /// hyper has something to read.
    Feeds,
    /// hyper is where the predecessor's was, and believes the client to have that window.
    Done { window: u32 },
    /// hyper has done something that is not in the story.
    Failed,
}

impl Arriving {
    pub(super) fn new(carried: &Carried, kind: Ghost) -> Arriving {
        let ghost = carried.last_stream;
        let mut settings = carried.client;
        let mut feed = PREFACE.to_vec();
        let mut then = None;
        if ghost == 0 {
            push(&mut feed, SETTINGS, 0, 0, &settings.payload());
        } else {
            // The ghost's answer must leave nothing in the table of the encoder.
            push(&mut feed, SETTINGS, 0, 0, &one_setting(HEADER_TABLE_SIZE, 0));
            if settings.get(HEADER_TABLE_SIZE).is_none() {
                settings.set(HEADER_TABLE_SIZE, DEFAULT_TABLE);
            }
            let mut rest = Vec::new();
            push(&mut rest, SETTINGS, 0, 0, &one_setting(HEADER_TABLE_SIZE, 1));
            push(&mut rest, SETTINGS, 0, 0, &one_setting(HEADER_TABLE_SIZE, 0));
            push(&mut rest, SETTINGS, 0, 0, &settings.payload());
            then = Some(rest);
        }
        push(&mut feed, SETTINGS, ACK, 0, &[]);
        push_window(&mut feed, carried.send_window.saturating_sub(DEFAULT_WINDOW));
        if ghost != 0 {
            let fields = if kind == Ghost::Answered { GHOST } else { REFUSED };
            push(&mut feed, HEADERS, END_HEADERS | END_STREAM, ghost, fields);
        }
        Arriving {
            feed,
            fed: 0,
            then,
            ghost,
            writing: Follower::default(),
            // One for each SETTINGS of the story.
            acks_due: if ghost == 0 { 1 } else { 4 },
            window: DEFAULT_WINDOW,
            said: (kind == Ghost::Refused).then(Settings::default),
            has_failed: false,
        }
    }

    /// Gives hyper the next bytes, if there are any.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let left = &self.feed[self.fed..];
        let given = left.len().min(buf.remaining());
        buf.put_slice(&left[..given]);
        self.fed += given;
        given > 0
    }

    /// What hyper writes goes nowhere.
    pub(super) fn wrote(&mut self, bytes: &[u8]) {
        let Arriving { feed, ghost, writing, acks_due, window, said, has_failed, .. } = self;
        writing.follow(bytes, |head, payload| match head {
            Head { kind: SETTINGS, .. } if head.has(ACK) => *acks_due = acks_due.saturating_sub(1),
            Head { kind: SETTINGS, .. } => {
                if let Some(said) = said {
                    said.merge(payload);
                }
            }
            Head { kind: WINDOW_UPDATE, stream: 0, .. } => *window += increment(payload),
            Head { kind: HEADERS | DATA, stream, .. } if stream == *ghost => {
                if head.has(END_STREAM) {
                    // A ghost has one end.
                    *ghost = 0;
                }
            }
            Head { kind: RST_STREAM, stream, .. } if stream == *ghost => *ghost = 0,
            // As often as a config wants.
            Head { kind: PING, .. } if !head.has(ACK) => push(feed, PING, ACK, 0, payload),
            _ => *has_failed = true,
        });
    }

    /// What a server that is not heirloom's has said of itself.
    pub(super) fn said(&self) -> Option<Settings> {
        self.said
    }

    /// To be asked when hyper waits.
    pub(super) fn progress(&mut self) -> Progress {
        if self.has_failed {
            return Progress::Failed;
        }
        if self.fed < self.feed.len() {
            return Progress::Feeds;
        }
        if self.ghost != 0 || !self.writing.is_between() {
            return Progress::Waits;
        }
        if let Some(then) = self.then.take() {
            (self.feed, self.fed) = (then, 0);
            return Progress::Feeds;
        }
        if self.acks_due > 0 {
            return Progress::Waits;
        }
        Progress::Done { window: self.window }
    }
}

/// How many bytes the ghost's answer has.
pub(in crate::http) fn ghost_bytes(carried: &Carried) -> Option<u32> {
    (carried.last_stream != 0).then(|| DEFAULT_WINDOW.saturating_sub(carried.send_window))
}

/// `GET http /`, by numbers of the static table.
const GHOST: &[u8] = &[0x82, 0x86, 0x84];

/// `:status: 200`, which only a response has, by its number in the static table.
const REFUSED: &[u8] = &[0x88];

#[cfg(test)]
mod tests {
    use super::super::frame::{GOAWAY, Settings};
    use super::*;

    fn carried(last_stream: u32, send_window: u32) -> Carried {
        let mut client = Settings::default();
        client.set(4, 70_000);
        Carried { client, own: Settings::default(), send_window, receive_window: 10, last_stream }
    }

    fn fed(arriving: &mut Arriving) -> Vec<u8> {
        let mut space = [0; 1000];
        let mut buf = ReadBuf::new(&mut space);
        while arriving.give(&mut buf) {}
        buf.filled().to_vec()
    }

    fn frames(kinds: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (kind, flags, stream, payload) in kinds {
            push(&mut bytes, *kind, *flags, *stream, payload);
        }
        bytes
    }

    #[test]
    fn the_whole_story_with_a_ghost() {
        let mut arriving = Arriving::new(&carried(7, 65_000), Ghost::Answered);
        assert_eq!(arriving.progress(), Progress::Feeds);
        let first = fed(&mut arriving);
        assert!(first.starts_with(PREFACE) && first.ends_with(&frames(&[(HEADERS, 5, 7, GHOST)])));
        let more = 32_768_u32.to_be_bytes();
        let answer = frames(&[
            (SETTINGS, 0, 0, &[]),
            (WINDOW_UPDATE, 0, 0, &more),
            (SETTINGS, ACK, 0, &[]),
            (HEADERS, END_HEADERS, 7, &[1, 2]),
            (DATA, END_STREAM, 7, &[0; 535]),
        ]);
        let (head, rest) = answer.split_at(answer.len() - 1);
        arriving.wrote(head);
        assert_eq!(arriving.progress(), Progress::Waits);
        arriving.wrote(rest);
        assert_eq!(arriving.progress(), Progress::Feeds);
        let mut settings = one_setting(1, 4096).to_vec();
        settings.extend(one_setting(4, 70_000));
        let second = frames(&[
            (SETTINGS, 0, 0, &one_setting(1, 1)),
            (SETTINGS, 0, 0, &one_setting(1, 0)),
            (SETTINGS, 0, 0, &settings),
        ]);
        assert_eq!(fed(&mut arriving), second);
        let ack = (SETTINGS, ACK, 0, &[][..]);
        arriving.wrote(&frames(&[ack, ack]));
        assert_eq!(arriving.progress(), Progress::Waits);
        arriving.wrote(&frames(&[ack]));
        assert_eq!(arriving.progress(), Progress::Done { window: 65_535 + 32_768 });
    }

    #[test]
    fn without_a_stream_there_is_no_ghost() {
        let mut arriving = Arriving::new(&carried(0, 100_000), Ghost::Answered);
        assert_eq!(ghost_bytes(&carried(0, 1)), None);
        let window = (100_000 - DEFAULT_WINDOW).to_be_bytes();
        let story = [
            PREFACE.to_vec(),
            frames(&[
                (SETTINGS, 0, 0, &one_setting(4, 70_000)),
                (SETTINGS, ACK, 0, &[]),
                (WINDOW_UPDATE, 0, 0, &window),
            ]),
        ];
        assert_eq!(fed(&mut arriving), story.concat());
        assert_eq!(arriving.progress(), Progress::Waits);
        arriving.wrote(&frames(&[(SETTINGS, 0, 0, &[]), (SETTINGS, ACK, 0, &[])]));
        assert_eq!(arriving.progress(), Progress::Done { window: DEFAULT_WINDOW });
    }

    #[test]
    fn where_a_service_would_be_asked_the_ghost_is_reset() {
        let mut arriving = Arriving::new(&carried(7, 70_000), Ghost::Refused);
        assert!(fed(&mut arriving).ends_with(&frames(&[(HEADERS, 5, 7, b"\x88")])));
        let window = one_setting(4, 70_000);
        arriving.wrote(&frames(&[(SETTINGS, 0, 0, &window), (SETTINGS, ACK, 0, &[])]));
        assert_eq!(arriving.progress(), Progress::Waits);
        arriving.wrote(&frames(&[(RST_STREAM, 0, 7, &[0, 0, 0, 1])]));
        assert_eq!(arriving.progress(), Progress::Feeds);
        fed(&mut arriving);
        let ack = (SETTINGS, ACK, 0, &[][..]);
        arriving.wrote(&frames(&[ack, ack, ack]));
        assert_eq!(arriving.progress(), Progress::Done { window: 65_535 });
        assert_eq!(arriving.said().and_then(|said| said.get(4)), Some(70_000));
    }

    #[test]
    fn a_ping_is_answered_and_what_is_not_in_the_story_ends_it() {
        let mut arriving = Arriving::new(&carried(0, 1), Ghost::Answered);
        fed(&mut arriving);
        arriving.wrote(&frames(&[(PING, 0, 0, b"12345678")]));
        assert_eq!(fed(&mut arriving), frames(&[(PING, ACK, 0, b"12345678")]));
        arriving.wrote(&frames(&[(GOAWAY, 0, 0, &[0; 8])]));
        assert_eq!(arriving.progress(), Progress::Failed);
    }
}
