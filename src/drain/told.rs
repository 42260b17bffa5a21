//! What the HTTP layer tells of its connection.

use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;

use super::entry::{
    ASKS_WEBSOCKET, Base, DRIVEN, Direction, Entry, GOODBYE, KEEP_OPEN, MOVABLE, STREAMS, UPLOADS, WANTED,
};
use super::limits::Limits;
use super::move_on::REFUSED;
use super::signal::DrainSignal;
use super::status::{Kind, Phase};
use crate::sys::address::Address;

impl Entry {
    /// The time, as the tracker's coarse clock has it, in milliseconds.
    #[inline]
    pub(crate) fn tick(&self) -> u64 {
        self.shared.tick()
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Makes the limits hold, from now on.
    pub(crate) fn limit(&self, limits: Limits) {
        self.shared.limit(self, limits);
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

    /// It may become somebody else's: whatever waits in its I/O object is to be known from now on.
    #[cold]
    pub(crate) fn drive_no_longer(&self) {
        self.lower(DRIVEN);
    }

    /// A request begins, on a connection whose sessions may move.
    pub(crate) fn asks(&self, websocket: bool) {
        self.kind.fetch_and(!(ASKS_WEBSOCKET | STREAMS), Relaxed);
        if websocket {
            self.kind.fetch_or(ASKS_WEBSOCKET, Relaxed);
        }
    }

    /// More of its request's body is to come, or all of it has.
    pub(crate) fn uploads(&self, more: bool) {
        if more {
            self.kind.fetch_or(UPLOADS, Relaxed);
        } else {
            // The time first: a sweep between the two then sees one that uploads, or has just become idle.
            self.enter(self.stage());
            self.kind.fetch_and(!UPLOADS, Relaxed);
        }
    }

    /// The handler of its request may have it moved before the response ends.
    pub(crate) fn is_a_stream(&self) {
        self.kind.fetch_or(STREAMS, Relaxed);
    }

    #[cfg(feature = "tls")]
    pub(crate) fn is_over_tls(&self) {
        self.kind.fetch_or(super::entry::OVER_TLS, Relaxed);
    }

    /// Becomes somebody else's, whose tasks are to be woken from now on.
    pub(crate) fn upgrade(&self) {
        self.set_kind(Kind::Upgraded);
        self.lower(DRIVEN);
    }

    /// So many requests are in flight. Only the task that drives the connection says so.
    #[inline]
    pub(crate) fn has_streams(&self, count: u32) {
        if self.streams.load(Relaxed) == count {
            return;
        }
        if count == 0 {
            // The time first: a sweep between the two then sees a busy or a just idle connection.
            self.enter(Base::Busy);
        }
        self.streams.store(count, Relaxed);
    }

    pub(crate) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    /// The end is our idea: close it so that the client can hear it.
    pub(crate) fn say_goodbye(&self) {
        self.raise(GOODBYE);
    }

    /// The code that speaks on it can let go of it between two requests.
    pub(crate) fn can_move(&self) {
        self.raise(MOVABLE);
    }

    /// Whether the successor goes on with HTTP/2 connections.
    pub(crate) fn successor_takes_http2(&self) -> bool {
        let takes = self.shared.mover().is_some_and(|mover| mover.takes.http2);
        if !takes {
            self.could_not_move(REFUSED);
        }
        takes
    }

    /// For how long a slow connection may try to move.
    pub(crate) fn patience(&self) -> Duration {
        self.shared.mover().map_or(Duration::ZERO, |mover| mover.patience)
    }

    /// Whether what was read of a connection may be so much that it lies beside the message.
    pub(crate) fn successor_takes_apart(&self) -> bool {
        self.shared.mover().is_some_and(|mover| mover.takes.apart)
    }

    /// It could not move, and is told to close like those that never can.
    pub(crate) fn cannot_move(&self) {
        self.lower(MOVABLE);
    }

    /// Until [`keep_open_no_longer`](Self::keep_open_no_longer), a shutdown asked of the I/O object does
    /// nothing and succeeds, and a read waits.
    pub(crate) fn keep_open(&self) {
        self.lower(WANTED);
        self.raise(KEEP_OPEN);
    }

    /// Says whether a read was asked for meanwhile. It is to be asked for again.
    pub(crate) fn keep_open_no_longer(&self) -> bool {
        self.lower(KEEP_OPEN);
        self.flags.load(Relaxed) & WANTED != 0
    }

    /// Resolves once its tracker drains.
    pub(crate) fn draining(&self) -> DrainSignal {
        DrainSignal::new(self.shared.clone(), Phase::Draining)
    }

    /// Who is at the other end; `None` once the connection is gone.
    pub(crate) fn peer(&self) -> Option<Address> {
        self.shared.peer_of(self)
    }
}
