//! What every source of binaries can do.

use std::time::Duration;

use super::{Digest, Download, FetchError};

/// Where new binaries come from.
///
/// [`File`](super::File), [`Http`](super::Http), [`GitHub`](super::GitHub) and [`S3`](super::S3) are ready;
/// here is one of the user's own:
///
/// ```
/// use heirloom::fetch::{Download, FetchError, Fetcher, Found, Published};
///
/// struct Embedded {
///     bytes: &'static [u8],
///     seen: bool,
/// }
///
/// impl Fetcher for Embedded {
///     async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
///         if self.seen {
///             return Ok(Found::Unchanged);
///         }
///         download.write(self.bytes).await?;
///         self.seen = true;
///         Ok(Found::New(Published::new()))
///     }
///
///     fn source(&self) -> String {
///         "memory".to_owned()
///     }
///
///     fn forget(&mut self) {
///         self.seen = false;
///     }
/// }
/// ```
pub trait Fetcher: Send {
    /// Looks once, and downloads what is there unless it is what it brought before.
    ///
    /// It need not compare contents: what is identical to the present binary is dropped without a restart.
    /// The future may be dropped at any of its awaits, after the fetch deadline for one.
    ///
    /// # Errors
    ///
    /// Nothing was brought; it is asked again at the next poll.
    fn fetch(&mut self, download: &mut Download) -> impl Future<Output = Result<Found, FetchError>> + Send;

    /// Names the source, for people: its URL or path, without secrets.
    fn source(&self) -> String;

    /// What was brought last could not be used for a reason that may pass (the disk was full, its signature
    /// is not published yet): bring it again.
    fn forget(&mut self) {}

    /// The shortest interval at which this source may be asked.
    fn floor(&self) -> Duration {
        FLOOR
    }
}

/// What a look at the source showed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Found {
    /// Nothing new.
    Unchanged,
    /// Something is coming, and is not complete yet.
    NotYet,
    /// The download has it.
    New(Published),
}

/// What the source says of a binary that it publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "for Found::New"]
pub struct Published {
    pub(super) version: Option<String>,
    pub(super) digest: Option<Digest>,
    pub(super) signature: Option<String>,
}

impl Published {
    /// Nothing but its bytes.
    pub fn new() -> Published {
        Published::default()
    }

    /// The name of the version, for people.
    pub fn version(mut self, version: impl Into<Option<String>>) -> Published {
        self.version = version.into();
        self
    }

    /// The digest of the file as it is published, before it is unpacked.
    pub fn digest(mut self, digest: impl Into<Option<Digest>>) -> Published {
        self.digest = digest.into();
        self
    }

    /// Its minisign signature, the whole text of a `.minisig` file; of the file as it is published, too.
    pub fn signature(mut self, signature: impl Into<Option<String>>) -> Published {
        self.signature = signature.into();
        self
    }
}

/// A server that is asked more often than once a second is under attack by its own clients, and a new version
/// that comes a second later hurts nobody.
pub(super) const FLOOR: Duration = Duration::from_secs(1);

/// What lies beside a published file, by convention: its digest, and its signature.
pub(super) const DIGEST_SUFFIX: &str = ".sha256";
pub(super) const SIGNATURE_SUFFIX: &str = ".minisig";

/// Of digest listings and signatures: a listing for a hundred files has 10 KiB.
pub(super) const SMALL: u64 = 64 * 1024;
