//! What a tracker knows of one connection. Written by the one task that drives it, read by the sweeper.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use super::connection::Waiting;
use super::registry::{Shared, lock};
use super::status::Kind;

/// All its atomics are relaxed. None of them publishes other data: the sweeper marks the very activity that
/// it judged, by an exchange that fails if the task that drives the connection has written another one since;
/// and what that task writes has no mark. A mark seen late costs one more poll. That it is seen at all is up
/// to the waker's mutex: marks and flags are written before the lock is taken to wake, and read after it was
/// taken to register.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) slot: u32,
    /// Open for as long as the entry is in the registry, since it leaves before its socket closes. -1 is
    /// none.
    fd: RawFd,
    pub(super) opened: u64,
    /// What is spoken on it, and beside that what those are told who ask.
    pub(super) kind: AtomicU8,
    pub(super) flags: AtomicU8,
    /// HTTP/2 only: requests in flight.
    pub(super) streams: AtomicU32,
    /// When the stage last changed (coarse milliseconds), the stage, and whether the sweeper found that
    /// overdue, in one word: read apart, a new stage with an old time would look overdue.
    pub(super) activity: AtomicU64,
    /// Since when a write waits for the peer to read, or a peer that has ended its own direction for its
    /// answer; which of the two, and whether the sweeper found that overdue. 0 if neither.
    pub(super) blocked: AtomicU64,
    /// Which of the tracker's terms hold, counted from 1; 0 is none. Entries are many, different terms few.
    pub(super) terms: AtomicU16,
    wakers: Mutex<Wakers>,
}

/// One slot for a direction, since the halves of a split connection are polled by two tasks. Most connections
/// have one task, which needs but the first.
#[derive(Debug, Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Box<Waker>>,
}

/// What a connection is made of, as far as its entry needs to know.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Source {
    pub(super) fd: Option<RawFd>,
    /// The cookie of the listening socket that it came from; 0 if it did not come from one of heirloom's.
    pub(super) listener: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What an HTTP/1 connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) base: Base,
    /// It has had a request: part of the last one's body may still be on its way after the response, and only
    /// hyper knows.
    pub(crate) asked: bool,
    /// That request is of a kind that has a body, as a rule.
    pub(crate) body: bool,
    /// The last request asked for an upgrade, or for a tunnel.
    pub(crate) may_upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Fresh,
    /// Bytes were read, no request came out of them yet.
    Head,
    Busy,
    /// The response has been given to hyper in full, and is not all written.
    Flushing,
    Idle,
    /// Goodbye is due once hyper has read the rest of a request that was already answered.
    Finishing,
    Closing,
    /// On its way to the successor: nobody in this process reads from it.
    Moving,
}

impl Entry {
    pub(super) fn new(shared: Arc<Shared>, id: u64, slot: u32, kind: Kind, fd: Option<RawFd>) -> Self {
        let now = shared.now();
        Entry {
            shared,
            id,
            slot,
            fd: fd.unwrap_or(-1),
            opened: now,
            kind: AtomicU8::new(kind as u8),
            flags: AtomicU8::new(0),
            streams: AtomicU32::new(0),
            activity: AtomicU64::new(pack(now, Stage::from(Base::Fresh))),
            blocked: AtomicU64::new(0),
            terms: AtomicU16::new(0),
            wakers: Mutex::default(),
        }
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        Kind::from_bits(self.kind.load(Relaxed) & KIND)
    }

    pub(crate) fn set_kind(&self, kind: Kind) {
        let _ = self.kind.fetch_update(Relaxed, Relaxed, |bits| Some(bits & !KIND | kind as u8));
    }

