//! The registry as its users see it.

use std::collections::BTreeMap;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, AsRawFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::entry::Source;
use super::registry::{Shared, lock};
use super::signal::DrainSignal;
use super::status::{ConnectionStatus, Kind, Phase};
use crate::drain::departure::Mover;
use crate::drain::stream::Stream;
use crate::handover::moving::Along;

/// All live connections of a server, or of several, and the phase that they are in.
///
/// A handle: clones share everything.
///
/// ```
/// # use heirloom::drain::{Kind, Tracker};
/// # use std::time::Duration;
/// # async fn serve(listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let tracker = Tracker::new();
/// let (stream, _) = listener.accept().await?;
/// let connection = tracker.track(stream, Kind::Raw);
/// tokio::spawn(async move {
///     connection.draining().await;
///     // finish, and close
///     connection.close().await
/// });
/// tracker.begin(Duration::from_secs(5));
/// if tokio::time::timeout(Duration::from_secs(60), tracker.emptied()).await.is_err() {
///     let aborted = tracker.hammer();
///     eprintln!("gave up on {} connections", aborted.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Tracker {
    pub(super) shared: Arc<Shared>,
}

impl Tracker {
    /// A tracker without connections, serving.
    pub fn new() -> Self {
        Tracker { shared: Arc::new(Shared::new()) }
    }

    /// Counts `stream` until the returned connection is dropped.
    ///
    /// Works in every phase: a connection that was accepted while draining is served and told to close
    /// like the others; one that comes after the hammer is aborted at once.
    pub fn track<S: AsFd>(&self, stream: S, kind: Kind) -> Connection<S> {
        let fd = Some(stream.as_fd().as_raw_fd());
        Connection::new(self.shared.insert(kind, Source { fd, listener: 0 }), stream, None)
    }

    /// What a listener of ours has accepted, or been handed.
    pub(crate) fn track_from(
        &self,
        listener: u64,
        stream: Stream,
        handed: Option<Along>,
    ) -> Connection<Stream> {
        let fd = Some(stream.as_fd().as_raw_fd());
        let entry = self.shared.insert(Kind::Raw, Source { fd, listener });
        Connection::new(entry, stream, handed)
    }

    /// From the drain on, connections that can go to the successor.
    pub(crate) fn offer_moves(&self, mover: Mover) {
        self.shared.offer_moves(mover);
    }

    /// There is no successor to go to any more.
    pub(crate) fn withdraw_moves(&self) {
        self.shared.withdraw_moves();
    }

    /// Starts the drain. HTTP connections that are idle, or become so later, are closed when they have
    /// been idle for `idle_linger` from now on.
    ///
    /// Called again it may shorten the linger, and never lengthens it.
    pub fn begin(&self, idle_linger: Duration) {
        self.shared.begin(u64::try_from(idle_linger.as_millis()).unwrap_or(u64::MAX >> 8));
    }

    /// Aborts all that is left, and says what that was. Empty if it has fallen before.
    ///
    /// A connection that has closed its own direction, and only waits for the peer's, ends as well, but is
    /// not among those: it loses nothing.
    ///
    /// Those connections are counted until their tasks have noticed, which they are woken for.
    #[must_use = "what was aborted should be reported"]
    pub fn hammer(&self) -> Vec<ConnectionStatus> {
        self.shared.hammer()
    }

    /// Aborts connections of these kinds alone, whose time is up sooner than that of the others.
    #[must_use = "what was aborted should be reported"]
    pub fn hammer_kinds(&self, kinds: &[Kind]) -> Vec<ConnectionStatus> {
        self.shared.hammer_kinds(kinds)
    }

    /// Where the drain is.
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// How many connections are alive.
    pub fn count(&self) -> usize {
        lock(&self.shared.registry).live
    }

    /// What every live connection is doing. Asks the kernel for each peer's address.
    pub fn snapshot(&self) -> Vec<ConnectionStatus> {
        self.shared.snapshot()
    }

    /// How many connections there are of each kind, and the oldest, whose peer alone is asked for.
    pub(crate) fn census(&self) -> (Vec<(Kind, usize)>, Option<ConnectionStatus>) {
        self.shared.census()
    }

    /// How many connections were to move and stayed, by reason.
    pub(crate) fn unmoved(&self) -> BTreeMap<&'static str, u64> {
        self.shared.unmoved()
    }

    /// Resolves when there is no connection and no [`Hold`]: at once if there is none now.
    ///
    /// Does not start a drain. New connections may come right after. Cancel safe.
    pub async fn emptied(&self) {
        loop {
            let mut emptied = pin!(self.shared.emptied.notified());
            // Listen first, look second: what ends in between is heard.
            emptied.as_mut().enable();
            if lock(&self.shared.registry).is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Makes [`emptied`](Self::emptied) wait for work that is not a connection, until dropped.
    #[must_use = "a hold that is dropped at once holds nothing"]
    pub fn hold(&self) -> Hold {
        self.shared.hold();
        Hold { shared: self.shared.clone() }
    }

    /// Readable, by its end, once draining has begun: for threads that block.
    pub(crate) fn bell(&self) -> io::Result<Arc<PipeReader>> {
        self.shared.bell()
    }

    /// Resolves once draining begins.
    pub fn draining(&self) -> DrainSignal {
        DrainSignal::new(self.shared.clone(), Phase::Draining)
    }

    /// Resolves once the hammer has fallen.
    pub fn hammered(&self) -> DrainSignal {
        DrainSignal::new(self.shared.clone(), Phase::Hammered)
    }

    #[cfg(all(test, feature = "http"))]
    pub(super) fn track_without_fd<S>(&self, stream: S, kind: Kind) -> Connection<S> {
        Connection::new(self.shared.insert(kind, Source::default()), stream, None)
    }

    #[cfg(all(test, feature = "http"))]
    pub(super) fn is_sweeping(&self) -> bool {
        lock(&self.shared.registry).sweeping
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Tracker::new()
    }
}

/// Work that a drain waits for although it has no connection of its own.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.release();
    }
}
