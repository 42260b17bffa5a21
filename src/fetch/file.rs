//! A binary that somebody puts on this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs;
use tokio::io::AsyncReadExt;

use super::fetcher::{DIGEST_SUFFIX, SIGNATURE_SUFFIX, SMALL};
use super::look::Look;
use super::{Digest, Download, FetchError, Fetcher, Found, Published};

/// A file on this machine, plain or as a gzip file: what a deployment copies there becomes the next version.
///
/// It must be another file than the binary that it replaces. It is taken once two looks, half a second apart,
/// find the same file with the same size and time, and if the same holds after it was read: a copy that is
/// still being written is left to a later poll. (Where a copy can pause for longer, rename it into place.)
/// `PATH.sha256` and `PATH.minisig` are read beside it.
///
/// ```
/// let source = heirloom::fetch::File::new("/srv/incoming/server");
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is fetched before it is given to an Updater"]
pub struct File {
    path: PathBuf,
    settle: Duration,
    seen: Option<Look>,
}

impl File {
    /// The file at `path`. It need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> File {
        File { path: path.into(), settle: SETTLE, seen: None }
    }

    /// How far apart the two looks are. Default half a second, since the writers of a copy write more often
    /// than that.
    pub fn settle(mut self, between: Duration) -> File {
        self.settle = between;
        self
    }

    async fn look(&self) -> Result<Option<Look>, FetchError> {
        match fs::metadata(&self.path).await {
            Ok(metadata) => Ok(Some(Look::at(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(&self.path, source)),
        }
    }

    async fn text_beside(&self, suffix: &str) -> Result<Option<String>, FetchError> {
        let mut path = self.path.clone().into_os_string();
        path.push(suffix);
        let path = PathBuf::from(path);
        let mut text = String::new();
        let read = match fs::File::open(&path).await {
            Ok(file) => file.take(SMALL).read_to_string(&mut text).await,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => Err(error),
        };
        read.map(|_| Some(text)).map_err(|source| failed(&path, source))
    }
}

impl Fetcher for File {
    async fn fetch(&mut self, download: &mut Download) -> Result<Found, FetchError> {
        let look = self.look().await?;
        let Some(found) = look.filter(|_| look != self.seen) else { return Ok(Found::Unchanged) };
        tokio::time::sleep(self.settle).await;
        if self.look().await? != look {
            return Ok(Found::NotYet);
        }
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let listing = self.text_beside(DIGEST_SUFFIX).await?;
        let digest = listing.and_then(|listing| Digest::from_listing(&listing, &name));
        if digest.is_some_and(|digest| download.is_known(&digest)) {
            self.seen = look;
            return Ok(Found::Unchanged);
        }
        download.expect(found.size)?;
        let read = |source| failed(&self.path, source);
        let mut file = fs::File::open(&self.path).await.map_err(read)?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match download.next(file.read(&mut buffer)).await?.map_err(read)? {
                0 => break,
                count => download.write(&buffer[..count]).await?,
            }
        }
        // Of the file that was read, and of the one that has the name: both can have changed meanwhile.
        let of_read = Look::at(&file.metadata().await.map_err(read)?);
        if Some(of_read) != look || self.look().await? != look {
            return Ok(Found::NotYet);
        }
        let mut published = Published::new().digest(digest);
        if download.wants_signature() {
            published = published.signature(self.text_beside(SIGNATURE_SUFFIX).await?);
        }
        self.seen = look;
        Ok(Found::New(published))
    }

    fn source(&self) -> String {
        self.path.display().to_string()
    }

    fn forget(&mut self) {
        self.seen = None;
    }

    fn floor(&self) -> Duration {
        FLOOR
    }
}

fn failed(path: &Path, source: io::Error) -> FetchError {
    FetchError::Read { path: path.to_owned(), source }
}

const SETTLE: Duration = Duration::from_millis(500);

/// A look is a system call: more of them would only cost wake-ups.
const FLOOR: Duration = Duration::from_millis(100);

/// What tokio reads at once into a file's own buffer, at most.
const BUFFER: usize = 128 * 1024;