    /// More of its last request's body is to come. Then it is not idle, though it may be answered.
    pub(crate) fn is_uploading(&self) -> bool {
        self.kind.load(Relaxed) & UPLOADS != 0
    }

    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        unpack(self.activity.load(Relaxed)).1
    }

    #[inline]
    pub(crate) fn enter(&self, stage: impl Into<Stage>) {
        self.activity.store(pack(self.shared.tick(), stage.into()), Relaxed);
    }

    #[inline]
    pub(crate) fn enter_bits(&self, bits: u8) {
        self.activity.store(self.shared.tick() << WORD_BITS | u64::from(bits), Relaxed);
    }

    #[inline]
    pub(crate) fn is_draining(&self) -> bool {
        self.flags.load(Relaxed) & DRAINING != 0
    }

    #[inline]
    pub(crate) fn is_hammered(&self) -> bool {
        self.flags.load(Relaxed) & HAMMERED != 0
    }

    /// Its peer is to hear with the next response that it is the last, and nobody has seen to that yet.
    #[inline]
    pub(crate) fn has_to_say_goodbye(&self) -> bool {
        self.flags.load(Relaxed) & (DRAINING | GOODBYE) == DRAINING && !self.is_moving()
    }

    /// To go to the successor as soon as no request is in flight, instead of being told to close.
    #[inline]
    pub(crate) fn is_moving(&self) -> bool {
        self.flags.load(Relaxed) & (MOVING | MOVABLE) == MOVING | MOVABLE
    }

    /// Its stage, in bits, unless its task has more to see to than what it serves. From when it is driven,
    /// whatever changes that also wakes it.
    #[inline]
    pub(crate) fn undisturbed(&self) -> Option<u8> {
        let activity = self.activity.load(Relaxed);
        let overdue = (activity | self.blocked.load(Relaxed)) & OVERDUE != 0;
        let told = self.flags.load(Relaxed) & (DRAINING | HAMMERED) != 0;
        (!overdue && !told).then_some(activity as u8 & Stage::BITS)
    }

    pub(super) fn raise(&self, flags: u8) {
        self.flags.fetch_or(flags, Relaxed);
    }

    pub(super) fn lower(&self, flags: u8) {
        self.flags.fetch_and(!flags, Relaxed);
    }

    /// The sweeper found it overdue, and nothing has happened on it since.
    #[inline]
    pub(crate) fn is_overdue(&self) -> bool {
        self.activity.load(Relaxed) & OVERDUE != 0
    }

    /// The peer has not read for longer than the write limit.
    #[inline]
    pub(crate) fn is_stalled(&self) -> bool {
        self.blocked.load(Relaxed) & OVERDUE != 0
    }

    /// The peer has not read all that is written, or has ended its own direction.
    pub(crate) fn is_waiting(&self) -> bool {
        self.blocked.load(Relaxed) != 0
    }

    /// If it is stalled: not for want of reading, but because its answer takes longer than a peer is waited
    /// for that has ended its own direction.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.blocked.load(Relaxed) & HALF_CLOSED != 0
    }

    #[inline]
    pub(super) fn bytes_read(&self) {
        let stage = self.stage();
        // After a request with a body, what is read may be the rest of that.
        if stage.base == Base::Fresh || stage.base == Base::Idle && !stage.body {
            let base = if self.kind() == Kind::Http1 { Base::Head } else { Base::Busy };
            self.enter(Stage { base, ..stage });
        }
    }

    #[inline]
    pub(super) fn write_asked(&self) {
        // hyper may still add the end of a chunked body after a flush that looked like the last.
        let stage = self.stage();
        if stage.base == Base::Idle {
            self.enter(Stage { base: Base::Flushing, ..stage });
        }
    }

    #[inline]
    pub(super) fn flushed(&self) {
        let stage = self.stage();
        if stage.base == Base::Flushing {
            self.enter(Stage { base: Base::Idle, ..stage });
        }
    }

    #[cold]
    pub(super) fn waits(&self, waiting: Waiting) {
        let since = self.shared.tick() << WORD_BITS;
        let word = match waiting {
            Waiting { write_blocked: true, .. } => since,
            Waiting { half_closed: true, .. } => since | HALF_CLOSED,
            _ => 0,
        };
        self.blocked.store(word, Relaxed);
    }

    pub(super) fn fd(&self) -> Option<RawFd> {
        (self.fd >= 0).then_some(self.fd)
    }

    pub(super) fn register(&self, direction: Direction, waker: &Waker) {
        let mut wakers = lock(&self.wakers);
        let known = match direction {
            Direction::Read => wakers.read.as_ref(),
            Direction::Write => wakers.write.as_deref(),
        };
        if !known.is_some_and(|known| known.will_wake(waker)) {
            match direction {
                Direction::Read => wakers.read = Some(waker.clone()),
                Direction::Write => wakers.write = Some(Box::new(waker.clone())),
            }
        }
    }

    /// Asked for after the flags that the woken tasks are to see were written.
    pub(super) fn wakers(&self) -> impl Iterator<Item = Waker> + use<> {
        let wakers = lock(&self.wakers);
        wakers.read.clone().into_iter().chain(wakers.write.as_deref().cloned())
    }

    /// Closing with the courtesy of reading on: the peer has not asked for the end.
    pub(super) fn lingers(&self) -> bool {
        match self.kind() {
            // Discarding what a foreign protocol still reads after its own half-close would lose it.
            Kind::Raw | Kind::Upgraded | Kind::WebSocket => false,
            Kind::Http2 => self.flags.load(Relaxed) & (DRAINING | GOODBYE) != 0,
            // Without a drain: after an error, or a body that was not read to its end, there is input
            // left that would turn into a reset and take the response with it.
            Kind::Http1 | Kind::Stream => {
                let stage = self.stage();
                self.flags.load(Relaxed) & (DRAINING | GOODBYE) != 0 || stage.base != Base::Idle || stage.body
            }
        }
    }

    /// The task that drives the connection has registered for everything, so its I/O object need not.
    #[inline]
    pub(super) fn is_driven(&self) -> bool {
        self.flags.load(Relaxed) & DRIVEN != 0
    }

    pub(super) fn keeps_open(&self) -> bool {
        self.flags.load(Relaxed) & KEEP_OPEN != 0
    }

    #[inline]
    pub(crate) fn is_hammered_or_kept_open(&self) -> bool {
        self.flags.load(Relaxed) & (HAMMERED | KEEP_OPEN) != 0
    }
}

