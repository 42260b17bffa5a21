//! What the service, the response body and the socket of an HTTP/1 connection tell it, while its task polls
//! hyper.
//!
//! One task polls all that belongs to such a connection: hyper, and through it the service, the body and the
//! socket. So for the length of a poll, a turn, what they have to tell stays with the thread, and the
//! connection's entry is written once, at the end. A pointer to the connection in each future and each body
//! would be dearer than all the rest of the tracking: they are moved several times a request, and grow by it.
//!
//! In its own turn a connection looks neither for the hammer nor for limits: its task did so when the turn
//! began, and is woken to do so again by whatever changes from then on.

use std::cell::Cell;
use std::{mem, ptr};

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
    /// Whose turn it is: the address of its entry. A connection that was upgraded is used in the turns of
    /// others.
    whose: *const Entry,
    /// The stage that it is to enter, and these flags.
    bits: u16,
}

impl Turn {
    /// In that stage, given in bits. `last`: a response that is not out yet is to say that it is the last.
    #[inline]
    pub(super) fn begin(entry: &Entry, stage: u8, last: bool) -> Turn {
        let bits = u16::from(stage) | if last { LAST } else { 0 };
        Turn { outer: TURN.replace(Told { whose: entry, bits }) }
    }

    /// For a poll in which no response is to be made, unless it may be an upgrade: one waits for the next
    /// turn. The socket is read from and written to as if this were no turn of its connection.
    #[cold]
    pub(super) fn begin_apart(stage: u8) -> Turn {
        Turn { outer: TURN.replace(Told { whose: ptr::null(), bits: u16::from(stage) | LAST }) }
    }

    /// Whether a response was held back, which hyper is to be told about before it is polled again.
    #[inline]
    pub(super) fn end(self, entry: &Entry) -> bool {
        let told = TURN.replace(self.outer);
        mem::forget(self);
        if told.has(UNUSUAL) {
            told.settled(entry);
        } else if told.has(NEWS) {
            entry.enter_bits(told.stage_bits());
        }
        told.has(HELD_BACK)
    }
}

/// In a panic, which leaves nothing to tell. Another connection's entry may come to be where this one's was.
impl Drop for Turn {
    fn drop(&mut self) {
        TURN.set(self.outer);
    }
}

/// Whether this is the connection's own turn. Then it is driven, and what follows may be told.
#[inline]
pub(super) fn is_of(entry: &Entry) -> bool {
    ptr::eq(TURN.get().whose, entry)
}

/// There was something to read.
#[inline]
pub(super) fn bytes_read() {
    add(READ);
}

/// hyper has something to write. It may still add the end of a chunked body after a flush that looked like
/// the last.
///
/// Whether something was flushed before in this turn, which may then be one that never ends.
#[inline]
pub(super) fn write_asked() -> bool {
    let told = TURN.get();
    TURN.set(Told { bits: told.bits | UNFLUSHED, ..told });
    told.has(FLUSHED)
}

/// All that was written is flushed.
///
/// Whether the request goes on, and with it the wait for what its client does meanwhile.
#[inline(always)]
pub(super) fn flushed(entry: &Entry) -> bool {
    let told = TURN.get();
    TURN.set(Told { bits: told.bits & !UNFLUSHED | FLUSHED, ..told });
    if told.has(MAY_UPGRADE) {
        // Before hyper hands out the upgraded connection, whose new tasks must be known to the hammer, and
        // may have brought it further before this turn is over.
        interrupted(entry, || entry.drive_no_longer());
    }
    told.stage_bits() & Stage::BASE == Base::Busy as u8
}

/// The connection is to be asked for its stage, or may get another one, before its turn is over.
#[cold]
pub(super) fn interrupted<T>(entry: &Entry, during: impl FnOnce() -> T) -> T {
    TURN.get().settled(entry);
    let done = during();
    let told = TURN.get();
    TURN.set(Told { bits: told.bits & (LAST | HELD_BACK) | u16::from(entry.stage().bits()), ..told });
    done
}

