//! Why nothing was fetched.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// Why a [`Fetcher`](super::Fetcher) brought nothing. The running version serves on, and the next poll tries
/// again.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It is not an address to fetch from.
    #[error("{url:?} is not an http:// or https:// address")]
    #[non_exhaustive]
    Url {
        /// As it was given.
        url: String,
    },
    /// The server was not reached, or broke off before it answered.
    #[error("no answer from {url}")]
    #[non_exhaustive]
    Request {
        /// Who was asked.
        url: String,
        /// What happened.
        source: io::Error,
    },
    /// The server refused.
    #[error("{url} answered with status {status}")]
    #[non_exhaustive]
    Status {
        /// Who was asked.
        url: String,
        /// What it said.
        status: u16,
    },
    /// The server wants to be left alone for a while; the next poll waits for that.
    #[error("{url} answered with status {status}: too many requests, the next one in {retry_after:?}")]
    #[non_exhaustive]
    RateLimited {
        /// Who was asked.
        url: String,
        /// What it said.
        status: u16,
        /// From now.
        retry_after: Duration,
    },
    /// The server sent us on, and on.
    #[error("{url} redirects more than {limit} times")]
    #[non_exhaustive]
    TooManyRedirects {
        /// Where it began.
        url: String,
        /// How many are followed.
        limit: usize,
    },
    /// The server sent us from https to http, where anybody could answer.
    #[error("{url} redirects from https to {to}, which is not followed")]
    #[non_exhaustive]
    Downgrade {
        /// Who was asked.
        url: String,
        /// Where it would go.
        to: String,
    },
    /// The answer is not what such a server says.
    #[error("cannot make sense of the answer of {url}: {what}")]
    #[non_exhaustive]
    Answer {
        /// Who was asked.
        url: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The release has no such file.
    #[error("no asset of release {release} matches {pattern:?}; it has {assets:?}")]
    #[non_exhaustive]
    NoAsset {
        /// Its tag.
        release: String,
        /// What was looked for.
        pattern: String,
        /// What there is.
        assets: Vec<String>,
    },
    /// The release has several such files, and which is meant is not for us to guess.
    #[error("several assets of release {release} match {pattern:?}: {assets:?}; make the pattern narrower")]
    #[non_exhaustive]
    SeveralAssets {
        /// Its tag.
        release: String,
        /// What was looked for.
        pattern: String,
        /// Those that match.
        assets: Vec<String>,
    },
    /// The object store refused, or was not reached.
    #[error("cannot get {object}")]
    #[non_exhaustive]
    Store {
        /// Bucket and key.
        object: String,
        /// What it said.
        source: io::Error,
    },
    /// The connection was cut before the end.
    #[error("the download from {from} broke off after {received} bytes{}", of(.total))]
    #[non_exhaustive]
    Cut {
        /// Where it came from.
        from: String,
        /// What had come.
        received: u64,
        /// What was announced.
        total: Option<u64>,
        /// What happened, if the system said so.
        source: Option<io::Error>,
    },
    /// Nothing came for too long.
    #[error("nothing came from {from} for {timeout:?}, after {received} bytes{}", of(.total))]
    #[non_exhaustive]
    Stalled {
        /// Where it came from.
        from: String,
        /// How long that may last.
        timeout: Duration,
        /// What had come.
        received: u64,
        /// What was announced.
        total: Option<u64>,
    },
    /// It took too long altogether.
    #[error("fetching from {from} took longer than {deadline:?}")]
    #[non_exhaustive]
    Deadline {
        /// Where it came from.
        from: String,
        /// How long it may take.
        deadline: Duration,
    },
    /// It is larger than [`Checks::largest`](super::Checks::largest) allows.
    #[error("{from} has {bytes} bytes or more, and {largest} are allowed")]
    #[non_exhaustive]
    TooLarge {
        /// Where it came from.
        from: String,
        /// What had come, or was announced.
        bytes: u64,
        /// The bound.
        largest: u64,
    },
    /// The file that is watched cannot be read.
    #[error("cannot read {path:?}")]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The download cannot be kept: the disk is full, say.
    #[error("cannot write the download to {path:?}")]
    #[non_exhaustive]
    Write {
        /// The temporary file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificates of this machine or the given ones cannot be used.
    #[error("there is no way to speak TLS to {url}")]
    #[non_exhaustive]
    Tls {
        /// Who was to be asked.
        url: String,
        /// What is wrong.
        source: io::Error,
    },
    /// For fetchers of the user's own: whatever went wrong in them, by [`io::Error::other`].
    #[error("cannot fetch from {from}")]
    // Without `non_exhaustive`: a fetcher of the user's own makes it.
    Own {
        /// Where it was to come from.
        from: String,
        /// What happened.
        source: io::Error,
    },
}

impl FetchError {
    /// How long the source wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            FetchError::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}

fn of(total: &Option<u64>) -> String {
    total.map_or_else(String::new, |total| format!(" of {total}"))
}
