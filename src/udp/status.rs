//! How many flows there are, and what became of datagrams.

use super::older::Older;
use super::sorting::Sorting;
use crate::sys::address::Address;

/// One socket's flows, as one generation knows them; see [`Status::flows`](crate::Status::flows).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowsStatus {
    /// Where the socket is bound.
    pub address: Address,
    /// Whether this generation reads it.
    pub reads: bool,
    /// Datagrams that it has read, for whomever.
    pub received: u64,
    /// Those of them that belonged to nothing that is known, and were given to this generation.
    pub unknown: u64,
    /// Datagrams that it has forwarded to older generations, those that are gone included.
    pub forwarded: u64,
    /// Datagrams for older generations that were dropped, likewise.
    pub dropped: u64,
    /// This generation: `forwarded` are the datagrams that came to it from newer ones, `dropped` the frames
    /// of those that it could not understand.
    pub own: GenerationFlows,
    /// The older ones, oldest first; of those that are gone the last eight.
    pub older: Vec<GenerationFlows>,
}

/// One generation's flows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerationFlows {
    /// Its number.
    pub generation: u64,
    /// Conversations that it has; `None` where the program's own ids say whose a datagram is. How many
    /// connections of [QUIC](crate::quic) an older generation has it says itself, once a second while it
    /// drains; `None` before.
    pub flows: Option<usize>,
    /// Datagrams that were forwarded to it.
    pub forwarded: u64,
    /// Datagrams for it that were dropped: it did not read them in time, or was gone.
    pub dropped: u64,
}

impl GenerationFlows {
    pub(super) fn of(older: &Older, sorting: &Sorting) -> GenerationFlows {
        GenerationFlows {
            generation: older.generation,
            flows: sorting.flows(older.generation).or(older.counted()),
            forwarded: older.outbound.forwarded,
            dropped: older.outbound.dropped,
        }
    }
}
