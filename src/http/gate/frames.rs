//! One direction of a WebSocket, followed byte by byte (RFC 6455, 5.2): where its frames and its messages
//! end.

/// How far one direction is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Header,
    /// Of the frame's payload.
    left: u64,
    /// A control frame's payload so far, unmasked.
    control: Vec<u8>,
    /// A message was begun and not ended: it comes in fragments, and control frames may stand between them.
    in_message: bool,
    is_closing: bool,
    /// This is no WebSocket, or one of a future version.
    is_broken: bool,
    ping: Option<Vec<u8>>,
    pong: Option<Vec<u8>>,
}

/// A frame's header, as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Header {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Frames {
    /// Follows what was read or written.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while !self.is_broken
            && let Some((first, rest)) = bytes.split_first()
        {
            if self.left > 0 {
                bytes = self.follow_payload(bytes);
                continue;
            }
            self.header.push(*first);
            bytes = rest;
            if self.header.is_whole() {
                self.begin();
            }
        }
    }

    /// How many of these bytes, which come next, may go to a library without it having to keep a part of a
    /// frame: a whole frame, or of one that is longer than `most` whatever there is.
    pub(super) fn whole(&self, bytes: &[u8], most: usize) -> usize {
        if self.is_broken {
            return bytes.len();
        }
        let available = bytes.len() as u64;
        let total = if self.left > 0 {
            return usize::try_from(self.left.min(available)).unwrap_or(bytes.len());
        } else {
            let mut header = self.header;
            let Some(end) = bytes.iter().position(|byte| {
                header.push(*byte);
                header.is_whole()
            }) else {
                return 0;
            };
            header.payload().saturating_add(end as u64 + 1)
        };
        match usize::try_from(total) {
            Ok(total) if total <= bytes.len() => total,
            Ok(total) if total <= most => 0,
            _ => bytes.len(),
        }
    }

    /// Between two frames, where a control frame may be put.
    pub(super) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.header.length == 0 && !self.is_broken
    }

    /// Between two messages, and not on its way to its end.
    pub(super) fn is_between_messages(&self) -> bool {
        self.is_between_frames() && !self.in_message && !self.is_closing
    }

    /// A Close frame has come by, or what is no frame.
    pub(super) fn is_ending(&self) -> bool {
        self.is_closing || self.is_broken
    }

    /// What the last Ping carried.
    pub(super) fn ping(&self) -> Option<&[u8]> {
        self.ping.as_deref()
    }

    /// That ping has its answer.
    pub(super) fn answered(&mut self) {
        self.ping = None;
    }

    /// What the last Pong carried, once.
    pub(super) fn take_pong(&mut self) -> Option<Vec<u8>> {
        self.pong.take()
    }

    fn begin(&mut self) {
        let Header { bytes: [first, ..], .. } = self.header;
        let (is_last, opcode) = (first & FIN != 0, first & OPCODE);
        self.left = self.header.payload();
        let fits = match opcode {
            CONTINUATION => self.in_message,
            TEXT | BINARY => !self.in_message,
            CLOSE | PING | PONG => is_last && self.left <= LONGEST_CONTROL,
            _ => false,
        };
        self.is_broken = !fits || self.left > i64::MAX as u64;
        if opcode & CONTROL == 0 {
            self.in_message = !is_last;
        }
        self.is_closing |= opcode == CLOSE;
        if self.left == 0 {
            self.end();
        }
    }

    fn follow_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (payload, rest) = bytes.split_at(count);
        if self.header.bytes[0] & CONTROL != 0 {
            let (key, before) = (self.header.key(), self.control.len());
            let unmasked = payload.iter().enumerate().map(|(at, byte)| byte ^ key[(before + at) % 4]);
            self.control.extend(unmasked);
        }
        self.left -= count as u64;
        if self.left == 0 {
            self.end();
        }
        rest
    }

    fn end(&mut self) {
        match self.header.bytes[0] & OPCODE {
            PING => self.ping = Some(std::mem::take(&mut self.control)),
            PONG => self.pong = Some(std::mem::take(&mut self.control)),
            _ => self.control.clear(),
        }
        self.header = Header::default();
    }
}

