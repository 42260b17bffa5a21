//! The entries of all live connections, and the phase that they are in.

use std::collections::BTreeMap;
use std::io::{self, PipeReader, PipeWriter};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
#[cfg(not(test))]
use std::time::Instant;

use tokio::sync::Notify;
// The test's clock, which moves when all wait.
#[cfg(test)]
use tokio::time::Instant;

use super::entry::{Base, DRAINING, Entry, HAMMERED, MOVING, Source};
use super::lending::Loans;
use super::limits::{CLOSING_LIMIT, Limits, Terms};
use super::status::{ConnectionStatus, Kind, Phase};
use super::sweeper;
use crate::drain::departure::Mover;
use crate::sys::address::Address;
use crate::sys::socket::peer_of_number;

#[derive(Debug)]
pub(crate) struct Shared {
    origin: Instant,
    /// Milliseconds since `origin`, as the sweeper last published them. Relaxed: it orders nothing,
    /// and a stale value only makes an activity look older, which the sweep allows for.
    tick: AtomicU64,
    /// Written under the registry's lock. Release and acquire: who sees the drain also sees what was
    /// done before it began.
    phase: AtomicU8,
    pub(super) phase_changed: Arc<Notify>,
    pub(super) emptied: Notify,
    /// There is something to sweep sooner than the sweeper thought.
    pub(super) sweep_sooner: Notify,
    pub(super) registry: Mutex<Registry>,
}

#[derive(Debug)]
pub(super) struct Registry {
    slots: Vec<Option<Arc<Entry>>>,
    free: Vec<u32>,
    last_id: u64,
    pub(super) live: usize,
    pub(super) holds: usize,
    pub(super) linger: Option<Linger>,
    /// All that any entry was ever given.
    pub(super) terms: Vec<Terms>,
    /// The shortest limit that any connection ever had, in milliseconds: it sets the sweeper's pace.
    pub(super) shortest: u64,
    pub(super) sweeping: bool,
    /// For threads that block in poll: hung up once this is more than serving. `None` until one asks.
    bell: Option<Bell>,
    /// Where connections can move instead of being told to close.
    mover: Option<Mover>,
    /// Connections that were to move and stayed, by reason.
    unmoved: BTreeMap<&'static str, u64>,
    pub(super) loans: Loans,
}

/// A pipe into which nothing is ever written: closing its end wakes all that poll the other, now and later.
#[derive(Debug)]
struct Bell {
    rung: Option<PipeWriter>,
    heard: Arc<PipeReader>,
}

/// When an idle connection is to be closed while draining.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linger {
    /// For one that is idle already.
    close_at: u64,
    /// For one that becomes idle later: from then on.
    length: u64,
}

impl Shared {
    pub(super) fn new() -> Self {
        Shared {
            origin: Instant::now(),
            tick: AtomicU64::new(FIRST_TICK),
            phase: AtomicU8::new(Phase::Serving as u8),
            phase_changed: Arc::default(),
            emptied: Notify::new(),
            sweep_sooner: Notify::new(),
            registry: Mutex::new(Registry {
                slots: Vec::new(),
                free: Vec::new(),
                last_id: 0,
                live: 0,
                holds: 0,
                linger: None,
                terms: Vec::new(),
                shortest: CLOSING_LIMIT,
                sweeping: false,
                bell: None,
                mover: None,
                unmoved: BTreeMap::new(),
                loans: Loans::default(),
            }),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::from_bits(self.phase.load(Ordering::Acquire))
    }

    #[inline]
    pub(super) fn tick(&self) -> u64 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Reads the clock, and lets everybody know.
    pub(super) fn now(&self) -> u64 {
        let now = FIRST_TICK + u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX >> 8);
        self.tick.fetch_max(now, Ordering::Relaxed).max(now)
    }

    pub(super) fn insert(self: &Arc<Self>, kind: Kind, source: Source) -> Arc<Entry> {
        let mut registry = lock(&self.registry);
        let slot = registry.free.pop().unwrap_or_else(|| {
            registry.slots.push(None);
            u32::try_from(registry.slots.len() - 1).expect("more connections than fds can be numbered")
        });
        registry.last_id += 1;
        let entry = Arc::new(Entry::new(self.clone(), registry.last_id, slot, kind, source.fd));
        if source.listener != 0 {
            let terms = registry.number(Terms { limits: None, listener: source.listener });
            entry.terms.store(terms, Ordering::Relaxed);
        }
        // Under the lock: `begin` marks all entries under it, so none falls between.
        entry.raise(match self.phase() {
            Phase::Serving => 0,
            Phase::Draining if registry.mover.is_some() => DRAINING | MOVING,
            Phase::Draining => DRAINING,
            Phase::Hammered => DRAINING | HAMMERED,
        });
        registry.slots[slot as usize] = Some(entry.clone());
        registry.live += 1;
        entry
    }

