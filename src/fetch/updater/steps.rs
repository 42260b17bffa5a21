//! One poll: a look, which changes nothing and may be dropped, and what is then done about it, which may not.

use std::fs;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::time::{sleep, timeout};

use super::Updater;
use crate::aside::own_thread::on_own_thread;
use crate::fetch::download::Terms;
use crate::fetch::look::Look;
use crate::fetch::place::{Lock, Previous, Temporary};
use crate::fetch::{
    CheckError, Digest, Download, FetchError, FetchEvent, Fetcher, Found, InstallError, Polled, Restart,
    UpdateError,
};
use crate::restarter::RestartError;

/// What a look came to.
pub(super) enum Looked {
    Nothing(Polled),
    /// In place since an earlier poll.
    Untried(Digest, Previous, Lock),
    New(Checked),
}

/// A new binary that may be put in place.
pub(super) struct Checked {
    binary: Temporary,
    digest: Digest,
    /// Of the file as published.
    published: Digest,
    lock: Lock,
}

impl<F: Fetcher, R: Restart> Updater<F, R> {
    /// All that changes nothing: it may be dropped.
    pub(super) async fn look(&mut self) -> Result<Looked, UpdateError> {
        let (place, before) = (self.place.clone(), self.present);
        let locked = blocking(move || {
            let Some(lock) = place.lock()? else { return Ok(None) };
            place.clean(&lock);
            Ok(Some((lock, identify(place.path(), before))))
        });
        let Some((lock, present)) = locked.await? else { return Ok(Looked::Nothing(Polled::Busy)) };
        self.present = present;
        let present = present.map(|(_, digest)| digest);
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
        say!(info: from, version, %digest, ?wait, "a new binary has passed its checks");
        let _ = self.events.send(FetchEvent::Checked { version, digest, wait });
        sleep(wait).await;
        Ok(Looked::New(Checked { binary, digest, published: as_published, lock }))
    }

    /// All that changes something: it is to run to its end.
    pub(super) async fn take(&mut self, looked: Result<Looked, UpdateError>) -> Result<Polled, UpdateError> {
        let (digest, published, previous, lock) = match looked? {
            Looked::Nothing(polled) => return Ok(polled),
            Looked::Untried(digest, previous, lock) => (digest, digest, previous, lock),
            Looked::New(Checked { binary, digest, published, lock }) => {
                let place = self.place.clone();
                let previous = blocking(move || Ok(place.install(binary)?)).await?;
                self.in_hand = false;
                say!(info: path = %self.place.path().display(), %digest, "a new binary is in place");
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
                return Ok(Polled::Restarted { digest, outcome });
            }
            // The binary is not to blame, and the next start of the service is to have it.
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
}

/// The digest of the binary in place, which is read only if it is not the one that was there before. None if
/// there is none, or it cannot be read: then it is none that we know.
fn identify(path: &Path, before: Option<(Look, Digest)>) -> Option<(Look, Digest)> {
    let look = Look::at(&fs::metadata(path).ok()?);
    before.filter(|(known, _)| *known == look).or_else(|| Some((look, Digest::of_file(path).ok()?)))
}

/// A panic in it is a failure like any other: the next poll comes all the same.
pub(super) async fn unpanicked<T>(
    step: impl Future<Output = Result<T, UpdateError>>,
) -> Result<T, UpdateError> {
    let mut step = pin!(step);
    let poll = move |cx: &mut Context<'_>| {
        let polled = catch_unwind(AssertUnwindSafe(|| step.as_mut().poll(cx)));
        polled.unwrap_or(Poll::Ready(Err(UpdateError::Panicked)))
    };
    poll_fn(poll).await
}

/// Off the runtime's threads: the disk may be slow, and a digest takes its time. Where no thread can be made
/// it is done here all the same: a runtime that waits is better than a bad binary that stays in place.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UpdateError> + Send + 'static,
) -> Result<T, UpdateError> {
    let slot = Arc::new(Mutex::new(Some(work)));
    let take = |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    let shared = Arc::clone(&slot);
    let there = on_own_thread("heirloom-fetch", move || take(&shared).map(|work| work()));
    let done = match there {
        Ok(result) => result.await.unwrap_or_default(),
        Err(_) => take(&slot).map(|work| work()),
    };
    done.unwrap_or(Err(UpdateError::Panicked))
}

/// A source that offers more different binaries that fail is beyond help.
const REJECTED: usize = 64;