impl Header {
    fn push(&mut self, byte: u8) {
        self.bytes[self.length] = byte;
        self.length += 1;
    }

    fn is_whole(&self) -> bool {
        self.length >= 2 && self.length == self.lengths().0 + if self.is_masked() { 4 } else { 0 }
    }

    fn is_masked(&self) -> bool {
        self.bytes[1] & MASK != 0
    }

    /// Where the length ends, and where it begins.
    fn lengths(&self) -> (usize, usize) {
        match self.bytes[1] & LENGTH {
            126 => (4, 2),
            127 => (10, 2),
            _ => (2, 1),
        }
    }

    fn payload(&self) -> u64 {
        match self.lengths() {
            (2, _) => u64::from(self.bytes[1] & LENGTH),
            (end, begin) => self.bytes[begin..end].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        }
    }

    fn key(&self) -> [u8; 4] {
        let (end, _) = self.lengths();
        if !self.is_masked() {
            return [0; 4];
        }
        std::array::from_fn(|at| self.bytes[end + at])
    }
}

/// A Close frame of a server, with a status and a reason.
pub(super) fn close(status: u16, reason: &str) -> Vec<u8> {
    let payload = [&status.to_be_bytes(), reason.as_bytes()].concat();
    control(CLOSE, &payload)
}

/// A Pong frame of a server.
pub(super) fn pong(payload: &[u8]) -> Vec<u8> {
    control(PONG, payload)
}

fn control(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a control frame is short");
    assert!(u64::from(length) <= LONGEST_CONTROL, "a control frame is short");
    [&[FIN | opcode, length], payload].concat()
}

/// Two bytes, a length of 64 bits, a key.
const LONGEST: usize = 14;
const LONGEST_CONTROL: u64 = 125;

