//! Why bytes are not a message.

use thiserror::Error;

use super::{MAX_MESSAGE, VERSION};
use crate::handover::fields::Truncated;

/// Why bytes are not a message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("handover message of {length} bytes is over the limit of {MAX_MESSAGE}")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The bytes end inside a field.
    #[error("handover message ends in the middle of a field")]
    Truncated,
    /// Written by a release that this one must not guess at.
    #[error("handover message has version {version}, this release reads version {VERSION}; restart in steps")]
    Version {
        /// The version it names.
        version: u8,
    },
    /// A kind that may not be skipped.
    #[error("handover message has the unknown kind {kind}")]
    Kind {
        /// The kind's number.
        kind: u8,
    },
    /// A field that may not be skipped, stands twice, or has a value that does not fit.
    #[error("handover message of kind {kind} has a field {tag} that does not fit")]
    Field {
        /// The kind's number.
        kind: u8,
        /// The field's tag.
        tag: u8,
    },
}

impl From<Truncated> for MessageError {
    fn from(_: Truncated) -> MessageError {
        MessageError::Truncated
    }
}
