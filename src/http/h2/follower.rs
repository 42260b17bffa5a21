//! One direction of an HTTP/2 connection, followed by the heads of its frames.

use super::frame::{END_HEADERS, HEAD, Head, PING, SETTINGS, WINDOW_UPDATE};
use crate::http::sniff::PREFACE;

/// Where in the frames the bytes are that have passed.
#[derive(Debug, Default)]
pub(super) struct Follower {
    head: [u8; HEAD],
    head_read: u8,
    /// A block of fields has begun and not ended: no other frame may come between.
    in_block: bool,
    /// The payload is wanted.
    gathers: bool,
    payload_left: u32,
    /// The payload so far, where it came in pieces.
    gathered: Vec<u8>,
}

impl Follower {
    /// Of what a client sends from its first byte on.
    pub(super) fn from_preface() -> Follower {
        Follower { payload_left: PREFACE.len() as u32, ..Follower::default() }
    }

    /// Between two frames, where a frame of ours may be put.
    pub(super) fn is_between(&self) -> bool {
        self.left() == 0 && !self.in_block
    }

    pub(super) fn is_in_block(&self) -> bool {
        self.in_block
    }

    /// How many bytes are known to be left of a frame that has begun: of its head, or of its payload.
    pub(super) fn left(&self) -> usize {
        if self.head_read > 0 { HEAD - usize::from(self.head_read) } else { self.payload_left as usize }
    }

    /// Tells of each frame: of SETTINGS, PING and WINDOW_UPDATE at its end, with the payload; of others when
    /// their head has passed.
    #[inline]
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut each: impl FnMut(Head, &[u8])) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let (passed, rest) = bytes.split_at(bytes.len().min(self.payload_left as usize));
                bytes = rest;
                self.payload_left -= passed.len() as u32;
                if self.gathers {
                    self.gather(passed, &mut each);
                }
                continue;
            }
            let head = match bytes.split_first_chunk::<HEAD>() {
                Some((head, rest)) if self.head_read == 0 => {
                    bytes = rest;
                    Head::of(head)
                }
                _ => match self.read_head(&mut bytes) {
                    Some(head) => head,
                    None => return,
                },
            };
            if head.is_block() {
                self.in_block = !head.has(END_HEADERS);
            }
            self.gathers =
                matches!(head.kind, SETTINGS | PING | WINDOW_UPDATE) && head.length <= LONGEST_GATHERED;
            self.payload_left = head.length;
            if !self.gathers {
                each(head, &[]);
            } else if let Some((payload, rest)) = bytes.split_at_checked(head.length as usize) {
                bytes = rest;
                self.payload_left = 0;
                each(head, payload);
            } else {
                self.keep(head);
            }
        }
    }

    #[cold]
    fn read_head(&mut self, bytes: &mut &[u8]) -> Option<Head> {
        let read = usize::from(self.head_read);
        let (more, rest) = bytes.split_at(bytes.len().min(HEAD - read));
        self.head[read..][..more.len()].copy_from_slice(more);
        *bytes = rest;
        self.head_read = (read + more.len()) as u8;
        if usize::from(self.head_read) < HEAD {
            return None;
        }
        self.head_read = 0;
        Some(Head::of(&self.head))
    }

    /// Its payload comes in pieces.
    #[cold]
    fn keep(&mut self, head: Head) {
        let Head { length, kind, flags, stream } = head;
        let ([_, a, b, c], [d, e, f, g]) = (length.to_be_bytes(), stream.to_be_bytes());
        self.head = [a, b, c, kind, flags, d, e, f, g];
        self.gathered = Vec::with_capacity(length as usize);
    }

    #[cold]
    fn gather(&mut self, passed: &[u8], each: &mut impl FnMut(Head, &[u8])) {
        self.gathered.extend_from_slice(passed);
        if self.payload_left == 0 {
            each(Head::of(&self.head), &self.gathered);
            self.gathered = Vec::new();
        }
    }
}

/// In bytes: the longest frame that hyper reads. Of what is longer nobody will hear.
const LONGEST_GATHERED: u32 = 16 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::{CONTINUATION, DATA, HEADERS, push};
    use super::*;

    type Told = Vec<(Head, Vec<u8>)>;

    fn follow(follower: &mut Follower, bytes: &[u8], told: &mut Told) {
        follower.follow(bytes, |head, payload| told.push((head, payload.to_vec())));
    }

    #[test]
    fn a_block_is_not_over_before_its_last_part() {
        let mut follower = Follower::default();
        let (mut first, mut last) = (Vec::new(), Vec::new());
        push(&mut first, HEADERS, 0, 1, b"ab");
        push(&mut last, CONTINUATION, END_HEADERS, 1, b"c");
        follow(&mut follower, &first, &mut Told::new());
        assert!(!follower.is_between() && follower.left() == 0);
        follow(&mut follower, &last, &mut Told::new());
        assert!(follower.is_between());
    }

    #[test]
    fn of_a_preface_nothing_is_told() {
        let (mut follower, mut told) = (Follower::from_preface(), Told::new());
        follow(&mut follower, &PREFACE[..20], &mut told);
        assert_eq!(follower.left(), 4);
        follow(&mut follower, &PREFACE[20..], &mut told);
        assert!(follower.is_between() && told.is_empty());
    }

    proptest! {
        /// However they are cut, the frames that are told are those that were written.
        #[test]
        fn frames_are_told_however_they_are_cut(
            frames in proptest::collection::vec(
                (prop_oneof![Just(DATA), Just(HEADERS), Just(SETTINGS), Just(PING), Just(WINDOW_UPDATE)],
                    0_u32..9, proptest::collection::vec(any::<u8>(), 0..40)),
                1..12,
            ),
            cuts in proptest::collection::vec(1_usize..50, 1..60),
        ) {
            let (mut bytes, mut written) = (Vec::new(), Told::new());
            for (kind, stream, payload) in frames {
                push(&mut bytes, kind, END_HEADERS, stream, &payload);
                let head = Head { length: payload.len() as u32, kind, flags: END_HEADERS, stream };
                let told = if matches!(kind, SETTINGS | PING | WINDOW_UPDATE) { payload } else { Vec::new() };
                written.push((head, told));
            }
            let (mut follower, mut told, mut rest) = (Follower::default(), Told::new(), &bytes[..]);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                follow(&mut follower, piece, &mut told);
                // What is left of a frame leads to its end, or to that of its head.
                prop_assert!(follower.left() <= after.len());
                rest = after;
            }
            prop_assert!(follower.is_between());
            prop_assert_eq!(told, written);
        }
    }
}
