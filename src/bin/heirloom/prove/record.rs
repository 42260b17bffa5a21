//! What the clients have seen, with its time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clients::Kind;
use super::wire::Trouble;

/// Written by all clients, read at the end.
#[derive(Debug, Default)]
pub(super) struct Record {
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) exchanges: Vec<Exchange>,
    pub(super) lost: Vec<Lost>,
    pub(super) found_closed: Vec<FoundClosed>,
    pub(super) counts: BTreeMap<Kind, Counts>,
    /// Why a client could not do its part, for which the server is not to blame.
    pub(super) hitch: Option<String>,
}

/// One that went well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange {
    pub(super) kind: Kind,
    pub(super) began: Instant,
    pub(super) took: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Lost {
    pub(super) kind: Kind,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) trouble: Trouble,
}

/// A connection that was closed when its client looked before a request: no loss, but one to be made anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct FoundClosed {
    pub(super) kind: Kind,
    pub(super) local: Option<SocketAddr>,
    pub(super) opened: Instant,
    pub(super) found: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) good: u64,
    pub(super) lost: u64,
    /// How many were found closed, and made anew.
    pub(super) reconnects: u64,
    /// Connections that the server said it would close.
    pub(super) told: u64,
    /// What was the client's own trouble: no port was free, say.
    pub(super) hitches: u64,
}

impl Record {
    pub(super) fn good(&self, exchange: Exchange) {
        let mut seen = self.lock();
        seen.counts.entry(exchange.kind).or_default().good += 1;
        if seen.exchanges.len() < MOST_EXCHANGES {
            seen.exchanges.push(exchange);
        }
    }

    pub(super) fn lost(&self, lost: Lost) {
        let mut seen = self.lock();
        seen.counts.entry(lost.kind).or_default().lost += 1;
        if seen.lost.len() < MOST_LOST {
            seen.lost.push(lost);
        }
    }

    pub(super) fn reconnected(&self, closed: FoundClosed) {
        let mut seen = self.lock();
        seen.counts.entry(closed.kind).or_default().reconnects += 1;
        if seen.found_closed.len() < MOST_LOST {
            seen.found_closed.push(closed);
        }
    }

    pub(super) fn told(&self, kind: Kind) {
        self.lock().counts.entry(kind).or_default().told += 1;
    }

    pub(super) fn hitch(&self, kind: Kind, why: String) {
        let mut seen = self.lock();
        seen.counts.entry(kind).or_default().hitches += 1;
        seen.hitch.get_or_insert(why);
    }

    /// Exchanges that went well, and that did not.
    pub(super) fn totals(&self) -> (u64, u64) {
        let seen = self.lock();
        seen.counts.values().fold((0, 0), |sum, counts| (sum.0 + counts.good, sum.1 + counts.lost))
    }

    pub(super) fn take(&self) -> Seen {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        // What a client that panicked has written before is as true as the rest.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of which the times are kept, in some hundred megabytes: an hour's, with the usual number of clients. All
/// are counted.
const MOST_EXCHANGES: usize = 4_000_000;

/// Likewise: who loses as many knows enough.
const MOST_LOST: usize = 100_000;
