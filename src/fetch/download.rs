//! One download: bounded, hashed as it comes, and told of.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::digest::Hasher;
use super::place::Temporary;
use super::{Digest, FetchError, FetchEvent};

/// Where a [`Fetcher`](super::Fetcher) puts what it brings.
///
/// The bytes go to a temporary file beside the binary that they may replace, made at the first of them, and
/// removed when nothing comes of it.
#[derive(Debug)]
pub struct Download {
    from: String,
    path: PathBuf,
    file: Option<(tokio::fs::File, Temporary)>,
    hasher: Hasher,
    received: u64,
    total: Option<u64>,
    progress: Progress,
    terms: Terms,
}

/// What a download must keep to.
#[derive(Debug)]
pub(super) struct Terms {
    pub(super) largest: u64,
    pub(super) stall: Duration,
    pub(super) wants_signature: bool,
    /// What is not worth its bytes: the present binary, and those that failed.
    pub(super) known: Vec<Digest>,
    pub(super) events: broadcast::Sender<FetchEvent>,
}

/// A complete one.
#[derive(Debug)]
pub(super) struct Downloaded {
    pub(super) file: Temporary,
    pub(super) digest: Digest,
}

impl Download {
    pub(super) fn new(from: String, path: PathBuf, terms: Terms) -> Download {
        let progress = Progress { began: Instant::now(), told: Instant::now() };
        Download { from, path, file: None, hasher: Hasher::new(), received: 0, total: None, progress, terms }
    }

    /// Whether a file of this digest is not worth its download: it is the present binary, or one that failed.
    pub fn is_known(&self, digest: &Digest) -> bool {
        self.terms.known.contains(digest)
    }

    /// Whether a signature is needed.
    pub fn wants_signature(&self) -> bool {
        self.terms.wants_signature
    }

    /// Says how many bytes are to come, if the source knows. A download that ends with fewer is cut.
    ///
    /// # Errors
    ///
    /// They are more than allowed.
    pub fn expect(&mut self, total: u64) -> Result<(), FetchError> {
        self.total = Some(total);
        self.within_bounds(total)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// There are more than allowed, or they cannot be kept.
    ///
    /// # Cancel safety
    ///
    /// A download whose write was dropped is of no use any more.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.received += bytes.len() as u64;
        self.within_bounds(self.received)?;
        self.hasher.update(bytes);
        let path = self.path.clone();
        let failed = |source| FetchError::Write { path, source };
        if self.file.is_none() {
            let (file, temporary) = Temporary::create(&self.path).map_err(failed.clone())?;
            self.file = Some((tokio::fs::File::from_std(file), temporary));
        }
        if let Some((file, _)) = &mut self.file {
            file.write_all(bytes).await.map_err(failed)?;
        }
        self.tell();
        Ok(())
    }

    /// Waits for the next bytes of the source, as long as they may take.
    ///
    /// # Errors
    ///
    /// They did not come in time.
    ///
    /// # Cancel safety
    ///
    /// As `bytes` itself.
    pub async fn next<T>(&self, bytes: impl Future<Output = T>) -> Result<T, FetchError> {
        timeout(self.terms.stall, bytes).await.map_err(|_| FetchError::Stalled {
            from: self.from.clone(),
            timeout: self.terms.stall,
            received: self.received,
            total: self.total,
        })
    }

    /// That the source broke off, and why.
    pub fn cut(&self, source: impl Into<Option<io::Error>>) -> FetchError {
        let (received, total) = (self.received, self.total);
        FetchError::Cut { from: self.from.clone(), received, total, source: source.into() }
    }

    /// Everything is there: it is on its way to the disk, and nobody writes to it any more.
    pub(super) async fn finish(mut self) -> Result<Downloaded, FetchError> {
        if self.total.is_some_and(|total| total != self.received) {
            return Err(self.cut(None));
        }
        let Some((mut file, temporary)) = self.file.take() else { return Err(self.cut(None)) };
        // A write is told of late: the last one's error shows here.
        file.flush().await.map_err(|source| FetchError::Write { path: self.path.clone(), source })?;
        // Closed, and not just dropped: a file that is open for writing cannot be executed.
        drop(file.into_std().await);
        let seconds = self.progress.began.elapsed().as_secs_f64();
        say!(info: from = %self.from, bytes = self.received, seconds, "downloaded");
        Ok(Downloaded { file: temporary, digest: self.hasher.finish() })
    }

    fn within_bounds(&self, bytes: u64) -> Result<(), FetchError> {
        if bytes <= self.terms.largest {
            return Ok(());
        }
        Err(FetchError::TooLarge { from: self.from.clone(), bytes, largest: self.terms.largest })
    }

    fn tell(&mut self) {
        if self.progress.told.elapsed() < TELL_EVERY {
            return;
        }
        self.progress.told = Instant::now();
        let (received, total) = (self.received, self.total);
        let elapsed = self.progress.began.elapsed().as_secs_f64();
        let rate = (received as f64 / elapsed) as u64;
        say!(info: from = %self.from, received, total, rate, "downloading");
        let _ = self.terms.events.send(FetchEvent::Downloading { received, total, rate });
    }
}

#[derive(Debug)]
struct Progress {
    began: Instant,
    told: Instant,
}

/// Often enough for somebody who waits, seldom enough for a log.
const TELL_EVERY: Duration = Duration::from_secs(1);