const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
/// All opcodes of control frames have it.
const CONTROL: u8 = 0x08;
const MASK: u8 = 0x80;
const LENGTH: u8 = 0x7f;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(is_last: bool, opcode: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
        let mut frame = vec![opcode | if is_last { FIN } else { 0 }];
        let mask = if key.is_some() { MASK } else { 0 };
        match payload.len() {
            length @ 0..=125 => frame.push(length as u8 | mask),
            length @ 126..=65535 => {
                frame.push(126 | mask);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(127 | mask);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend(key.into_iter().flatten());
        let key = key.unwrap_or_default();
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ key[at % 4]));
        frame
    }

    fn after(bytes: &[u8]) -> Frames {
        let mut frames = Frames::default();
        frames.follow(bytes);
        frames
    }

    #[test]
    fn a_message_in_fragments_ends_with_its_last_whatever_comes_between() {
        let key = Some([1, 2, 3, 4]);
        let mut frames = Frames::default();
        for (bytes, between) in [
            (frame(false, TEXT, b"a", key), false),
            (frame(true, PING, b"are you there", key), false),
            (frame(false, CONTINUATION, &[b'b'; 70_000], key), false),
            (frame(true, CONTINUATION, b"", key), true),
        ] {
            frames.follow(&bytes);
            assert!(frames.is_between_frames());
            assert_eq!(frames.is_between_messages(), between);
        }
        assert_eq!(frames.ping(), Some(&b"are you there"[..]));
        frames.answered();
        assert_eq!(frames.ping(), None);
    }

    #[test]
    fn a_close_frame_is_the_end_from_its_header_on() {
        let frames = after(&frame(true, CLOSE, b"\x03\xe8", None)[..2]);
        assert!(frames.is_ending() && !frames.is_between_messages());
        assert!(after(&close(1012, "again")).is_ending());
    }

    #[test]
    fn what_is_no_frame_is_never_between_two() {
        for bytes in [
            frame(true, 3, b"", None),
            frame(true, CONTINUATION, b"", None),
            frame(false, PING, b"", None),
            frame(true, PONG, &[0; 126], None),
            [frame(false, TEXT, b"", None), frame(true, TEXT, b"", None)].concat(),
            b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        ] {
            let mut frames = after(&bytes);
            frames.follow(&[0; 1000]);
            assert!(!frames.is_between_frames() && frames.is_ending(), "{bytes:?}");
            assert_eq!(frames.whole(b"anything", 4), 8);
        }
    }

    #[test]
    fn short_frames_are_given_whole_and_long_ones_as_they_come() {
        let frames = Frames::default();
        let short = frame(true, TEXT, &[b'x'; 300], Some([9; 4]));
        for length in 0..short.len() {
            assert_eq!(frames.whole(&short[..length], 1000), 0, "{length}");
        }
        let two = [&short[..], b"\x81"].concat();
        assert_eq!(frames.whole(&two, 1000), short.len());
        assert_eq!(frames.whole(&short[..20], 100), 20);
        assert_eq!(after(&short[..20]).whole(&two[20..], 1000), short.len() - 20);
    }

    #[test]
    fn a_pong_is_told_once() {
        let mut frames = after(&pong(b"here"));
        assert_eq!(frames.take_pong().as_deref(), Some(&b"here"[..]));
        assert_eq!(frames.take_pong(), None);
    }

    /// A message of one or more fragments, with pings before each.
    fn message() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let size = prop_oneof![0..10_usize, 120..130_usize, 65_530..65_540_usize];
        let fragment = (size, any::<Option<[u8; 4]>>(), any::<bool>());
        proptest::collection::vec(fragment, 1..4).prop_map(|fragments| {
            let count = fragments.len();
            let frames = fragments.into_iter().enumerate().flat_map(|(at, (size, key, ping))| {
                let opcode = if at == 0 { BINARY } else { CONTINUATION };
                let ping = ping.then(|| frame(true, PING, b"ping", key));
                ping.into_iter().chain([frame(at + 1 == count, opcode, &vec![at as u8; size], key)])
            });
            frames.collect()
        })
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_is_between_messages_only_where_one_ends(
            messages in proptest::collection::vec(message(), 1..4),
            cut in 1..200_usize,
        ) {
            let ends: Vec<usize> = messages.iter().scan(0, |end, message| {
                *end += message.iter().map(Vec::len).sum::<usize>();
                Some(*end)
            }).collect();
            let bytes = messages.concat().concat();
            let (mut frames, mut at) = (Frames::default(), 0);
            for piece in bytes.chunks(cut) {
                frames.follow(piece);
                at += piece.len();
                if ends.contains(&at) {
                    prop_assert!(frames.is_between_messages());
                }
                if frames.is_between_messages() {
                    // A ping before the first fragment ends between two messages as well.
                    let last_ended = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0);
                    let next = frames_of(&bytes[last_ended..at]);
                    prop_assert!(next.iter().all(|opcode| *opcode == PING), "{at} of {ends:?}");
                }
            }
            prop_assert!(frames.is_between_messages());
        }

        #[test]
        fn any_bytes_are_followed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1..20_usize) {
            let mut frames = Frames::default();
            for piece in bytes.chunks(cut) {
                prop_assert!(frames.whole(piece, 50) <= piece.len());
                frames.follow(piece);
            }
        }

        #[test]
        fn what_is_given_out_ends_between_frames(messages in proptest::collection::vec(message(), 1..3)) {
            let bytes = messages.concat().concat();
            let (mut frames, mut rest) = (Frames::default(), &bytes[..]);
            while !rest.is_empty() {
                let count = frames.whole(rest, 1000);
                prop_assert!(count > 0);
                frames.follow(&rest[..count]);
                prop_assert!(frames.is_between_frames());
                rest = &rest[count..];
            }
        }
    }

    /// The opcodes of whole frames.
    fn frames_of(mut bytes: &[u8]) -> Vec<u8> {
        let mut opcodes = Vec::new();
        while !bytes.is_empty() {
            opcodes.push(bytes[0] & OPCODE);
            bytes = &bytes[Frames::default().whole(bytes, usize::MAX)..];
        }
        opcodes
    }
}