impl Stage {
    pub(crate) const BITS: u8 = 63;
    pub(crate) const BASE: u8 = 7;
    const ASKED: u8 = 8;
    pub(crate) const BODY: u8 = 16;
    pub(crate) const MAY_UPGRADE: u8 = 32;

    #[inline]
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.may_upgrade) << 5
            | u8::from(self.body) << 4
            | u8::from(self.asked) << 3
            | self.base as u8
    }

    #[inline]
    pub(crate) fn from_bits(bits: u8) -> Stage {
        let base = match bits & Stage::BASE {
            0 => Base::Fresh,
            1 => Base::Head,
            2 => Base::Busy,
            3 => Base::Flushing,
            4 => Base::Idle,
            5 => Base::Finishing,
            6 => Base::Closing,
            _ => Base::Moving,
        };
        let [asked, body, may_upgrade] =
            [Stage::ASKED, Stage::BODY, Stage::MAY_UPGRADE].map(|bit| bits & bit != 0);
        Stage { base, asked, body, may_upgrade }
    }
}

impl From<Base> for Stage {
    #[inline]
    fn from(base: Base) -> Self {
        Stage { base, asked: false, body: false, may_upgrade: false }
    }
}

#[inline]
fn pack(at: u64, stage: Stage) -> u64 {
    at << WORD_BITS | u64::from(stage.bits())
}

#[inline]
pub(super) fn unpack(word: u64) -> (u64, Stage) {
    (word >> WORD_BITS, Stage::from_bits(word as u8))
}

/// In `kind`: what is spoken. The rest is for those who are told of it.
pub(super) const KIND: u8 = 15;
/// The last request asks for a WebSocket.
pub(super) const ASKS_WEBSOCKET: u8 = 16;
/// The last request is one whose handler may have it moved before its response ends.
pub(super) const STREAMS: u8 = 32;
pub(super) const OVER_TLS: u8 = 64;
/// More of the last request's body is to come, answered or not: known where the bytes are followed.
pub(super) const UPLOADS: u8 = 128;

/// The base in three bits, three of the request, and the sweeper's mark.
pub(super) const WORD_BITS: u32 = 7;

/// In `blocked`: it is the peer that waits.
pub(super) const HALF_CLOSED: u64 = 1;

/// Set by the sweeper only.
pub(super) const OVERDUE: u64 = 64;

pub(super) const DRAINING: u8 = 1;
pub(super) const HAMMERED: u8 = 2;
pub(super) const GOODBYE: u8 = 4;
pub(super) const KEEP_OPEN: u8 = 8;
pub(super) const DRIVEN: u8 = 16;
/// A read was wanted while it was kept open.
pub(super) const WANTED: u8 = 128;
/// A successor takes connections.
pub(super) const MOVING: u8 = 32;
/// This one can be taken.
pub(super) const MOVABLE: u8 = 64;
