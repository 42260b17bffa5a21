//! What a binary must pass before it is used, from the cheapest and safest check to the one that runs it.
//!
//! The order matters: nothing is unpacked before the published digest and the signature hold, and nothing is
//! executed before it is known to be a program for this machine.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use minisign_verify::{PublicKey, Signature};

use super::download::Downloaded;
use super::place::{Place, Temporary};
use super::sanity::SanityCheck;
use super::{CheckError, Digest, Published, SignatureError, elf, sanity, unpack};

/// What a fetched binary must pass. All of it before the binary gets near its place.
#[derive(Clone)]
#[must_use = "for Updater::checks"]
pub struct Checks {
    smallest: u64,
    largest: u64,
    digest_required: bool,
    key: Option<PublicKey>,
    format: bool,
    own: Option<Arc<OwnCheck>>,
    sanity: SanityCheck,
    sanity_deadline: Duration,
}

type OwnCheck = dyn Fn(&Path, &Digest) -> io::Result<()> + Send + Sync;

impl Checks {
    /// A size between 4 KiB and 1 GiB, the published digest if there is one, a program for this machine, and
    /// [`SanityCheck::Answer`] within 10 seconds.
    pub fn new() -> Checks {
        Checks {
            smallest: SMALLEST,
            largest: LARGEST,
            digest_required: false,
            key: None,
            format: true,
            own: None,
            sanity: SanityCheck::default(),
            sanity_deadline: SANITY_DEADLINE,
        }
    }

    /// The smallest size of the unpacked binary in bytes. Default 4 KiB: a smaller file is an error page, or
    /// empty.
    pub fn smallest(mut self, bytes: u64) -> Checks {
        self.smallest = bytes;
        self
    }

    /// The largest size in bytes, as downloaded and as unpacked. Default 1 GiB: more than any server needs,
    /// and less than a disk. This limit stops an endless answer, and a small file that unpacks to zeros
    /// without end.
    pub fn largest(mut self, bytes: u64) -> Checks {
        self.largest = bytes;
        self
    }

    /// Whether a binary is refused whose SHA-256 digest is not published. Default: no; a digest that is
    /// published must be right.
    pub fn require_digest(mut self, on: bool) -> Checks {
        self.digest_required = on;
        self
    }

    /// Refuses a binary that this minisign key has not signed. `key` is the base64 text of the key, or the
    /// whole of a `.pub` file. The signature is that of the file as published, packed or not.
    ///
    /// # Errors
    ///
    /// `key` is not a minisign key.
    pub fn minisign_key(mut self, key: &str) -> Result<Checks, SignatureError> {
        let key = key.trim();
        let key = PublicKey::from_base64(key).or_else(|_| PublicKey::decode(key));
        self.key = Some(key.map_err(SignatureError::of)?);
        Ok(self)
    }

    /// Whether a file is accepted that is not an ELF program, such as a script. Default: no, only a whole ELF
    /// file for this machine.
    pub fn any_format(mut self, on: bool) -> Checks {
        self.format = !on;
        self
    }

    /// Adds a check of your own, of the unpacked file and its digest. It may block. It runs before the sanity
    /// check.
    pub fn and(mut self, check: impl Fn(&Path, &Digest) -> io::Result<()> + Send + Sync + 'static) -> Checks {
        self.own = Some(Arc::new(check));
        self
    }

    /// How the binary is tried. Default: [`SanityCheck::Answer`].
    pub fn sanity(mut self, check: SanityCheck) -> Checks {
        self.sanity = check;
        self
    }

    /// For programs that answer no sanity check but say their version, in one call: `--version` must exit
    /// with status 0.
    pub fn sane_if<A: Into<OsString>>(self, arguments: impl IntoIterator<Item = A>) -> Checks {
        self.sanity(SanityCheck::Exits(arguments.into_iter().map(Into::into).collect()))
    }

    /// How long the sanity check may take. Default 10 seconds: a program answers in milliseconds, and on a
    /// machine under load its start takes a few seconds; longer only delays the report.
    pub fn sanity_deadline(mut self, deadline: Duration) -> Checks {
        self.sanity_deadline = deadline;
        self
    }

    pub(super) fn wants_signature(&self) -> bool {
        self.key.is_some()
    }

    pub(super) fn largest_allowed(&self) -> u64 {
        self.largest
    }

    /// All that does not run it. Blocks.
    pub(super) fn examine(
        &self,
        packed: Downloaded,
        published: &Published,
        place: &Place,
    ) -> Result<(Temporary, Digest), CheckError> {
        match published.digest {
            Some(digest) if digest != packed.digest => {
                return Err(CheckError::Digest { published: digest, actual: packed.digest });
            }
            None if self.digest_required => return Err(CheckError::NoDigest),
            _ => (),
        }
        if let Some(key) = &self.key {
            let signature = published.signature.as_deref().ok_or(CheckError::Unsigned)?;
            verify(packed.file.path(), key, signature)?;
        }
        let (binary, digest) = unpack::unpack(packed.file, packed.digest, place, self.largest)?;
        let read = |source| CheckError::Read { path: binary.path().to_owned(), source };
        let bytes = fs::metadata(binary.path()).map_err(read)?.len();
        if bytes < self.smallest {
            return Err(CheckError::TooSmall { bytes, smallest: self.smallest });
        }
        if self.format {
            elf::check(binary.path())?;
        }
        if let Some(own) = &self.own {
            own(binary.path(), &digest).map_err(CheckError::Own)?;
        }
        Ok((binary, digest))
    }

    /// Runs it.
    pub(super) async fn try_out(&self, binary: &Temporary) -> Result<(), CheckError> {
        Ok(sanity::check(binary.path(), &self.sanity, self.sanity_deadline).await?)
    }
}

impl Default for Checks {
    fn default() -> Checks {
        Checks::new()
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks")
            .field("smallest", &self.smallest)
            .field("largest", &self.largest)
            .field("digest_required", &self.digest_required)
            .field("signed", &self.key.is_some())
            .field("format", &self.format)
            .field("sanity", &self.sanity)
            .finish_non_exhaustive()
    }
}

fn invalid(error: minisign_verify::Error) -> CheckError {
    CheckError::Signature(SignatureError::of(error))
}

fn verify(path: &Path, key: &PublicKey, signature: &str) -> Result<(), CheckError> {
    let read = |source| CheckError::Read { path: path.to_owned(), source };
    let signature = Signature::decode(signature).map_err(invalid)?;
    // Not the old kind, which must have the whole file in memory: minisign has made the other since 2021.
    let mut verifier = key.verify_stream(&signature).map_err(invalid)?;
    let (mut file, mut buffer) = (fs::File::open(path).map_err(read)?, vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer).map_err(read)? {
            0 => return verifier.finalize().map_err(invalid),
            count => verifier.update(&buffer[..count]),
        }
    }
}

const SMALLEST: u64 = 4096;
const LARGEST: u64 = 1 << 30;
const SANITY_DEADLINE: Duration = Duration::from_secs(10);

/// As the files' own buffers.
const BUFFER: usize = 128 * 1024;
