//! How long a connection may be what it is, and what can be said of it: the sweeper's and the reader's view.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Waker;
use std::time::Duration;

use super::entry::{ASKS_WEBSOCKET, Base, Entry, HALF_CLOSED, OVER_TLS, OVERDUE, STREAMS, WORD_BITS, unpack};
use super::registry::Linger;
use super::status::{ConnectionState, ConnectionStatus, Kind};
use crate::sys::socket::peer_of_number;

/// How long a connection may do what it does, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    header: u32,
    keep_alive: u32,
    write: u32,
    half_closed: u32,
}

/// What many connections have in common, and is written down once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) limits: Option<Limits>,
    /// The cookie of the listening socket that they came from; 0 if it is none of heirloom's.
    pub(super) listener: u64,
}

impl Entry {
    /// When it becomes overdue as things stand, in the tracker's milliseconds. If it is by now, that is
    /// noted, and its tasks are added to `woken`.
    pub(super) fn sweep(
        &self,
        now: u64,
        slack: u64,
        linger: Option<Linger>,
        known: &[Terms],
        woken: &mut Vec<Waker>,
    ) -> Option<u64> {
        let word = self.activity.load(Relaxed);
        let (since, stage) = unpack(word);
        let kind = self.kind();
        let limits = usize::from(self.terms.load(Relaxed)).checked_sub(1).and_then(|at| known[at].limits);
        let idle = match kind {
            Kind::Http1 | Kind::Stream => {
                matches!(stage.base, Base::Fresh | Base::Idle) && !self.is_uploading()
            }
            Kind::Http2 => self.streams.load(Relaxed) == 0,
            Kind::Raw | Kind::Upgraded | Kind::WebSocket => false,
        };
        let limit = if stage.base == Base::Closing {
            Some(since + CLOSING_LIMIT)
        } else if let (true, Some(linger)) = (idle, linger) {
            Some(linger.due(since))
        } else if idle {
            limits.and_then(|l| after(since, l.keep_alive))
        } else if kind == Kind::Http1 && stage.base == Base::Head {
            limits.and_then(|l| after(since, l.header))
        } else {
            None
        };
        let blocked_word = self.blocked.load(Relaxed);
        let blocked = match (kind, blocked_word) {
            (Kind::Raw | Kind::Upgraded, _) | (_, 0) => None,
            (_, word) => limits.and_then(|l| {
                let limit = if word & HALF_CLOSED != 0 { l.half_closed } else { l.write };
                after(word >> WORD_BITS, limit)
            }),
        };
        // `slack`: the stage may be younger than its time says, by as much as the clock is coarse.
        let (limit, blocked) = (limit.map(|due| due + slack), blocked.map(|due| due + slack));
        let mut wake = limit.is_some_and(|due| now >= due) && mark(&self.activity, word);
        wake |= blocked.is_some_and(|due| now >= due) && mark(&self.blocked, blocked_word);
        if wake {
            woken.extend(self.wakers());
        }
        // One that was found overdue already stays for its task to end.
        limit.into_iter().chain(blocked).filter(|due| now < *due).min()
    }

    /// What is spoken on it, for those who are told of it, and whether that is over TLS.
    pub(super) fn told_kind(&self) -> (Kind, bool) {
        let bits = self.kind.load(Relaxed);
        let is_in_request =
            !matches!(self.stage().base, Base::Fresh | Base::Head | Base::Idle | Base::Closing);
        let kind = match self.kind() {
            Kind::Upgraded if bits & ASKS_WEBSOCKET != 0 => Kind::WebSocket,
            Kind::Http1 if bits & STREAMS != 0 && is_in_request => Kind::Stream,
            kind => kind,
        };
        (kind, bits & OVER_TLS != 0)
    }

    /// With the registry locked, so that `fd` is open.
    pub(super) fn status(&self, now: u64) -> ConnectionStatus {
        let (since, stage) = unpack(self.activity.load(Relaxed));
        let (kind, tls) = self.told_kind();
        let state = match (kind, stage.base) {
            (_, Base::Closing) => ConnectionState::Closing,
            (_, Base::Moving) => ConnectionState::Moving,
            (Kind::Http2, _) if self.streams.load(Relaxed) == 0 => ConnectionState::Idle,
            (Kind::Http2 | Kind::Upgraded | Kind::WebSocket, _) => ConnectionState::Busy,
            (_, Base::Fresh) => ConnectionState::Fresh,
            (_, Base::Head) => ConnectionState::ReadingHead,
            (_, Base::Idle) if !self.is_uploading() => ConnectionState::Idle,
            (_, Base::Idle | Base::Busy | Base::Flushing | Base::Finishing) => ConnectionState::Busy,
        };
        ConnectionStatus {
            id: self.id,
            kind,
            tls,
            state,
            age: Duration::from_millis(now.saturating_sub(self.opened)),
            in_state: Duration::from_millis(now.saturating_sub(since)),
            peer: self.fd().and_then(peer_of_number),
        }
    }
}

impl Limits {
    /// `None` is no limit.
    pub(crate) fn new(
        header: Option<Duration>,
        keep_alive: Option<Duration>,
        write: Option<Duration>,
        half_closed: Option<Duration>,
    ) -> Self {
        let millis = |limit: Option<Duration>| {
            limit.map_or(NO_LIMIT, |l| u32::try_from(l.as_millis()).unwrap_or(NO_LIMIT))
        };
        Limits {
            header: millis(header),
            keep_alive: millis(keep_alive),
            write: millis(write),
            half_closed: millis(half_closed),
        }
    }

    pub(super) fn shortest(&self) -> u64 {
        // None at all is for hyper to see to.
        let half_closed = if self.half_closed == 0 { NO_LIMIT } else { self.half_closed };
        self.header.min(self.keep_alive).min(self.write).min(half_closed).into()
    }
}

/// Whether it is news.
fn mark(word: &AtomicU64, judged: u64) -> bool {
    judged & OVERDUE == 0 && word.compare_exchange(judged, judged | OVERDUE, Relaxed, Relaxed).is_ok()
}

fn after(since: u64, limit: u32) -> Option<u64> {
    (limit != NO_LIMIT).then(|| since + u64::from(limit))
}

/// 49 days: who sets more wants no limit.
const NO_LIMIT: u32 = u32::MAX;

/// How long a close waits for the peer's own. It must cover a slow link's round trip; longer would hold
/// up the end of a drain for clients that never close.
pub(super) const CLOSING_LIMIT: u64 = 2_000;
