//! The loop: look, fetch, check, put in place, restart, and back again if that fails.

use std::collections::VecDeque;
use std::future::pending;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

use super::download::Terms;
use super::fetcher::FLOOR;
use super::place::{Lock, Previous, Temporary};
use super::schedule::{self, Schedule};
use super::{
    CheckError, Checks, Digest, Download, FetchError, FetchEvent, Fetcher, Found, InstallError, Place, Restart,
};
use crate::restarter::{Outcome, RestartError};

/// Keeps a program up to date: polls a [`Fetcher`], checks what is new, puts it in the binary's place, and restarts.
///
/// A restart that fails, or is taken back, puts the previous binary back, and the failed one is not fetched again while
/// this process lives (a start by hand is a new chance). Content that is identical to what is in place never restarts
/// anything. The [module's documentation](super) has an example.
#[derive(Debug)]
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
    /// Those that failed, as published and unpacked.
    rejected: VecDeque<Digest>,
    /// What was put in place, and not restarted into yet.
    untried: Option<(Digest, Previous)>,
    /// The fetcher has brought something that nothing has come of yet: a poll that was dropped brought it in vain.
    in_hand: bool,
    failures: u32,
    events: broadcast::Sender<FetchEvent>,
}

/// What a poll came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Polled {
    /// There is nothing new.
    Unchanged,
    /// Something is on its way, and not complete yet.
    NotYet,
    /// Another process is updating this binary.
    Busy,
    /// What is offered has failed before.
    Rejected(Digest),
    /// It is in place, and restarts are off.
    Installed(Digest),
    /// It is in place, and the service was restarted.
    Restarted(Digest, Outcome),
}