/// The service is called, with a request that may have a body, and may ask to upgrade the connection.
#[inline]
pub(super) fn request_began(body: bool, may_upgrade: bool) {
    enter(Stage { base: Base::Busy, asked: true, body, may_upgrade }, 0);
}

/// Whether the response has to wait, until hyper knows that it is the last.
///
/// An upgrade never is.
#[inline]
pub(super) fn holds_back() -> bool {
    let holds = TURN.get().bits & (LAST | MAY_UPGRADE) == LAST;
    if holds {
        add(HELD_BACK);
    }
    holds
}

/// hyper has all of the response, or wants no more of it. When that is flushed, the connection is idle.
#[inline]
pub(super) fn request_ended() {
    enter(Stage { asked: true, ..Base::Idle.into() }, u16::from(Stage::BODY) | MAY_UPGRADE);
    add(UNFLUSHED);
}

/// Drops a connection outside its own turns, perhaps in that of another, which its body has nothing to tell.
pub(super) fn untold<T>(connection: T) {
    let told = TURN.get();
    drop(connection);
    TURN.set(told);
}

#[inline]
fn enter(stage: Stage, kept: u16) {
    let told = TURN.get();
    let bits = told.bits & (LAST | HELD_BACK | kept) | u16::from(stage.bits()) | NEWS;
    TURN.set(Told { bits, ..told });
}

#[inline]
fn add(flags: u16) {
    let told = TURN.get();
    TURN.set(Told { bits: told.bits | flags, ..told });
}

impl Told {
    /// What was told comes together: the connection enters the stage that follows from it.
    #[cold]
    fn settled(self, entry: &Entry) {
        let before = Stage::from_bits(self.stage_bits());
        let mut stage = before;
        if stage.base == Base::Flushing && self.has(FLUSHED) {
            stage.base = Base::Idle;
        }
        // After a request with a body, what is read may be the rest of that. (So it may after a GET, where
        // hardly one has a body; hyper is asked before such a connection moves.)
        if self.has(READ) && (stage.base == Base::Fresh || stage.base == Base::Idle && !stage.body) {
            stage.base = Base::Head;
        }
        if stage.base == Base::Idle && self.has(UNFLUSHED) {
            stage.base = Base::Flushing;
        }
        if self.has(NEWS) || stage != before {
            entry.enter(stage);
        }
    }

    #[inline]
    fn stage_bits(self) -> u8 {
        self.bits as u8 & Stage::BITS
    }

    #[inline]
    fn has(self, any: u16) -> bool {
        self.bits & any != 0
    }
}

const MAY_UPGRADE: u16 = Stage::MAY_UPGRADE as u16;

/// The connection does not know its stage yet.
const NEWS: u16 = 1 << 8;
/// A response is to say that it is the last.
const LAST: u16 = 1 << 9;
/// One waits for hyper to know.
const HELD_BACK: u16 = 1 << 10;
/// Bytes were read since a request began or ended.
const READ: u16 = 1 << 11;
/// Bytes may have been written, and not flushed since.
const UNFLUSHED: u16 = 1 << 12;
/// All was flushed since a request began or ended.
const FLUSHED: u16 = 1 << 13;
/// With none of these the stage told is the one to enter: of the stages that have the lowest bit a turn ends
/// in, each wants a closer look. A turn that answers a request ends idle, which has not.
const UNUSUAL: u16 = READ | UNFLUSHED | 1;

const _: () = assert!(Base::Flushing as u16 & 1 == 1 && Base::Idle as u16 & 1 == 0);

