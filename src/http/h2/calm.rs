//! A limit to frames that bring nothing forward.
//!
//! hyper counts resets, but answers PING and SETTINGS, and takes WINDOW_UPDATE and the like, as fast as they
//! come: a flood of them costs half a core. Nobody else sees the frames, so they are counted here.

use std::time::{Duration, Instant};

use super::frame::{DATA, END_STREAM, HEADERS, Head};

/// How many frames of late brought nothing forward.
#[derive(Debug)]
pub(super) struct Calm {
    idle: u64,
    since: Instant,
    /// Bytes, since then.
    written: u64,
}

impl Calm {
    pub(super) fn new() -> Calm {
        Calm { idle: 0, since: Instant::now(), written: 0 }
    }

    /// Whether one more frame is still bearable.
    #[inline]
    pub(super) fn read(&mut self, head: Head) -> bool {
        match head.kind {
            HEADERS => true,
            DATA if head.length > 0 || head.has(END_STREAM) => true,
            _ => self.is_bearable(),
        }
    }

    #[inline]
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes as u64;
    }

    /// One more that brings nothing forward. The clock is read once in thousands of them.
    #[inline]
    fn is_bearable(&mut self) -> bool {
        self.idle += 1;
        self.idle <= IDLE_A_SECOND + self.written / WRITTEN_FOR_ONE || self.begins_again()
    }

    #[cold]
    fn begins_again(&mut self) -> bool {
        let now = Instant::now();
        if now - self.since < Duration::from_secs(1) {
            return false;
        }
        (self.since, self.idle, self.written) = (now, 0, 0);
        true
    }
}

/// One in 100 µs for ever: more than clients send that ping with every answer that they get, and at some 1 µs
/// for each a hundredth of a core.
const IDLE_A_SECOND: u64 = 10_000;

/// Who downloads sends a WINDOW_UPDATE or two for each frame of data, of 16 KiB as a rule.
const WRITTEN_FOR_ONE: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn bears(calm: &mut Calm, kind: u8, flags: u8, length: u32, times: usize) -> bool {
        (0..times).all(|_| calm.read(Head { length, kind, flags, stream: 1 }))
    }

    #[test]
    fn a_flood_is_one_whatever_it_is_made_of_and_a_download_is_none() {
        for (kind, flags, length) in [(2, 0, 5), (4, 0, 0), (6, 0, 8), (8, 0, 4), (99, 0, 8), (DATA, 0, 0)] {
            assert!(!bears(&mut Calm::new(), kind, flags, length, 20_000), "{kind}");
            let mut downloads = Calm { written: 20_000 * 16_384, ..Calm::new() };
            assert!(bears(&mut downloads, kind, flags, length, 20_000), "{kind}");
        }
        let mut slow = Calm { since: Instant::now() - Duration::from_secs(2), ..Calm::new() };
        assert!(bears(&mut slow, 6, 0, 8, 15_000));
    }

    #[test]
    fn requests_and_their_bodies_are_none() {
        for (kind, flags, length) in [(HEADERS, 4, 10), (DATA, 0, 1), (DATA, END_STREAM, 0)] {
            assert!(bears(&mut Calm::new(), kind, flags, length, 100_000));
        }
    }
}
