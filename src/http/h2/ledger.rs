//! What the frames that have passed say about a connection: all that hyper knows of it, and that another
//! hyper must be told.

mod acks;
mod windows;

use acks::{Acks, Whose};
use windows::Windows;

use super::carried::Carried;
use super::frame::{
    ACK, DATA, END_STREAM, GOAWAY, HEADERS, Head, PING, RST_STREAM, SETTINGS, Settings, WINDOW_UPDATE,
    increment,
};

#[derive(Debug)]
pub(super) struct Ledger {
    client: Settings,
    own: Settings,
    pub(super) windows: Windows,
    last_stream: u32,
    open: Vec<Open>,
    acks: Acks,
    /// To the client's SETTINGS and PING, not written yet.
    owed_acks: u32,
    owed_pongs: u32,
    /// The client's first SETTINGS have come.
    is_greeted: bool,
    /// We have said GOAWAY.
    is_ending: bool,
    /// More streams have been open than are followed.
    has_lost_count: bool,
    /// The client has said GOAWAY.
    client_goes: bool,
    /// We have reset a stream whose client may not know it yet.
    may_hear_late: bool,
}

/// A stream that at least one side has not ended.
#[derive(Clone, Copy, Debug)]
struct Open {
    stream: u32,
    client_ended: bool,
    own_ended: bool,
    /// In the ticks of the clock that the caller goes by.
    since: u64,
}

impl Ledger {
    /// Of a connection on which nothing was said yet.
    pub(super) fn new() -> Ledger {
        Ledger {
            client: Settings::default(),
            own: Settings::default(),
            windows: Windows::new(),
            last_stream: 0,
            open: Vec::new(),
            acks: Acks::default(),
            owed_acks: 0,
            owed_pongs: 0,
            is_greeted: false,
            is_ending: false,
            has_lost_count: false,
            client_goes: false,
            may_hear_late: false,
        }
    }

    pub(super) fn resumed(carried: &Carried) -> Ledger {
        Ledger {
            client: carried.client,
            own: carried.own,
            windows: Windows::left(carried.send_window, carried.receive_window),
            last_stream: carried.last_stream,
            is_greeted: true,
            ..Ledger::new()
        }
    }

    /// What a successor has to know, while [nothing is going on](Self::is_quiet).
    pub(super) fn carried(&self) -> Carried {
        let (send_window, receive_window) = self.windows.carried();
        let Ledger { client, own, last_stream, .. } = *self;
        Carried { client, own, send_window, receive_window, last_stream }
    }

    /// At least one where the count is lost.
    pub(super) fn open_streams(&self) -> usize {
        self.open.len() + usize::from(self.has_lost_count)
    }

    pub(super) fn last_stream(&self) -> u32 {
        self.last_stream
    }

    pub(super) fn own(&self) -> &Settings {
        &self.own
    }

    /// The handshake is over, so that what is said from now on is ours to say.
    pub(super) fn is_settled(&self) -> bool {
        self.is_greeted && self.acks.is_empty()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.is_ending || self.has_lost_count
    }

    pub(super) fn client_goes(&self) -> bool {
        self.client_goes
    }