thread_local! {
    static TURN: Cell<Told> = const { Cell::new(Told { whose: ptr::null(), bits: 0 }) };
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::drain::{Connection, Kind, Tracker};

    fn connection(tracker: &Tracker) -> Connection<UnixStream> {
        tracker.track(UnixStream::pair().unwrap().0, Kind::Http1)
    }

    /// What a connection in that stage comes to be in by what is told in its turn.
    fn after(stage: impl Into<Stage>, telling: impl FnOnce(&Entry)) -> Stage {
        let connection = connection(&Tracker::new());
        let entry = connection.entry();
        entry.enter(stage);
        let turn = Turn::begin(entry, entry.stage().bits(), false);
        telling(entry);
        turn.end(entry);
        entry.stage()
    }

    fn asked(base: Base, body: bool) -> Stage {
        Stage { base, asked: true, body, may_upgrade: false }
    }

    #[test]
    fn a_request_that_is_answered_and_flushed_leaves_it_idle() {
        let answered = after(Base::Fresh, |entry| {
            bytes_read();
            request_began(true, false);
            request_ended();
            write_asked();
            flushed(entry);
        });
        assert_eq!(answered, asked(Base::Idle, true));
    }

    #[test]
    fn what_is_not_flushed_is_not_over() {
        let answered = after(Base::Fresh, |_| {
            request_began(false, false);
            request_ended();
        });
        assert_eq!(answered, asked(Base::Flushing, false));
        assert_eq!(after(answered, |entry| _ = flushed(entry)), asked(Base::Idle, false));
        assert_eq!(after(answered, |_| _ = write_asked()), answered);
        // The end of a chunked body comes behind what looked like the last flush.
        assert_eq!(after(asked(Base::Idle, false), |_| _ = write_asked()), asked(Base::Flushing, false));
    }

    #[test]
    fn what_is_read_is_a_head_unless_it_may_be_the_rest_of_a_body() {
        assert_eq!(after(Base::Fresh, |_| bytes_read()), Base::Head.into());
        assert_eq!(after(asked(Base::Idle, false), |_| bytes_read()), asked(Base::Head, false));
        assert_eq!(after(asked(Base::Idle, true), |_| bytes_read()), asked(Base::Idle, true));
        assert_eq!(after(asked(Base::Busy, true), |_| bytes_read()), asked(Base::Busy, true));
        let pipelined = after(Base::Fresh, |entry| {
            request_began(false, false);
            bytes_read();
            request_ended();
            flushed(entry);
            bytes_read();
        });
        assert_eq!(pipelined, asked(Base::Head, false));
    }

    #[test]
    fn a_stage_that_is_entered_meanwhile_stays() {
        let closing = after(Base::Busy, |entry| {
            request_ended();
            let during = interrupted(entry, || {
                let stage = entry.stage();
                entry.enter(Base::Closing);
                stage
            });
            assert_eq!(during, asked(Base::Flushing, false), "it knew before");
            flushed(entry);
        });
        assert_eq!(closing, Base::Closing.into());
    }

    #[test]
    fn turns_nest_and_each_tells_its_own() {
        let tracker = Tracker::new();
        let (outer, inner) = (connection(&tracker), connection(&tracker));
        let (outer, inner) = (outer.entry(), inner.entry());
        let turn = Turn::begin(outer, 0, true);
        request_began(false, false);
        assert!(holds_back());
        let nested = Turn::begin(inner, 0, false);
        assert!(is_of(inner) && !is_of(outer));
        bytes_read();
        assert!(!nested.end(inner), "nothing of its own was held back");
        assert!(is_of(outer));
        assert!(turn.end(outer));
        assert!(!is_of(outer) && !is_of(inner));
        assert_eq!((outer.stage().base, inner.stage().base), (Base::Busy, Base::Head));
    }

    #[test]
    fn a_panic_ends_a_turn() {
        let connection = connection(&Tracker::new());
        let entry = connection.entry();
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _turn = Turn::begin(entry, 0, false);
            panic!("a service's");
        }));
        assert!(panicked.is_err() && !is_of(entry));
    }
}