    pub(super) fn remove(&self, entry: &Entry) {
        let mut registry = lock(&self.registry);
        registry.slots[entry.slot as usize] = None;
        registry.free.push(entry.slot);
        registry.live -= 1;
        if registry.live == 0 {
            // A burst of connections is not to be paid for until the next one.
            registry.slots = Vec::new();
            registry.free = Vec::new();
        }
        self.announce_if_empty(&registry);
    }

    pub(super) fn hold(&self) {
        lock(&self.registry).holds += 1;
    }

    pub(super) fn release(&self) {
        let mut registry = lock(&self.registry);
        registry.holds -= 1;
        self.announce_if_empty(&registry);
    }

    fn announce_if_empty(&self, registry: &Registry) {
        if registry.is_empty() {
            self.emptied.notify_waiters();
        }
    }

    /// What is readable, by its end, once the drain has begun.
    pub(super) fn bell(&self) -> io::Result<Arc<PipeReader>> {
        let mut registry = lock(&self.registry);
        if let Some(bell) = &registry.bell {
            return Ok(bell.heard.clone());
        }
        let (heard, rung) = io::pipe()?;
        let heard = Arc::new(heard);
        registry.bell = Some(Bell { rung: Some(rung), heard: heard.clone() });
        if self.phase() != Phase::Serving {
            registry.ring();
        }
        Ok(heard)
    }

    pub(super) fn begin(self: &Arc<Self>, length: u64) {
        let now = self.now();
        let woken = {
            let mut registry = lock(&self.registry);
            let linger = Linger { close_at: now.saturating_add(length), length };
            registry.linger = Some(registry.linger.map_or(linger, |earlier| earlier.shortened(linger)));
            if self.phase() == Phase::Serving {
                self.phase.store(Phase::Draining as u8, Ordering::Release);
                registry.ring();
                let moving = if registry.mover.is_some() { MOVING } else { 0 };
                registry.raise_all(DRAINING | moving)
            } else {
                Vec::new()
            }
        };
        self.phase_changed.notify_waiters();
        woken.into_iter().for_each(Waker::wake);
        self.watch(length);
        // It may have planned to look up only after this linger's end.
        self.sweep_sooner.notify_one();
    }

    /// From the drain on, connections that can go to the successor.
    pub(super) fn offer_moves(&self, mover: Mover) {
        lock(&self.registry).mover = Some(mover);
    }

    /// There is no successor to move to any more: what is left is told to close.
    pub(super) fn withdraw_moves(&self) {
        let woken = {
            let mut registry = lock(&self.registry);
            registry.mover = None;
            registry.entries().for_each(|entry| entry.lower(MOVING));
            registry.raise_all(0)
        };
        woken.into_iter().for_each(Waker::wake);
    }

    pub(super) fn mover(&self) -> Option<Mover> {
        lock(&self.registry).mover.clone()
    }

    pub(super) fn could_not_move(&self, why: &'static str) {
        *lock(&self.registry).unmoved.entry(why).or_default() += 1;
    }

