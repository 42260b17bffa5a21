//! What a tracker knows of one connection. Written by the one task that drives it, read by the sweeper.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::Waker;
use std::time::Duration;

use super::registry::{Linger, Shared, lock};
use super::status::{ConnectionStatus, Kind, State};
use crate::address::Address;
use crate::sys::socket::peer_of_number;

/// All its atomics are relaxed. None of them publishes other data: the sweeper only *proposes* an
/// expiry, naming the very activity that it judged, and the task that drives the connection decides,
/// by comparing that with the activity that it wrote itself. A value seen late costs one more poll. That it
/// is seen at all is up to the waker's mutex: flags are written before the lock is taken to wake, and
/// read after it was taken to register.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(super) shared: Arc<Shared>,
    pub(super) id: u64,
    pub(super) slot: u32,
    /// Open for as long as the entry is in the registry, since it leaves before its socket closes.
    pub(super) fd: Option<RawFd>,
    opened: u64,
    kind: AtomicU8,
    flags: AtomicU8,
    /// HTTP/2 only: requests in flight, counted by whichever tasks they run on.
    streams: AtomicU32,
    /// When the stage last changed (coarse milliseconds), and the stage, in one word: read apart, a
    /// new stage with an old time would look overdue.
    activity: AtomicU64,
    /// The activity that the sweeper found overdue.
    overdue: AtomicU64,
    /// Since when a write waits for the peer to read; 0 if none does.
    blocked: AtomicU64,
    /// The `blocked` that the sweeper found overdue.
    stalled: AtomicU64,
    limits: OnceLock<Limits>,
    wakers: Mutex<Wakers>,
}

/// How long a connection may do what it does, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    header: u32,
    keep_alive: u32,
    write: u32,
}

/// One slot for a direction, since the halves of a split connection are polled by two tasks.
#[derive(Debug, Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Read,
    Write,
}

/// What an HTTP/1 connection is doing, and whether its last request had a body: then part of that may
/// still be on its way after the response, and only hyper knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stage {
    pub(crate) base: Base,
    pub(crate) body: bool,
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
}

impl Entry {
    pub(super) fn new(shared: Arc<Shared>, id: u64, slot: u32, kind: Kind, fd: Option<RawFd>) -> Self {
        let now = shared.now();
        Entry {
            shared,
            id,
            slot,
            fd,
            opened: now,
            kind: AtomicU8::new(kind as u8),
            flags: AtomicU8::new(0),
            streams: AtomicU32::new(0),
            activity: AtomicU64::new(pack(now, Stage::from(Base::Fresh))),
            overdue: AtomicU64::new(u64::MAX),
            blocked: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            limits: OnceLock::new(),
            wakers: Mutex::default(),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind::from_bits(self.kind.load(Relaxed))
    }

    pub(crate) fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Relaxed);
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
    pub(crate) fn is_draining(&self) -> bool {
        self.flags.load(Relaxed) & DRAINING != 0
    }

    #[inline]
    pub(crate) fn is_hammered(&self) -> bool {
        self.flags.load(Relaxed) & HAMMERED != 0
    }

    pub(super) fn raise(&self, flags: u8) {
        self.flags.fetch_or(flags, Relaxed);
    }

    fn lower(&self, flags: u8) {
        self.flags.fetch_and(!flags, Relaxed);
    }

    /// The sweeper found it overdue, and nothing has happened on it since.
    #[inline]
    pub(crate) fn is_overdue(&self) -> bool {
        self.overdue.load(Relaxed) == self.activity.load(Relaxed)
    }

    /// The peer has not read for longer than the write limit.
    #[inline]
    pub(crate) fn is_stalled(&self) -> bool {
        let stalled = self.stalled.load(Relaxed);
        stalled != 0 && stalled == self.blocked.load(Relaxed)
    }