/// Why a poll came to nothing. The running version serves on, and its binary is in place (but for
/// [`NotTried`](UpdateError::NotTried) and [`Stuck`](UpdateError::Stuck)).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// Nothing was fetched.
    #[error("no update from {from}")]
    Fetch {
        /// The source.
        from: String,
        /// Why.
        source: FetchError,
    },
    /// What was fetched is not taken.
    #[error("what {from} offers is not taken")]
    Check {
        /// The source.
        from: String,
        /// Why.
        source: CheckError,
    },
    /// It did not get to its place.
    #[error("the update cannot be put in place")]
    Install(#[from] InstallError),
    /// It did not get to serve; the previous binary is back.
    #[error("the update {digest} did not take over, and {path:?} is the previous binary again")]
    RolledBack {
        /// Of the binary that failed.
        digest: Digest,
        /// Where the previous one is.
        path: PathBuf,
        /// Why.
        source: RestartError,
    },
    /// It is in place, and the restart was refused, for a reason that has nothing to do with it. The next poll tries
    /// again.
    #[error("the update {digest} is in place, and the restart into it was not tried")]
    NotTried {
        /// Of the new binary.
        digest: Digest,
        /// Why.
        source: RestartError,
    },
    /// It did not get to serve, and the previous binary could not be put back: the next start by hand runs the one that
    /// failed.
    #[error("the update {digest} did not take over ({restart}), and its predecessor could not be reinstated")]
    Stuck {
        /// Of the binary that failed.
        digest: Digest,
        /// Why it failed.
        restart: RestartError,
        /// Why it is still there.
        source: InstallError,
    },
    /// A task of ours was lost: the runtime is shutting down, or a check of the user's own panicked.
    #[error("the update was interrupted")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// An interval that the source does not allow.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("a poll every {interval:?} is too often for this source; every {floor:?} is the most")]
pub struct IntervalTooShort {
    /// As it was given.
    pub interval: Duration,
    /// What the source allows.
    pub floor: Duration,
}

/// A new binary that may be put in place.
struct Checked {
    binary: Temporary,
    digest: Digest,
    /// Of the file as published.
    published: Digest,
    lock: Lock,
}

enum Looked {
    Nothing(Polled),
    /// In place since an earlier poll.
    Untried(Digest, Previous, Lock),
    New(Checked),
}

impl<F: Fetcher, R: Restart> Updater<F, R> {
    /// Updates the binary at `path` from `fetcher`, and restarts by `restart`: every 5 minutes with a tenth of
    /// jitter, with all of [`Checks::new`], at once and without stagger.
    ///
    /// `path` is what a restart executes: for a [`Restarter`](crate::Restarter) the program as it was started, or what
    /// [`Builder::program`](crate::Builder::program) says.
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
            rejected: VecDeque::new(),
            untried: None,
            in_hand: false,
            failures: 0,
            events: broadcast::Sender::new(EVENTS),
        }
    }

    /// The time between two polls. Default 5 minutes: a poll costs the source next to nothing, and who publishes a
    /// version looks at it for longer than that. After failures it doubles with each, up to an hour.
    ///
    /// # Errors
    ///
    /// It is below the source's floor ([`Fetcher::floor`]): a second for HTTP and S3, 0.1 s for a file, 2 minutes for
    /// GitHub without a token.
    pub fn interval(mut self, interval: Duration) -> Result<Updater<F, R>, IntervalTooShort> {
        let floor = self.fetcher.floor();
        if interval < floor {
            return Err(IntervalTooShort { interval, floor });
        }
        self.schedule.interval = interval;
        Ok(self)
    }

    /// How much of the interval is added to it at most, by chance: from 0 to 1, default 0.1, so that hosts started at
    /// one instant have parted after some polls. The first poll comes after such a part alone.
    #[must_use]
    pub fn jitter(mut self, part: f64) -> Updater<F, R> {
        self.schedule.jitter = if part.is_finite() { part.clamp(0.0, 1.0) } else { JITTER };
        self
    }

    /// Spreads the restarts of many hosts over `window`: each waits for its own part of it, by its host name, always
    /// the same. Default none.
    #[must_use]
    pub fn stagger(mut self, window: Duration) -> Updater<F, R> {
        self.stagger = schedule::stagger(&schedule::host_name(), window);
        self
    }

    /// Waits this long before a checked binary is put in place and restarted into, beside the stagger. Default not.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Updater<F, R> {
        self.delay = delay;
        self
    }

    /// Puts new binaries in place and leaves the restart to somebody else. Default: it restarts.
    #[must_use]
    pub fn install_only(mut self) -> Updater<F, R> {
        self.install_only = true;
        self
    }

    /// What a binary must pass.
    #[must_use]
    pub fn checks(mut self, checks: Checks) -> Updater<F, R> {
        self.checks = checks;
        self
    }

    /// How long a poll may fetch. Default 15 minutes: 100 MB over a line of 1 Mbit/s; a longer one keeps a newer version
    /// waiting.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Updater<F, R> {
        self.deadline = deadline;
        self
    }

    /// How long a source may send nothing. Default 30 seconds, which a connection with heavy loss survives; a shorter
    /// one starts a slow download over.
    #[must_use]
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
    /// Dropped while it waits, fetches or checks, it leaves nothing behind. Dropped during a restart it hears no
    /// outcome: a binary that fails then stays in place. Let it end by itself.
    pub async fn run(&mut self) {
        // What killed processes left is removed at the start, however long the first poll is away.
        let place = self.place.clone();
        let _ = blocking(move || Ok(place.lock()?.map(|lock| place.clean(&lock)))).await;
        let mut wait = self.schedule.first();
        loop {
            let over = self.restart.over();
            let looked = tokio::select! {
                () = async { match over { Some(over) => over.await, None => pending().await } } => return,
                looked = async { sleep(wait).await; self.look().await } => looked,
            };
            // Not to be interrupted: the outcome of a restart must be heard, and by then this process may be draining.
            let polled = self.take(looked).await;
            wait = self.tell(polled);
        }
    }

    /// Polls once, now.
    ///
    /// # Errors
    ///
    /// Nothing came of it; the running version serves on.
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn poll(&mut self) -> Result<Polled, UpdateError> {
        let looked = self.look().await;
        self.take(looked).await
    }

    /// All that changes nothing: it may be dropped.
    async fn look(&mut self) -> Result<Looked, UpdateError> {
        let place = self.place.clone();
        let locked = blocking(move || {
            let Some(lock) = place.lock()? else { return Ok(None) };
            place.clean(&lock);
            // None is in place yet, or it cannot be read: then it is none that we know.
            Ok(Some((lock, Digest::of_file(place.path()).ok())))
        });
        let Some((lock, present)) = locked.await? else { return Ok(Looked::Nothing(Polled::Busy)) };
        if let Some((digest, previous)) = self.untried.take()
            && Some(digest) == present
        {
            return Ok(Looked::Untried(digest, previous, lock));
        }
        if std::mem::take(&mut self.in_hand) {
            self.fetcher.forget();
        }
        let from = self.fetcher.source();
        let terms = Terms {
            largest: self.checks.largest_allowed(),
            stall: self.stall,
            wants_signature: self.checks.wants_signature(),
            known: self.rejected.iter().copied().chain(present).collect(),
            events: self.events.clone(),
        };
        let mut download = Download::new(from.clone(), self.place.temporary(), terms);
        let fetched = timeout(self.deadline, self.fetcher.fetch(&mut download)).await;
        let late = |_| FetchError::Deadline { from: from.clone(), deadline: self.deadline };
        let failed = |source| UpdateError::Fetch { from: from.clone(), source };
        let published = match fetched.map_err(late).flatten().map_err(failed)? {
            Found::Unchanged => return Ok(Looked::Nothing(Polled::Unchanged)),
            Found::NotYet => return Ok(Looked::Nothing(Polled::NotYet)),
            Found::New(published) => published,
        };
        self.in_hand = true;
        let downloaded = download.finish().await.map_err(failed)?;
        let (as_published, version) = (downloaded.digest, published.version.clone());
        let (checks, place) = (self.checks.clone(), self.place.clone());
        let examined = blocking(move || Ok(checks.examine(downloaded, &published, &place))).await?;
        let (binary, digest) = examined.map_err(|error| self.refuse(&from, error))?;
        if Some(digest) == present {
            self.in_hand = false;
            return Ok(Looked::Nothing(Polled::Unchanged));
        }
        if self.rejected.contains(&digest) {
            self.in_hand = false;
            return Ok(Looked::Nothing(Polled::Rejected(digest)));
        }
        self.checks.try_out(&binary).await.map_err(|error| self.refuse(&from, error))?;
        let wait = self.delay + self.stagger;
        tracing::info!(target: "heirloom", from, version, %digest, ?wait, "a new binary has passed its checks");
        let _ = self.events.send(FetchEvent::Checked { version, digest, wait });
        sleep(wait).await;
        Ok(Looked::New(Checked { binary, digest, published: as_published, lock }))
    }

    /// All that changes something: it is to run to its end.
    async fn take(&mut self, looked: Result<Looked, UpdateError>) -> Result<Polled, UpdateError> {
        let (digest, published, previous, lock) = match looked? {
            Looked::Nothing(polled) => return Ok(polled),
            Looked::Untried(digest, previous, lock) => (digest, digest, previous, lock),
            Looked::New(Checked { binary, digest, published, lock }) => {
                let place = self.place.clone();
                let previous = blocking(move || Ok(place.install(binary)?)).await?;
                self.in_hand = false;
                tracing::info!(target: "heirloom", path = %self.place.path().display(), %digest, "a new binary is in place");
                let _ = self.events.send(FetchEvent::Installed { digest });
                (digest, published, previous, lock)
            }
        };
        if self.install_only {
            return Ok(Polled::Installed(digest));
        }
        let result = match self.restart.restart().await {
            Ok(outcome) => {
                let _ = self.events.send(FetchEvent::Restarted { digest, outcome });
                return Ok(Polled::Restarted(digest, outcome));
            }
            // The binary is not to blame, and whoever starts the service next is to have it.
            Err(source @ (RestartError::Refused(_) | RestartError::Stopped | RestartError::DriverGone)) => {
                self.untried = Some((digest, previous));
                return Err(UpdateError::NotTried { digest, source });
            }
            Err(restart) => self.go_back(digest, published, previous, restart).await,
        };
        drop(lock);
        result
    }

    async fn go_back(
        &mut self,
        digest: Digest,
        published: Digest,
        previous: Previous,
        restart: RestartError,
    ) -> Result<Polled, UpdateError> {
        self.rejected.extend([digest, published]);
        while self.rejected.len() > REJECTED {
            self.rejected.pop_front();
        }
        let place = self.place.clone();
        let back = blocking(move || {
            Ok(match previous {
                Previous::Kept => place.roll_back(),
                // What lies there as the previous one is from another life.
                Previous::None => Err(InstallError::NoPrevious { path: place.previous() }),
            })
        });
        match back.await? {
            Ok(()) => {
                let _ = self.events.send(FetchEvent::RolledBack { digest });
                let path = self.place.path().to_owned();
                Err(UpdateError::RolledBack { digest, path, source: restart })
            }
            Err(source) => Err(UpdateError::Stuck { digest, restart, source }),
        }
    }

    fn refuse(&mut self, from: &str, source: CheckError) -> UpdateError {
        // What may pass another time is fetched again at the next poll, which comes later after each failure.
        self.in_hand = source.may_pass();
        UpdateError::Check { from: from.to_owned(), source }
    }

    /// Tells of a poll, and when the next one is.
    fn tell(&mut self, polled: Result<Polled, UpdateError>) -> Duration {
        let error = match polled {
            Ok(polled) => {
                tracing::debug!(target: "heirloom", ?polled, "polled for a new binary");
                self.failures = 0;
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
        tracing::warn!(target: "heirloom", error = cause, times, ?next, "no update, the running version serves on");
        let _ = self.events.send(FetchEvent::Failed { error, times, next });
        next
    }
}

/// Off the runtime's threads: the disk may be slow, and a digest takes its time.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpdateError> + Send + 'static,
) -> Result<T, UpdateError> {
    tokio::task::spawn_blocking(work).await.map_err(UpdateError::Interrupted)?
}

const INTERVAL: Duration = Duration::from_secs(300);
const JITTER: f64 = 0.1;
const DEADLINE: Duration = Duration::from_secs(900);
const STALL: Duration = Duration::from_secs(30);

/// A minute of a download's progress.
const EVENTS: usize = 64;

/// A source that offers more different binaries that fail is beyond help.
const REJECTED: usize = 64;

const _: () = assert!(INTERVAL.as_secs() >= FLOOR.as_secs());
