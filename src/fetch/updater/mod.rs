//! The loop: look, fetch, check, put in place, restart, and back again if that fails.

mod steps;

use std::collections::VecDeque;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::time::sleep;

use self::steps::{blocking, unpanicked};
use super::fetcher::FLOOR;
use super::look::Look;
use super::place::Previous;
use super::schedule::{self, Schedule};
use super::{Checks, Digest, FetchEvent, Fetcher, IntervalTooShort, Place, Polled, Restart, UpdateError};

/// Keeps a program up to date: polls a [`Fetcher`], checks what is new, puts it in the binary's place, and
/// restarts.
///
/// A restart that fails, or is taken back, puts the previous binary back, and the failed one is not fetched
/// again while this process lives (a start by hand is a new chance). Content that is identical to what is in
/// place never restarts anything. The [module's documentation](super) has an example.
#[derive(Debug)]
#[must_use = "nothing is fetched before poll() or run()"]
pub struct Updater<F, R> {
    fetcher: F,
    restart: R,
    place: Place,
    checks: Checks,
    schedule: Schedule,
    install_only: bool,
    delay: Duration,
    stagger: Duration,
    deadline: Duration,
    stall: Duration,
    /// What is in place, as it was last seen.
    present: Option<(Look, Digest)>,
    /// Those that failed, as published and unpacked.
    rejected: VecDeque<Digest>,
    /// What was put in place, and not restarted into yet.
    untried: Option<(Digest, Previous)>,
    /// The fetcher has brought something that nothing has come of yet: a poll that was dropped brought it in
    /// vain.
    in_hand: bool,
    failures: u32,
    /// How many polls in a row found another process at work.
    held_off: u32,
    events: broadcast::Sender<FetchEvent>,
}

