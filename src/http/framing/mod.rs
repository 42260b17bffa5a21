//! HTTP/1 as bytes (RFC 9112): where heads, chunks and bodies end, in the words that the gate for sessions
//! and the connections lent to frameworks both follow. Without I/O.
//!
//! Whoever serves the connection reads the same bytes with a parser of its own. So what two parsers could
//! understand differently is not understood here: then the connection does not move.

mod chunks;
mod head_end;
mod heads;

pub(super) use chunks::Chunks;
pub(super) use head_end::HeadEnd;
pub(super) use heads::{Body, RequestHead, ResponseHead};

/// How many of these bytes belong to a message that ends in `left` bytes.
pub(super) fn up_to(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len())
}