    /// No stream is open, and neither side waits for an answer.
    pub(super) fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.acks.is_empty() && self.owed_acks == 0 && self.owed_pongs == 0
    }

    /// How much window the client is to be given for what `held` bytes of DATA have taken, if one of the
    /// streams needs any.
    pub(super) fn credit_due(&self, held: usize) -> u32 {
        let is_needed = self.open.iter().any(|open| !open.client_ended);
        if is_needed { self.windows.credit_due(held) } else { 0 }
    }

    /// What hyper, which is new to the client, says of itself.
    pub(super) fn says(&mut self, own: Settings) {
        self.own = own;
    }

    /// Whether one of the streams up to `stream` is open.
    pub(super) fn is_open_below(&self, stream: u32) -> bool {
        self.open.first().is_some_and(|open| open.stream <= stream)
    }

    /// Whether a stream is open that was so at that time.
    pub(super) fn is_open_since(&self, tick: u64) -> bool {
        self.open.iter().any(|open| open.since <= tick)
    }

    /// Since when the oldest stream is open: they are opened in order.
    pub(super) fn oldest_since(&self) -> Option<u64> {
        self.open.first().map(|open| open.since)
    }

    /// SETTINGS of ours, which hyper does not know of, are written.
    pub(super) fn injected_settings(&mut self) {
        self.acks.push(Whose::Ours);
    }

    /// Whether the client's next ACK is for SETTINGS that hyper does not know of.
    pub(super) fn awaits_own_ack(&self) -> bool {
        self.acks.next() == Some(Whose::Ours)
    }

    pub(super) fn own_ack_heard(&mut self) {
        self.acks.pop();
    }

    pub(super) fn has_injected_unacknowledged(&self) -> bool {
        self.acks.ours > 0
    }

    /// Whether frames of streams that we have reset may still come; asked once.
    pub(super) fn takes_late(&mut self) -> bool {
        std::mem::take(&mut self.may_hear_late)
    }

    #[inline]
    pub(super) fn read(&mut self, head: Head, payload: &[u8], now: u64) {
        match head.kind {
            DATA => {
                self.windows.received(head.length);
                if head.has(END_STREAM) {
                    self.client_ended(head.stream);
                }
            }
            HEADERS => {
                let client_ended = head.has(END_STREAM);
                if head.stream > self.last_stream {
                    self.last_stream = head.stream;
                    self.opened(Open { stream: head.stream, client_ended, own_ended: false, since: now });
                } else if client_ended {
                    self.client_ended(head.stream);
                }
            }
            WINDOW_UPDATE if head.stream == 0 => self.windows.granted(increment(payload)),
            RST_STREAM => _ = self.close(head.stream),
            SETTINGS if head.has(ACK) => self.acks.pop(),
            SETTINGS => {
                self.client.merge(payload);
                self.is_greeted = true;
                self.owed_acks += 1;
            }
            PING if !head.has(ACK) => self.owed_pongs += 1,
            GOAWAY => self.client_goes = true,
            _ => {}
        }
    }

    #[inline]
    pub(super) fn wrote(&mut self, head: Head, payload: &[u8]) {
        match head.kind {
            DATA => {
                self.windows.sent(head.length);
                if head.has(END_STREAM) {
                    self.own_ended(head.stream);
                }
            }
            HEADERS if head.has(END_STREAM) => self.own_ended(head.stream),
            WINDOW_UPDATE if head.stream == 0 => self.windows.credited(increment(payload)),
            RST_STREAM => {
                let closed = self.close(head.stream);
                self.may_hear_late |= closed.is_some_and(|open| !open.client_ended);
            }
            SETTINGS if head.has(ACK) => self.owed_acks = self.owed_acks.saturating_sub(1),
            SETTINGS => {
                self.own.merge(payload);
                self.acks.push(Whose::Hyper);
            }
            PING if head.has(ACK) => self.owed_pongs = self.owed_pongs.saturating_sub(1),
            GOAWAY => self.is_ending = true,
            _ => {}
        }
    }

    #[inline]
    fn opened(&mut self, open: Open) {
        if self.open.len() == MOST_FOLLOWED {
            self.has_lost_count = true;
            return;
        }
        self.open.push(open);
    }

    /// Streams are opened in the order of their numbers, and short ones end soon: from behind.
    #[inline]
    fn position(&self, stream: u32) -> Option<usize> {
        self.open.iter().rposition(|open| open.stream == stream)
    }

    #[inline]
    fn client_ended(&mut self, stream: u32) {
        let Some(at) = self.position(stream) else { return };
        self.open[at].client_ended = true;
        if self.open[at].own_ended {
            self.open.remove(at);
        }
    }

    #[inline]
    fn own_ended(&mut self, stream: u32) {
        let Some(at) = self.position(stream) else { return };
        self.open[at].own_ended = true;
        if self.open[at].client_ended {
            self.open.remove(at);
        }
    }

    fn close(&mut self, stream: u32) -> Option<Open> {
        self.position(stream).map(|at| self.open.remove(at))
    }
}

