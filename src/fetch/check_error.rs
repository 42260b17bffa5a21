//! Why a fetched binary is not used.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::Digest;
use super::sanity::SanityError;

/// What is wrong with a minisign key, or a signature.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct SignatureError(Box<dyn std::error::Error + Send + Sync>);

impl SignatureError {
    pub(super) fn of(error: minisign_verify::Error) -> SignatureError {
        SignatureError(Box::new(error))
    }
}

/// Why a fetched binary is not used. The running version serves on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckError {
    /// Too little of it.
    #[error("it has {bytes} bytes, and {smallest} is the least")]
    #[non_exhaustive]
    TooSmall {
        /// What it has.
        bytes: u64,
        /// The bound.
        smallest: u64,
    },
    /// Too much of it, unpacked.
    #[error("it has {bytes} bytes or more when it is unpacked, and {largest} are allowed")]
    #[non_exhaustive]
    TooLarge {
        /// What has come out.
        bytes: u64,
        /// The bound.
        largest: u64,
    },
    /// It is not what was published.
    #[error("its SHA-256 digest is {actual}, and the published one is {published}")]
    #[non_exhaustive]
    Digest {
        /// What the source says.
        published: Digest,
        /// What came.
        actual: Digest,
    },
    /// None is published, and [`Checks::require_digest`](super::Checks::require_digest) asks for one.
    #[error("no SHA-256 digest is published for it")]
    NoDigest,
    /// No signature is published, and a key is set.
    #[error("no signature is published for it")]
    Unsigned,
    /// The signature is not by the key, or not of this file.
    #[error("its signature is not valid")]
    Signature(#[source] SignatureError),
    /// It is a gzip file that breaks off, or is damaged.
    #[error("it cannot be unpacked")]
    #[non_exhaustive]
    Archive {
        /// What is wrong.
        source: io::Error,
    },
    /// It is no program.
    #[error("it is not an ELF program: it begins with {start:?}")]
    #[non_exhaustive]
    NotAProgram {
        /// Its first bytes.
        start: String,
    },
    /// It is a tar archive: which of its files is meant is not for us to guess.
    #[error("it is a tar archive; publish the program itself, plain or as a gzip file")]
    Tar,
    /// It is for another machine.
    #[error("it is for {found}, and this machine is {own}")]
    #[non_exhaustive]
    Architecture {
        /// What it is for.
        found: String,
        /// What this process runs on.
        own: String,
    },
    /// It is an object file, say.
    #[error("it is an ELF file of type {kind}, which is not a program")]
    #[non_exhaustive]
    NotExecutable {
        /// `e_type`.
        kind: u16,
    },
    /// It is cut.
    #[error("it is truncated: {bytes} bytes, and its headers speak of {needed}")]
    #[non_exhaustive]
    Truncated {
        /// What it has.
        bytes: u64,
        /// What it should have.
        needed: u64,
    },
    /// The user's own check says no.
    #[error("it is refused")]
    Own(#[source] io::Error),
    /// It was run, and is not sane.
    #[error("its sanity check failed")]
    Sanity(#[from] SanityError),
    /// The downloaded file cannot be read.
    #[error("cannot read {path:?}")]
    #[non_exhaustive]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The unpacked file cannot be written: the disk is full, say.
    #[error("cannot write {path:?}")]
    #[non_exhaustive]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl CheckError {
    /// Whether the same file may pass another time: its digest or signature may be published later than
    /// itself, the machine may have been busy, or its disk full.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            CheckError::Digest { .. }
            | CheckError::NoDigest
            | CheckError::Unsigned
            | CheckError::Signature(_)
            | CheckError::Own(_)
            | CheckError::Read { .. }
            | CheckError::Write { .. } => true,
            CheckError::Sanity(error) => error.may_pass(),
            _ => false,
        }
    }
}
