//! One task a tracker: publishes the coarse clock, and finds connections that overstayed a limit.
//!
//! They run on one thread for the whole process. On the program's own runtime each wait for a timer would make
//! every other wait there read the clock, which costs a request more than all of its tracking; and that runtime
//! may end before its connections do.
//!
//! It walks the entries only when one may be due. A stage that a connection enters after a walk cannot be
//! overdue sooner than the shortest limit, so the next walk is then, or at the earliest time that this
//! walk found.

use std::io;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Handle;

use super::entry::Entry;
use super::registry::{Registry, Shared, lock};

/// Where the tasks go. The first call starts the thread, which waits for ever.
#[cfg(not(test))]
pub(super) fn runtime() -> io::Result<Handle> {
    static RUNTIME: std::sync::Mutex<Option<Handle>> = std::sync::Mutex::new(None);
    let mut runtime = lock(&RUNTIME);
    if let Some(runtime) = &*runtime {
        return Ok(runtime.clone());
    }
    let sweeping = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let handle = sweeping.handle().clone();
    std::thread::Builder::new()
        .name("heirloom-sweep".to_owned())
        .stack_size(STACK)
        .spawn(move || sweeping.block_on(std::future::pending::<()>()))?;
    *runtime = Some(handle.clone());
    Ok(handle)
}

/// The test's own runtime, whose clock the test moves.
#[cfg(test)]
pub(super) fn runtime() -> io::Result<Handle> {
    Handle::try_current().map_err(io::Error::other)
}

pub(super) async fn run(sweeping: Sweeping) {
    let shared = &sweeping.shared;
    let mut walk_at = 0;
    let mut woken = Vec::new();
    let mut period = lock(&shared.registry).period();
    loop {
        tokio::select! {
            _ = tokio::time::sleep(Duration::from_millis(period)) => {}
            _ = shared.sweep_sooner.notified() => walk_at = 0,
        }
        let now = shared.now();
        {
            let mut registry = lock(&shared.registry);
            if registry.live == 0 {
                // Under the lock: a connection that comes now finds no sweeper, and starts one.
                registry.sweeping = false;
                break;
            }
            period = registry.period();
            if now >= walk_at {
                let (linger, terms) = (registry.linger, &registry.terms);
                let sweep = |entry: &Arc<Entry>| entry.sweep(now, period, linger, terms, &mut woken);
                let found = registry.entries().filter_map(sweep).min();
                let later = now + registry.shortest.max(period);
                walk_at = found.map_or(later, |found| found.min(later));
            }
        }
        woken.drain(..).for_each(Waker::wake);
    }
    sweeping.ended();
}

/// Says that nobody sweeps any more when its task ends before its time, with its runtime.
#[derive(Debug)]
pub(super) struct Sweeping {
    shared: Arc<Shared>,
    ended: bool,
}

impl Sweeping {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Sweeping { shared, ended: false }
    }

    fn ended(mut self) {
        self.ended = true;
    }
}

impl Drop for Sweeping {
    fn drop(&mut self) {
        if !self.ended {
            lock(&self.shared.registry).sweeping = false;
        }
    }
}

impl Registry {
    /// How coarse the clock is, in milliseconds.
    fn period(&self) -> u64 {
        (self.shortest / 8).clamp(SHORTEST_PERIOD, LONGEST_PERIOD)
    }
}

/// The wakers of every kind of task run on it; pages that nobody touches cost nothing.
#[cfg(not(test))]
const STACK: usize = 256 * 1024;

/// A limit of nothing at all is not to become a busy loop: a walk over 10,000 connections takes under a
/// millisecond.
const SHORTEST_PERIOD: u64 = 10;

/// Four wake-ups a second are below what anybody measures; a limit of seconds does not need it finer.
const LONGEST_PERIOD: u64 = 250;
