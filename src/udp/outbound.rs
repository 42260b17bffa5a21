//! What is on its way to one older generation: frames that fill up, and a queue that is bounded.

use std::collections::VecDeque;

use super::Meta;
use super::frame;

/// How full a frame is sent. As one coalesced read, so that whatever is read at once leaves in few frames;
/// the kernel's default buffer of a channel holds three.
const FULL: usize = 56 * 1024;

/// Most bytes that wait here for an older generation that is slow, beside what the kernel's buffer holds
/// (about 200 KiB). As much as a socket's receive buffer on a server for such traffic; beyond it datagrams
/// are dropped, as the kernel does, and counted.
pub(super) const BOUND: usize = 4 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Outbound {
    /// The frame that is being filled, and how many datagrams are in it.
    filling: Frame,
    waiting: VecDeque<Frame>,
    waiting_bytes: usize,
    /// One that was sent, to be filled again.
    spare: Vec<u8>,
    pub(super) forwarded: u64,
    pub(super) dropped: u64,
}

#[derive(Debug, Default)]
struct Frame {
    bytes: Vec<u8>,
    datagrams: u64,
}

impl Outbound {
    pub(super) fn push(&mut self, meta: &Meta, bytes: &[u8]) {
        if self.filling.bytes.is_empty() {
            self.filling.bytes = std::mem::take(&mut self.spare);
            frame::begin(&mut self.filling.bytes);
        }
        frame::push(&mut self.filling.bytes, meta, bytes);
        self.filling.datagrams += meta.datagrams();
        if self.filling.bytes.len() >= FULL {
            self.seal();
        }
    }

    /// The next frame to send: the one that is being filled only if no other waits. While the older
    /// generation is behind it goes on being filled, since few full frames are read sooner than many small
    /// ones.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.waiting.is_empty() && !self.filling.bytes.is_empty() {
            self.seal();
        }
        self.waiting.front().map(|frame| &frame.bytes[..])
    }

    /// It was sent.
    pub(super) fn sent(&mut self) {
        if let Some(mut frame) = self.waiting.pop_front() {
            self.waiting_bytes -= frame.bytes.len();
            self.forwarded += frame.datagrams;
            frame.bytes.clear();
            self.spare = frame.bytes;
        }
    }

    /// Nobody is there to read any of it.
    pub(super) fn drop_all(&mut self) {
        self.dropped += self.filling.datagrams;
        self.dropped += self.waiting.iter().map(|frame| frame.datagrams).sum::<u64>();
        (self.filling, self.waiting_bytes) = (Frame::default(), 0);
        self.waiting.clear();
    }

    fn seal(&mut self) {
        let frame = std::mem::take(&mut self.filling);
        if self.waiting_bytes + frame.bytes.len() > BOUND {
            self.dropped += frame.datagrams;
            return;
        }
        self.waiting_bytes += frame.bytes.len();
        self.waiting.push_back(frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(length: usize, segment: usize) -> Meta {
        let peer = ([192, 0, 2, 1], 1).into();
        Meta { peer, local: None, ecn: 0, length, segment }
    }

    #[test]
    fn small_ones_share_a_frame() {
        let mut outbound = Outbound::default();
        (0..100).for_each(|_| outbound.push(&meta(4, 4), b"ping"));
        assert!(outbound.next().is_some());
        outbound.sent();
        assert!(outbound.next().is_none());
        assert_eq!((outbound.forwarded, outbound.dropped), (100, 0));
    }

    #[test]
    fn while_one_waits_the_next_is_filled() {
        let mut outbound = Outbound::default();
        outbound.push(&meta(4, 4), b"ping");
        for _ in 0..100 {
            // There is no room for it yet.
            assert!(outbound.next().is_some());
            outbound.push(&meta(4, 4), b"ping");
        }
        let mut frames = Vec::new();
        while let Some(frame) = outbound.next() {
            frames.push(frame.len());
            outbound.sent();
        }
        assert_eq!((frames.len(), outbound.forwarded), (2, 101), "{frames:?}");
    }

    #[test]
    fn g5_a_generation_that_does_not_read_costs_so_much_and_the_rest_is_counted() {
        let mut outbound = Outbound::default();
        let bytes = vec![0; 60_000];
        let sent = 2 * BOUND / bytes.len();
        (0..sent).for_each(|_| outbound.push(&meta(bytes.len(), 1000), &bytes));
        assert!(outbound.waiting_bytes <= BOUND);
        let dropped = outbound.dropped;
        assert!(dropped > 0 && dropped < 60 * sent as u64);
        while outbound.next().is_some_and(|frame| frame.len() <= frame::MAX_FRAME) {
            outbound.sent();
        }
        assert_eq!(outbound.forwarded + dropped, 60 * sent as u64);
        assert_eq!(outbound.waiting_bytes, 0);
    }

    #[test]
    fn what_waits_for_one_that_is_gone_is_dropped() {
        let mut outbound = Outbound::default();
        outbound.push(&meta(60_000, 1000), &vec![0; 60_000]);
        outbound.push(&meta(1, 1), b"x");
        outbound.drop_all();
        assert!(outbound.next().is_none());
        assert_eq!((outbound.dropped, outbound.waiting_bytes), (61, 0));
    }
}