impl<F: Fetcher, R: Restart> Updater<F, R> {
    /// Updates the binary at `path` from `fetcher`, and restarts by `restart`: every 5 minutes with a tenth
    /// of jitter, with all of [`Checks::new`], at once and without stagger.
    ///
    /// `path` is what a restart executes: for a [`Restarter`](crate::Restarter), its
    /// [`program`](crate::Restarter::program).
    pub fn new(fetcher: F, path: impl Into<PathBuf>, restart: R) -> Updater<F, R> {
        let interval = INTERVAL.max(fetcher.floor());
        Updater {
            fetcher,
            restart,
            place: Place::new(path),
            checks: Checks::new(),
            schedule: Schedule { interval, jitter: JITTER },
            install_only: false,
            delay: Duration::ZERO,
            stagger: Duration::ZERO,
            deadline: DEADLINE,
            stall: STALL,
            present: None,
            rejected: VecDeque::new(),
            untried: None,
            in_hand: false,
            failures: 0,
            held_off: 0,
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// The time between two polls. Default 5 minutes: a poll costs the source almost nothing, and a release
    /// can wait for that long. The time doubles with each failure, up to an hour.
    ///
    /// # Errors
    ///
    /// If `interval` is below the source's floor ([`Fetcher::floor`]): a second for HTTP and S3, 0.1 s for a
    /// file, 2 minutes for GitHub without a token.
    pub fn interval(mut self, interval: Duration) -> Result<Updater<F, R>, IntervalTooShort> {
        let floor = self.fetcher.floor();
        if interval < floor {
            return Err(IntervalTooShort { interval, floor });
        }
        self.schedule.interval = interval;
        Ok(self)
    }

    /// The largest part of the interval that is added to it at random, from 0 to 1. Default 0.1, so that
    /// hosts that were started at one instant poll at different times after some polls. Before the first
    /// poll, only this part is waited for.
    pub fn jitter(mut self, part: f64) -> Updater<F, R> {
        self.schedule.jitter = if part.is_finite() { part.clamp(0.0, 1.0) } else { JITTER };
        self
    }

    /// Spreads the restarts of many hosts over `window`: each waits for its own part of it, by its host name,
    /// always the same. Default none.
    pub fn stagger(mut self, window: Duration) -> Updater<F, R> {
        self.stagger = schedule::stagger(&schedule::host_name(), window);
        self
    }

    /// Waits this long, besides the stagger, before a checked binary is put in place and restarted into.
    /// Default zero.
    pub fn delay(mut self, delay: Duration) -> Updater<F, R> {
        self.delay = delay;
        self
    }

    /// Whether new binaries are put in place without a restart, for a service that something else restarts.
    /// Default: no, it restarts.
    pub fn install_only(mut self, on: bool) -> Updater<F, R> {
        self.install_only = on;
        self
    }

    /// The checks that a binary must pass. Default: [`Checks::new`].
    pub fn checks(mut self, checks: Checks) -> Updater<F, R> {
        self.checks = checks;
        self
    }

    /// How long a poll may fetch. Default 15 minutes: 100 MB over a line of 1 Mbit/s; a longer one keeps a
    /// newer version waiting.
    pub fn deadline(mut self, deadline: Duration) -> Updater<F, R> {
        self.deadline = deadline;
        self
    }

    /// How long a source may send nothing. Default 30 seconds, which a connection with heavy loss survives; a
    /// shorter one starts a slow download over.
    pub fn stall_timeout(mut self, timeout: Duration) -> Updater<F, R> {
        self.stall = timeout;
        self
    }

    /// What happens from now on. A receiver that lags behind by more than 64 events misses the oldest.
    pub fn events(&self) -> broadcast::Receiver<FetchEvent> {
        self.events.subscribe()
    }

    /// Polls for as long as this process is the service: until [`Restart::over`] says that it is not.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future while it waits, fetches or checks leaves nothing behind. If it is dropped during a
    /// restart, it does not learn the outcome, and a binary that fails then stays in place. Let it end by
    /// itself.
    pub async fn run(&mut self) {
        // What killed processes left is removed at the start, however long the first poll is away.
        let place = self.place.clone();
        let _ = blocking(move || Ok(place.lock()?.map(|lock| place.clean(&lock)))).await;
        let mut wait = self.schedule.first();
        loop {
            let over = self.restart.over();
            let looked = tokio::select! {
                () = async { match over { Some(over) => over.await, None => pending().await } } => return,
                looked = async { sleep(wait).await; unpanicked(self.look()).await } => looked,
            };
            // Not to be interrupted: the outcome of a restart must be heard, and by then this process may be
            // draining.
            let polled = self.take(looked).await;
            wait = self.tell(polled);
        }
    }

    /// Polls once, now.
    ///
    /// # Errors
    ///
    /// The poll failed. The running version serves on.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn poll(&mut self) -> Result<Polled, UpdateError> {
        let looked = unpanicked(self.look()).await;
        self.take(looked).await
    }

    /// Tells of a poll, and when the next one is.
    fn tell(&mut self, polled: Result<Polled, UpdateError>) -> Duration {
        let error = match polled {
            Ok(polled) => {
                say!(debug: ?polled, "polled for a new binary");
                self.failures = 0;
                self.tell_of_the_lock(polled);
                return self.schedule.next(0, None);
            }
            Err(error) => Arc::new(error),
        };
        self.failures = self.failures.saturating_add(1);
        let retry_after = match &*error {
            UpdateError::Fetch { source, .. } => source.retry_after(),
            _ => None,
        };
        // What has failed and is back changes nothing about the source.
        let failures = if matches!(*error, UpdateError::RolledBack { .. }) { 0 } else { self.failures };
        let next = self.schedule.next(failures, retry_after);
        let times = self.failures;
        let cause: &dyn std::error::Error = &*error;
        say!(warn: error = cause, times, ?next, "no update, the running version serves on");
        let _ = self.events.send(FetchEvent::Failed { error, times, next });
        next
    }
}

impl<F, R> Updater<F, R> {
    /// A predecessor that ends an update of its own is no news; a process that holds the lock for longer
    /// holds updates off.
    fn tell_of_the_lock(&mut self, polled: Polled) {
        self.held_off = if polled == Polled::Busy { self.held_off.saturating_add(1) } else { 0 };
        // Ever more seldom: the second time, the fourth, the eighth.
        if self.held_off > 1 && self.held_off.is_power_of_two() {
            let (lock, times) = (self.place.lock_path(), self.held_off);
            say!(warn: lock = %lock.display(), times, "updates are held off: another process has the lock");
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(300);
const JITTER: f64 = 0.1;
const DEADLINE: Duration = Duration::from_secs(900);
const STALL: Duration = Duration::from_secs(30);

/// A minute of a download's progress.
const EVENTS: usize = 64;

const _: () = assert!(INTERVAL.as_secs() >= FLOOR.as_secs());