    #[inline]
    pub(super) fn bytes_read(&self) {
        let stage = self.stage();
        if stage.base == Base::Fresh || (stage.base == Base::Idle && !stage.body) {
            match self.kind() {
                Kind::Http1 => self.enter(Base::Head),
                _ => self.enter(Base::Busy),
            }
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

    pub(super) fn write_blocked(&self, blocked: bool) {
        self.blocked.store(if blocked { self.shared.tick() } else { 0 }, Relaxed);
    }

    pub(super) fn register(&self, direction: Direction, waker: &Waker) {
        let mut wakers = lock(&self.wakers);
        let slot = match direction {
            Direction::Read => &mut wakers.read,
            Direction::Write => &mut wakers.write,
        };
        match slot {
            Some(old) if old.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }

    /// Asked for after the flags that the woken tasks are to see were written.
    pub(super) fn wakers(&self) -> impl Iterator<Item = Waker> + use<> {
        let wakers = lock(&self.wakers);
        wakers.read.clone().into_iter().chain(wakers.write.clone())
    }

    /// Closing with the courtesy of reading on: the peer has not asked for the end.
    pub(super) fn lingers(&self) -> bool {
        match self.kind() {
            // Discarding what a foreign protocol still reads after its own half-close would lose it.
            Kind::Raw | Kind::Upgraded => false,
            Kind::Http2 => self.flags.load(Relaxed) & (DRAINING | GOODBYE) != 0,
            // Without a drain: after an error, or a body that was not read to its end, there is input
            // left that would turn into a reset and take the response with it.
            Kind::Http1 => {
                let stage = self.stage();
                self.flags.load(Relaxed) & (DRAINING | GOODBYE) != 0 || stage.base != Base::Idle || stage.body
            }
        }
    }

    /// When it becomes overdue as things stand, in the tracker's milliseconds. If it is by now, that is
    /// noted, and its tasks are added to `woken`.
    pub(super) fn sweep(
        &self,
        now: u64,
        slack: u64,
        linger: Option<Linger>,
        woken: &mut Vec<Waker>,
    ) -> Option<u64> {
        let word = self.activity.load(Relaxed);
        let (since, stage) = unpack(word);
        let kind = self.kind();
        let limits = self.limits.get();
        let idle = match kind {
            Kind::Http1 => matches!(stage.base, Base::Fresh | Base::Idle),
            Kind::Http2 => self.streams.load(Relaxed) == 0,
            Kind::Raw | Kind::Upgraded => false,
        };
        let limit = if stage.base == Base::Closing {
            Some(since + CLOSING_LIMIT)
        } else if let (true, Some(linger)) = (idle, linger) {
            Some(linger.due(since))
        } else if idle {
            limits.and_then(|l| after(since, l.keep_alive))
        } else if kind == Kind::Http1 && stage.base == Base::Head {
            limits.and_then(|l| after(since, l.header))
        } else {
            None
        };
        let blocked = match (kind, self.blocked.load(Relaxed)) {
            (Kind::Raw | Kind::Upgraded, _) | (_, 0) => None,
            (_, since) => limits.and_then(|l| after(since, l.write)).map(|due| (since, due)),
        };
        let mut wake = false;
        // `slack`: the stage may be younger than its time says, by as much as the clock is coarse.
        if limit.is_some_and(|due| now >= due + slack) && self.overdue.swap(word, Relaxed) != word {
            wake = true;
        }
        if let Some((since, due)) = blocked
            && now >= due + slack
            && self.stalled.swap(since, Relaxed) != since
        {
            wake = true;
        }
        if wake {
            woken.extend(self.wakers());
        }
        // One that was found overdue already stays for its task to end.
        let limit = limit.filter(|due| now < due + slack).map(|due| due + slack);
        let blocked = blocked.map(|(_, due)| due + slack).filter(|due| now < *due);
        limit.into_iter().chain(blocked).min()
    }

    /// With the registry locked, so that `fd` is open.
    pub(super) fn status(&self, now: u64) -> ConnectionStatus {
        let (since, stage) = unpack(self.activity.load(Relaxed));
        let kind = self.kind();
        let state = match (kind, stage.base) {
            (_, Base::Closing) => State::Closing,
            (Kind::Http2, _) if self.streams.load(Relaxed) == 0 => State::Idle,
            (Kind::Http2 | Kind::Upgraded, _) => State::Busy,
            (_, Base::Fresh) => State::Fresh,
            (_, Base::Head) => State::ReadingHead,
            (_, Base::Idle) => State::Idle,
            (_, Base::Busy | Base::Flushing | Base::Finishing) => State::Busy,
        };
        ConnectionStatus {
            id: self.id,
            kind,
            state,
            age: Duration::from_millis(now.saturating_sub(self.opened)),
            in_state: Duration::from_millis(now.saturating_sub(since)),
            peer: self.fd.and_then(peer_of_number),
        }
    }

    /// The task that drives the connection has registered for everything, so its I/O object need not.
    pub(super) fn is_driven(&self) -> bool {
        self.flags.load(Relaxed) & DRIVEN != 0
    }

    pub(super) fn keeps_open(&self) -> bool {
        self.flags.load(Relaxed) & KEEP_OPEN != 0
    }
}

/// What the HTTP layer tells.
#[cfg(feature = "http")]
impl Entry {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Makes the limits hold, from now on. Once a connection.
    pub(crate) fn limit(&self, limits: Limits) {
        if self.limits.set(limits).is_ok() {
            self.shared.watch(limits.shortest());
        }
    }

    /// The connection's own task is the one to wake, whatever its I/O object waits for.
    #[inline]
    pub(crate) fn drive(&self, registered: &mut Option<Waker>, waker: &Waker) {
        // The copy saves the lock: a task's waker hardly ever changes.
        if !registered.as_ref().is_some_and(|old| old.will_wake(waker)) {
            *registered = Some(waker.clone());
            self.register(Direction::Read, waker);
            if self.kind() != Kind::Upgraded {
                self.raise(DRIVEN);
            }
        }
    }

    /// Becomes somebody else's, whose tasks are to be woken from now on.
    pub(crate) fn upgrade(&self) {
        self.set_kind(Kind::Upgraded);
        self.lower(DRIVEN);
    }

    #[inline]
    pub(crate) fn request_began(&self, body: bool) {
        match self.kind() {
            Kind::Http2 => {
                self.streams.fetch_add(1, Relaxed);
            }
            _ => self.enter(Stage { base: Base::Busy, body }),
        }
    }

    /// hyper has all of the response, or wants no more of it.
    #[inline]
    pub(crate) fn request_ended(&self) {
        match self.kind() {
            Kind::Http2 => {
                // The time first: a sweep between the two then sees a busy or a just idle connection.
                self.enter(Base::Busy);
                self.streams.fetch_sub(1, Relaxed);
            }
            Kind::Upgraded => {}
            _ => {
                let body = self.stage().body;
                self.enter(Stage { base: Base::Flushing, body });
            }
        }
    }

    pub(crate) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// The end is our idea: close it so that the client can hear it.
    pub(crate) fn say_goodbye(&self) {
        self.raise(GOODBYE);
    }

    /// While `keep`, a shutdown asked of the I/O object does nothing and succeeds.
    pub(crate) fn keep_open(&self, keep: bool) {
        if keep { self.raise(KEEP_OPEN) } else { self.lower(KEEP_OPEN) }
    }

    /// Who is at the other end; `None` once the connection is gone.
    pub(crate) fn peer(&self) -> Option<Address> {
        self.shared.peer_of(self)
    }
}

impl Limits {
    /// `None` is no limit.
    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    pub(crate) fn new(
        header: Option<Duration>,
        keep_alive: Option<Duration>,
        write: Option<Duration>,
    ) -> Self {
        let millis = |limit: Option<Duration>| {
            limit.map_or(NO_LIMIT, |l| u32::try_from(l.as_millis()).unwrap_or(NO_LIMIT))
        };
        Limits { header: millis(header), keep_alive: millis(keep_alive), write: millis(write) }
    }

    #[cfg_attr(not(feature = "http"), allow(dead_code))]
    fn shortest(&self) -> u64 {
        self.header.min(self.keep_alive).min(self.write).into()
    }
}

impl From<Base> for Stage {
    fn from(base: Base) -> Self {
        Stage { base, body: false }
    }
}

fn after(since: u64, limit: u32) -> Option<u64> {
    (limit != NO_LIMIT).then(|| since + u64::from(limit))
}

fn pack(at: u64, stage: Stage) -> u64 {
    at << STAGE_BITS | u64::from(stage.body) << 3 | stage.base as u64
}

fn unpack(word: u64) -> (u64, Stage) {
    let base = match word & 7 {
        0 => Base::Fresh,
        1 => Base::Head,
        2 => Base::Busy,
        3 => Base::Flushing,
        4 => Base::Idle,
        5 => Base::Finishing,
        _ => Base::Closing,
    };
    (word >> STAGE_BITS, Stage { base, body: word & 8 != 0 })
}

/// The base in three bits, the body in one.
const STAGE_BITS: u32 = 4;

/// 49 days: who sets more wants no limit.
const NO_LIMIT: u32 = u32::MAX;

pub(super) const DRAINING: u8 = 1;
pub(super) const HAMMERED: u8 = 2;
const GOODBYE: u8 = 4;
const KEEP_OPEN: u8 = 8;
const DRIVEN: u8 = 16;

/// How long a goodbye waits for the peer's own. It must cover a slow link's round trip; longer would hold
/// up the end of a drain for clients that never close.
pub(super) const CLOSING_LIMIT: u64 = 2_000;
