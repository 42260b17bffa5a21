//! How many bytes of DATA both sides may still send on the whole connection, and what the client was given of
//! that without hyper's knowledge: its credit.

use crate::http::h2::frame::{DEFAULT_WINDOW, LARGEST_WINDOW};

#[derive(Debug)]
pub(in crate::http::h2) struct Windows {
    /// Ours, that the client gives us.
    send: i64,
    /// The client's.
    receive: i64,
    /// How much of the client's hyper does not know of, and would not bear.
    credit: i64,
}

impl Windows {
    /// At the beginning of a connection.
    pub(super) fn new() -> Windows {
        Windows::left(DEFAULT_WINDOW, DEFAULT_WINDOW)
    }

    pub(super) fn left(send: u32, receive: u32) -> Windows {
        Windows { send: send.into(), receive: receive.into(), credit: 0 }
    }

    /// Ours, and the client's.
    pub(super) fn carried(&self) -> (u32, u32) {
        let window = |left: i64| u32::try_from(left.max(0)).unwrap_or(u32::MAX);
        (window(self.send), window(self.receive))
    }

    #[inline]
    pub(super) fn sent(&mut self, length: u32) {
        self.send -= i64::from(length);
    }

    #[inline]
    pub(super) fn received(&mut self, length: u32) {
        self.receive -= i64::from(length);
    }

    /// The client lets us send more.
    #[inline]
    pub(super) fn granted(&mut self, more: u32) {
        self.send += i64::from(more);
    }

    /// Nothing more of any answer may be sent before the client says so.
    pub(in crate::http::h2) fn is_out(&self) -> bool {
        self.send <= 0
    }

    /// Whether we may send no less than at the beginning.
    pub(in crate::http::h2) fn is_large_enough(&self) -> bool {
        self.send >= i64::from(DEFAULT_WINDOW)
    }

    /// The client has a window that is so much larger.
    #[inline]
    pub(in crate::http::h2) fn credited(&mut self, more: u32) {
        self.receive += i64::from(more);
    }

    /// How much window the client is to be given for what `held` bytes of DATA, which hyper has not had, have
    /// taken from the streams that are open: 0 while there is enough.
    pub(super) fn credit_due(&self, held: usize) -> u32 {
        let held = i64::try_from(held).unwrap_or(i64::MAX);
        if self.receive - held >= LOW_WINDOW {
            return 0;
        }
        // Never more than they have taken: hyper has to bear what comes on the others.
        let most = i64::from(LARGEST_WINDOW) - self.receive;
        u32::try_from((held - self.credit).min(most)).unwrap_or(0)
    }

    /// The client is given that window, and hyper does not know.
    pub(in crate::http::h2) fn credits(&mut self, more: u32) {
        self.receive += i64::from(more);
        self.credit += i64::from(more);
    }

    /// The client has so much more window than hyper, which is new to it, knows of.
    pub(in crate::http::h2) fn owes(&mut self, more: u32) {
        self.credit += i64::from(more);
    }

    pub(in crate::http::h2) fn has_credit(&self) -> bool {
        self.credit > 0
    }

    /// hyper has given the client `more` window, of which the client is not told before it has paid its
    /// credit. What it is to be told.
    pub(in crate::http::h2) fn pays(&mut self, more: u32) -> u32 {
        let paid = i64::from(more).min(self.credit);
        self.credit -= paid;
        u32::try_from(i64::from(more) - paid).unwrap_or(0)
    }

    /// Whether hyper bears so many more bytes of DATA now.
    pub(in crate::http::h2) fn bears(&self, length: u32) -> bool {
        self.credit == 0 || self.receive - self.credit >= i64::from(length)
    }
}

/// In bytes: two frames. With less than that a client may not be able to send.
const LOW_WINDOW: i64 = 32 << 10;