    pub(super) fn unmoved(&self) -> BTreeMap<&'static str, u64> {
        lock(&self.registry).unmoved.clone()
    }

    pub(super) fn hammer(&self) -> Vec<ConnectionStatus> {
        let now = self.now();
        let (aborted, woken) = {
            let mut registry = lock(&self.registry);
            if self.phase() == Phase::Hammered {
                return Vec::new();
            }
            self.phase.store(Phase::Hammered as u8, Ordering::Release);
            registry.ring();
            // Before they are woken: the report is of what was cut, not of what came of it.
            // What is closing has said all it had to say, and only waited for the peer to say the same.
            let cut = registry.entries().filter(|entry| entry.stage().base != Base::Closing);
            let aborted = cut.map(|entry| entry.status(now)).collect();
            (aborted, registry.raise_all(DRAINING | HAMMERED))
        };
        self.phase_changed.notify_waiters();
        woken.into_iter().for_each(Waker::wake);
        aborted
    }

    /// As [`hammer`](Self::hammer), for connections of these kinds alone; the phase stays.
    pub(super) fn hammer_kinds(&self, kinds: &[Kind]) -> Vec<ConnectionStatus> {
        let now = self.now();
        let (aborted, woken): (Vec<ConnectionStatus>, Vec<Waker>) = {
            let registry = lock(&self.registry);
            let meant: Vec<_> = registry
                .entries()
                .filter(|entry| kinds.contains(&entry.kind()) || kinds.contains(&entry.told_kind().0))
                .filter(|entry| !entry.is_hammered())
                .collect();
            let aborted = meant.iter().map(|entry| entry.status(now)).collect();
            let woken = meant.iter().flat_map(|entry| {
                entry.raise(DRAINING | HAMMERED);
                entry.wakers()
            });
            (aborted, woken.collect())
        };
        woken.into_iter().for_each(Waker::wake);
        aborted
    }

    pub(super) fn snapshot(&self) -> Vec<ConnectionStatus> {
        let now = self.now();
        lock(&self.registry).entries().map(|entry| entry.status(now)).collect()
    }

    pub(super) fn census(&self) -> (Vec<(Kind, usize)>, Option<ConnectionStatus>) {
        let now = self.now();
        let registry = lock(&self.registry);
        let mut by_kind: Vec<(Kind, usize)> = Vec::new();
        for entry in registry.entries() {
            let (told, _) = entry.told_kind();
            match by_kind.iter_mut().find(|(kind, _)| *kind == told) {
                Some((_, count)) => *count += 1,
                None => by_kind.push((told, 1)),
            }
        }
        let oldest = registry.entries().min_by_key(|entry| entry.opened);
        (by_kind, oldest.map(|entry| entry.status(now)))
    }

    pub(super) fn peer_of(&self, entry: &Entry) -> Option<Address> {
        let registry = lock(&self.registry);
        // Still in its slot: its socket is open, and stays so while the lock is held.
        let listed = registry.slots.get(entry.slot as usize)?.as_ref()?;
        (listed.id == entry.id).then(|| entry.fd()).flatten().and_then(peer_of_number)
    }

    /// Makes the limits hold for `entry`.
    pub(super) fn limit(self: &Arc<Self>, entry: &Entry, limits: Limits) {
        {
            let mut registry = lock(&self.registry);
            let terms = Terms { limits: Some(limits), ..registry.terms_of(entry) };
            entry.terms.store(registry.number(terms), Ordering::Relaxed);
        }
        self.watch(limits.shortest());
    }

    /// The cookie of the listening socket that `entry` came from; 0 if it is none of heirloom's.
    pub(super) fn listener_of(&self, entry: &Entry) -> u64 {
        lock(&self.registry).terms_of(entry).listener
    }

    /// Makes sure that the sweeper runs, and at a pace that fits a limit of so many milliseconds.
    pub(super) fn watch(self: &Arc<Self>, limit: u64) {
        let mut registry = lock(&self.registry);
        let sooner = limit < registry.shortest;
        registry.shortest = registry.shortest.min(limit);
        if registry.sweeping {
            if sooner {
                self.sweep_sooner.notify_one();
            }
        } else if registry.live > 0 {
            match sweeper::runtime() {
                Ok(runtime) => {
                    registry.sweeping = true;
                    drop(registry);
                    runtime.spawn(sweeper::run(sweeper::Sweeping::new(self.clone())));
                }
                // The next connection tries again.
                Err(error) => {
                    drop(registry);
                    say_seldom!(error: error = &error as &(dyn std::error::Error + 'static), "no thread to enforce limits of connections");
                }
            }
        }
    }
}

impl Registry {
    pub(super) fn is_empty(&self) -> bool {
        self.live == 0 && self.holds == 0
    }

    fn ring(&mut self) {
        if let Some(bell) = &mut self.bell {
            bell.rung = None;
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.slots.iter().flatten()
    }

    fn terms_of(&self, entry: &Entry) -> Terms {
        let number = usize::from(entry.terms.load(Ordering::Relaxed));
        number.checked_sub(1).map(|at| self.terms[at]).unwrap_or_default()
    }

    /// The number of these terms, from 1. There are as many as a program has listeners, times different
    /// configs; with more than can be numbered, others of the same listener hold, so that nobody is left
    /// without limits.
    fn number(&mut self, terms: Terms) -> u16 {
        let known = self.terms.iter().position(|known| *known == terms);
        let at = known.or_else(|| {
            if self.terms.len() < usize::from(u16::MAX) {
                self.terms.push(terms);
                return Some(self.terms.len() - 1);
            }
            self.terms.iter().rposition(|known| known.listener == terms.listener)
        });
        at.map_or(0, |at| u16::try_from(at + 1).expect("never more than that are pushed"))
    }

    /// Returns whom to wake once the lock is free: a waker may run anything, and drop a connection in it.
    fn raise_all(&self, flags: u8) -> Vec<Waker> {
        let mut woken = Vec::new();
        for entry in self.entries() {
            entry.raise(flags);
            woken.extend(entry.wakers());
        }
        woken
    }
}

impl Linger {
    pub(super) fn length(self) -> Duration {
        Duration::from_millis(self.length)
    }

    pub(super) fn due(self, idle_since: u64) -> u64 {
        self.close_at.max(idle_since.saturating_add(self.length))
    }

    fn shortened(self, later: Linger) -> Linger {
        Linger { close_at: self.close_at.min(later.close_at), length: self.length.min(later.length) }
    }
}

/// A panic in a user's waker does not make the bookkeeping wrong: every update is whole before one is called.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// So that no time is 0, which stands for "none".
const FIRST_TICK: u64 = 1;