/// Several times what hyper lets a client have open: what is beyond is refused, by resets that are on their
/// way.
const MOST_FOLLOWED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: u8, flags: u8, stream: u32, length: u32) -> Head {
        Head { length, kind, flags, stream }
    }

    fn greeted() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.wrote(head(SETTINGS, 0, 0, 0), &[]);
        ledger.read(head(SETTINGS, 0, 0, 0), &[], 0);
        assert!(!ledger.is_settled());
        ledger.read(head(SETTINGS, ACK, 0, 0), &[], 0);
        ledger.wrote(head(SETTINGS, ACK, 0, 0), &[]);
        assert!(ledger.is_settled() && ledger.is_quiet());
        ledger
    }

    #[test]
    fn a_stream_is_open_until_both_sides_have_ended_it() {
        let mut ledger = greeted();
        ledger.read(head(HEADERS, 0, 1, 9), &[], 5);
        ledger.read(head(HEADERS, END_STREAM, 3, 9), &[], 6);
        ledger.wrote(head(DATA, END_STREAM, 1, 10), &[]);
        assert!(ledger.is_open_below(1) && ledger.is_open_since(5) && !ledger.is_open_since(4));
        assert_eq!(ledger.oldest_since(), Some(5));
        ledger.read(head(DATA, END_STREAM, 1, 10), &[], 0);
        assert!(!ledger.is_open_below(2) && ledger.is_open_below(3));
        ledger.wrote(head(HEADERS, END_STREAM, 3, 1), &[]);
        assert!(ledger.is_quiet());
        assert_eq!(ledger.carried().last_stream, 3);
        assert_eq!((ledger.carried().send_window, ledger.carried().receive_window), (65_525, 65_525));
    }

    #[test]
    fn where_more_are_open_than_are_followed_one_is_to_the_end() {
        let mut ledger = greeted();
        let streams: Vec<u32> = (0..=MOST_FOLLOWED as u32).map(|at| 2 * at + 1).collect();
        streams.iter().for_each(|stream| ledger.read(head(HEADERS, END_STREAM, *stream, 1), &[], 0));
        assert!(ledger.is_ending());
        streams.iter().for_each(|stream| ledger.wrote(head(DATA, END_STREAM, *stream, 0), &[]));
        assert_eq!(ledger.open_streams(), 1);
    }

    #[test]
    fn late_frames_may_come_of_a_stream_that_we_reset_half_open_and_of_no_other() {
        for (flags, late) in [(0, true), (END_STREAM, false)] {
            let mut ledger = greeted();
            ledger.read(head(HEADERS, flags, 1, 9), &[], 0);
            ledger.wrote(head(RST_STREAM, 0, 1, 4), &[]);
            assert!(ledger.is_quiet());
            assert_eq!((ledger.takes_late(), ledger.takes_late()), (late, false));
        }
    }

    #[test]
    fn answers_that_are_due_are_counted_and_acks_told_apart() {
        let mut ledger = greeted();
        ledger.read(head(PING, 0, 0, 8), &[], 0);
        assert!(!ledger.is_quiet());
        ledger.wrote(head(PING, ACK, 0, 8), &[]);
        ledger.wrote(head(SETTINGS, 0, 0, 0), &[]);
        ledger.injected_settings();
        ledger.wrote(head(SETTINGS, 0, 0, 0), &[]);
        for ours in [false, true, false] {
            assert!(!ledger.is_quiet());
            assert_eq!(ledger.awaits_own_ack(), ours);
            ledger.read(head(SETTINGS, ACK, 0, 0), &[], 0);
        }
        assert!(ledger.is_quiet());
    }

    #[test]
    fn held_bytes_are_credited_where_they_leave_no_window_for_what_is_to_come() {
        let mut ledger = greeted();
        ledger.read(head(HEADERS, 0, 1, 9), &[], 0);
        assert_eq!((ledger.credit_due(32_000), ledger.credit_due(33_000)), (0, 33_000));
        ledger.windows.credits(33_000);
        assert_eq!((ledger.credit_due(33_000), ledger.credit_due(66_000)), (0, 33_000));
        // hyper knows of its own window alone.
        assert!(ledger.windows.bears(65_535) && !ledger.windows.bears(65_536));
        ledger.read(head(DATA, 0, 1, 60_000), &[], 0);
        assert!(ledger.windows.bears(5_535) && !ledger.windows.bears(5_536));
        assert_eq!(
            (ledger.windows.pays(30_000), ledger.windows.pays(30_000), ledger.windows.pays(30_000)),
            (0, 27_000, 30_000)
        );
        assert!(!ledger.windows.has_credit());
        ledger.read(head(DATA, END_STREAM, 1, 10), &[], 0);
        assert_eq!(ledger.credit_due(60_000), 0, "it has all that it needs");
    }

    #[test]
    fn windows_count_data_and_updates_of_the_connection() {
        let mut ledger = greeted();
        ledger.read(head(WINDOW_UPDATE, 0, 0, 4), &1000_u32.to_be_bytes(), 0);
        ledger.read(head(WINDOW_UPDATE, 0, 1, 4), &1000_u32.to_be_bytes(), 0);
        ledger.wrote(head(WINDOW_UPDATE, 0, 0, 4), &1_000_000_u32.to_be_bytes());
        ledger.read(head(DATA, 0, 1, 100), &[], 0);
        let carried = ledger.carried();
        assert_eq!((carried.send_window, carried.receive_window), (66_535, 1_065_435));
    }
}
