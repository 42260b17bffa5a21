//! One task a tracker: publishes the coarse clock, and finds connections that overstayed a limit.
//!
//! They run on one thread for the whole process. On the program's own runtime each wait for a timer would
//! make every other wait there read the clock, which costs a request more than all of its tracking; and that
//! runtime may end before its connections do.
//!
//! It walks the entries only when one may be due. A stage that a connection enters after a walk cannot be
//! overdue sooner than the shortest limit, so the next walk is then, or at the earliest time that this
//! walk found.

use std::io;
use std::sync::Arc;
#[cfg(not(test))]
use std::sync::Mutex;
use std::task::Waker;
use std::time::Duration;

use tokio::runtime::Handle;
#[cfg(not(test))]
use tokio::runtime::Runtime;

use super::entry::Entry;
use super::registry::{Registry, Shared, lock};

/// Where a task goes: to the thread, or where none can be made to the caller's runtime. That is worse and not
/// wrong, and the next task goes to the thread if there is room for it by then.
///
/// # Errors
///
/// No thread can be made, and the caller has no runtime.
#[cfg(not(test))]
pub(super) fn runtime() -> io::Result<Handle> {
    static THREAD: Mutex<Thread> = Mutex::new(Thread { runtime: None, runs: false });
    lock(&THREAD).running().or_else(|error| Handle::try_current().map_err(|_| error))
}

/// The thread, and what it drives.
#[cfg(not(test))]
struct Thread {
    /// For ever, and not the thread's own: a runtime that ends with a thread that could not be made panics in
    /// whoever wanted it.
    runtime: Option<&'static Runtime>,
    runs: bool,
}

#[cfg(not(test))]
impl Thread {
    /// The first call starts the thread, which waits for ever.
    fn running(&mut self) -> io::Result<Handle> {
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => Box::leak(Box::new(tokio::runtime::Builder::new_current_thread().enable_time().build()?)),
        };
        self.runtime = Some(runtime);
        if !self.runs {
            std::thread::Builder::new()
                .name("heirloom-sweep".to_owned())
                .stack_size(STACK)
                .spawn(|| runtime.block_on(std::future::pending::<()>()))?;
            self.runs = true;
        }
        Ok(runtime.handle().clone())
    }
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
