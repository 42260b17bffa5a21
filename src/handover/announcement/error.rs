//! Why a string is not an announcement.

use thiserror::Error;

use super::{MAX_ANNOUNCEMENT, MAX_DESCRIPTORS, VARIABLE, VERSION};
use crate::handover::message::MAX_SOCKETS;

/// Why a string is not an announcement that this release can act on.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Longer than [`MAX_ANNOUNCEMENT`].
    #[error("{VARIABLE} holds {length} bytes, the limit is {MAX_ANNOUNCEMENT}")]
    #[non_exhaustive]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// Written by a release that this one must not guess at.
    #[error(
        "{VARIABLE} has version {version}, this release reads version {VERSION}; restart through a release that reads both, or stop and start"
    )]
    #[non_exhaustive]
    Version {
        /// The version it names.
        version: u32,
    },
    /// A word that cannot be read.
    #[error("{VARIABLE} is malformed at {word:?}")]
    #[non_exhaustive]
    Malformed {
        /// The word.
        word: String,
    },
    /// A key without which nothing can be done.
    #[error("{VARIABLE} lacks {key}")]
    #[non_exhaustive]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// More than [`MAX_SOCKETS`].
    #[error("{VARIABLE} names more than {MAX_SOCKETS} sockets")]
    TooMany,
    /// More than [`MAX_DESCRIPTORS`].
    #[error("{VARIABLE} names more than {MAX_DESCRIPTORS} descriptors beside the sockets")]
    TooManyDescriptors,
    /// One descriptor number is announced for two things.
    #[error("{VARIABLE} names fd {fd} twice")]
    #[non_exhaustive]
    Twice {
        /// The number.
        fd: i32,
    },
}
