//! What a protocol with conversations of its own adds to its flows.

use std::fmt;

/// Longest in bytes that it leaves: as many sessions of QUIC as there may be, each as long as it may be.
pub(super) const MOST_LEFT: u64 = 256 << 20;

pub(crate) trait Protocol: fmt::Debug + Send + Sync {
    /// How many conversations this generation has; `None` if that is not known.
    fn conversations(&self) -> Option<usize>;

    /// This generation has stopped to read, and no other has begun: what `give` gets is the next one's, and
    /// not this one's any more.
    fn leave(&self, give: &mut dyn FnMut(&[u8]));

    /// This generation reads from now on, with what the one before has left. Of one that reads again it is
    /// its own, if nobody has it; else it is empty.
    fn arrive(&self, left: &[u8]);
}
