//! For [fuzzers](crate::fuzzing): what clients send, and what a predecessor says of a connection that comes.

use super::carried::Carried;
use super::h2;

pub use super::gate::fuzzing::{frames, sessions};
pub use super::h2::fuzzing::http2;
pub use super::lent::fuzzing::http1;

/// What goes with a connection in the middle of a session, or with one of HTTP/2: what was understood is
/// written as it was read.
pub fn carried(bytes: &[u8]) {
    if let Some(carried) = h2::Carried::decode(bytes) {
        assert_eq!(h2::Carried::decode(&carried.encode()), Some(carried));
    }
    let Some(mut carried) = Carried::decode(bytes) else { return };
    if carried.terms.is_empty() {
        // One that is empty, when it is written.
        carried.terms.push(String::new());
    }
    assert_eq!(Carried::decode(&carried.encode()), Some(carried));
}

/// Cuts off a part: a byte says how it is to be taken, one how long it is.
pub(super) fn part<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let ([how, length], rest) = bytes.split_first_chunk::<2>()?;
    let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
    *bytes = rest;
    Some((*how, part))
}
