//! What the service and the response body of an HTTP/1 connection tell it, while its task polls hyper.
//!
//! One task polls all that belongs to such a connection: hyper, and through it the service, the body and the socket.
//! So for the length of a poll, a turn, what they have to tell stays with the thread. A pointer to the connection in
//! each future and each body would be dearer than all the rest of the tracking: they are moved several times a
//! request, and grow by it.

use std::cell::Cell;
use std::ptr;

use crate::drain::{Base, Entry, Stage};

/// A turn, from its begin to its end. Turns nest where a service itself serves a connection.
#[must_use = "a turn has to end"]
#[derive(Debug)]
pub(super) struct Turn {
    outer: Told,
}

/// What was told in a turn.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Whose turn it is: the address of its entry. A connection that was upgraded is used in the turns of others.
    whose: *const Entry,
    /// The stage that it is to enter, and these flags.
    bits: u16,
}

impl Turn {
    /// In that stage, given in bits. `last`: a response that is not out yet is to say that it is the last.
    #[inline]
    pub(super) fn begin(entry: &Entry, stage: u8, last: bool) -> Turn {
        let bits = u16::from(stage) | if last { LAST } else { 0 };
        Turn { outer: TOLD.replace(Told { whose: entry, bits }) }
    }

    /// Whether a response was held back, which hyper is to be told about before it is polled again.
    #[inline]
    pub(super) fn end(self, entry: &Entry) -> bool {
        let told = TOLD.replace(self.outer);
        if told.has(NEWS) {
            told.tell_unflushed(entry);
        }
        told.has(HELD_BACK)
    }
}

/// The connection learns what was told so far. All that was written is flushed.
#[inline]
pub(super) fn tell_flushed(entry: &Entry) {
    let told = TOLD.get();
    if told.has(NEWS) && ptr::eq(told.whose, entry) {
        TOLD.set(Told { bits: told.bits & !NEWS, ..told });
        told.tell(entry);
    }
}

/// The service is called, with a request that may have a body, and may ask to upgrade the connection.
#[inline]
pub(super) fn request_began(body: bool, may_upgrade: bool) {
    TOLD.set(TOLD.get().with(Stage { base: Base::Busy, asked: true, body, may_upgrade }, 0));
}

/// Whether the response has to wait, until hyper knows that it is the last.
///
/// An upgrade never is.
#[inline]
pub(super) fn holds_back() -> bool {
    let told = TOLD.get();
    let holds = told.bits & (LAST | MAY_UPGRADE) == LAST;
    if holds {
        TOLD.set(Told { bits: told.bits | HELD_BACK, ..told });
    }
    holds
}

/// hyper has all of the response, or wants no more of it. When that is flushed, the connection is idle.
#[inline]
pub(super) fn request_ended() {
    let kept = u16::from(Stage::BODY) | MAY_UPGRADE;
    TOLD.set(TOLD.get().with(Stage { asked: true, ..Base::Idle.into() }, kept));
}

/// Drops a connection outside its own turns, perhaps in that of another, which its body has nothing to tell.
pub(super) fn untold<T>(connection: T) {
    let told = TOLD.get();
    drop(connection);
    TOLD.set(told);
}

impl Told {
    #[cold]
    fn tell_unflushed(self, entry: &Entry) {
        self.tell(entry);
        let stage = entry.stage();
        if stage.base == Base::Idle {
            entry.enter(Stage { base: Base::Flushing, ..stage });
        }
    }

    #[inline]
    fn tell(self, entry: &Entry) {
        if self.has(MAY_UPGRADE) {
            // Before hyper hands out the upgraded connection, whose new tasks must be known to the hammer.
            entry.drive_no_longer();
        }
        entry.enter_bits(self.bits as u8);
    }

    #[inline]
    fn has(self, any: u16) -> bool {
        self.bits & any != 0
    }

    #[inline]
    fn with(self, stage: Stage, kept: u16) -> Told {
        Told { bits: self.bits & (LAST | HELD_BACK | kept) | u16::from(stage.bits()) | NEWS, ..self }
    }
}

const MAY_UPGRADE: u16 = Stage::MAY_UPGRADE as u16;

/// The connection does not know yet.
const NEWS: u16 = 256;
/// A response is to say that it is the last.
const LAST: u16 = 512;
/// One waits for hyper to know.
const HELD_BACK: u16 = 1024;

thread_local! {
    static TOLD: Cell<Told> = const { Cell::new(Told { whose: ptr::null(), bits: 0 }) };
}
