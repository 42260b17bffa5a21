//! What follows the service from outside the process: the service manager, and a recorder of metrics. Without
//! their features there is nobody, and everything here does nothing.
#![cfg_attr(
    not(all(feature = "systemd", feature = "metrics")),
    allow(unused_variables, reason = "what nobody is there to hear")
)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
#[cfg(feature = "systemd")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::operate::event::Event;

/// A listener, as the service manager keeps it.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "systemd"), allow(dead_code, reason = "nobody keeps it"))]
pub(crate) struct Kept {
    /// Unlike that of every other, and enough to find it again.
    pub(crate) name: String,
    pub(crate) fd: Arc<OwnedFd>,
}

/// Those who are told what happens to the service.
#[derive(Debug, Default)]
pub(crate) struct Service {
    #[cfg(feature = "systemd")]
    pub(crate) systemd: Option<Mutex<super::systemd::Generation>>,
    #[cfg(feature = "metrics")]
    pub(crate) metrics: super::metrics::Metrics,
}

impl Service {
    /// Whether the service manager hears of another main process, so that this one may end after a restart.
    pub(crate) fn follows_restarts(&self) -> bool {
        #[cfg(feature = "systemd")]
        return self.systemd.is_some();
        #[cfg(not(feature = "systemd"))]
        false
    }

    pub(crate) fn observe(&self, event: &Event) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.observe(event));
        #[cfg(feature = "metrics")]
        self.metrics.observe(event);
    }

    /// This process is the service, with these listeners; `is_known`: the predecessor has said so.
    pub(crate) fn announce_own(&self, listeners: &[Kept], is_known: bool) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.announce_own(listeners, is_known));
    }

    /// In a supervisor: something that happened to its workers, of which it counts what it sees by itself.
    #[cfg(feature = "supervisor")]
    pub(crate) fn worker_observed(&self, event: &Event) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.observe(event));
    }

    /// In a supervisor, which stays the main process: this worker is the service now.
    #[cfg(feature = "supervisor")]
    pub(crate) fn worker_settled(&self, number: u64, listeners: &[Kept]) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.worker_settled(number, listeners));
    }

    /// The successor is, with all listeners but `late`; `None` if nobody needs time to hear of it.
    pub(crate) fn announce_successor(&self, pid: u32, late: &[Kept]) -> Option<oneshot::Receiver<()>> {
        #[cfg(feature = "systemd")]
        return self.systemd().map(|mut systemd| systemd.announce_successor(pid, late));
        #[cfg(not(feature = "systemd"))]
        None
    }

    /// The successor that became the service ended so, in a way that no service ends on purpose.
    pub(crate) fn successor_crashed(&self, how: &str) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.successor_crashed(how));
    }

    /// These connections went on in the successor: what was spoken on each.
    pub(crate) fn moved(&self, spoken: &[&'static str]) {
        #[cfg(feature = "metrics")]
        self.metrics.moved(spoken);
    }

    /// When [`sample`](Self::sample) is due.
    pub(crate) fn next_sample(&self) -> Option<Instant> {
        #[cfg(feature = "metrics")]
        return self.metrics.due();
        #[cfg(not(feature = "metrics"))]
        None
    }

    /// Counts connections if that is due, and says whether it was.
    #[cfg(feature = "metrics")]
    pub(crate) fn sample(&self, now: Instant, connections: impl FnOnce() -> usize) -> bool {
        self.metrics.sample(now, connections)
    }

    /// Nobody counts connections.
    #[cfg(not(feature = "metrics"))]
    pub(crate) fn sample(&self, _now: Instant, _connections: impl FnOnce() -> usize) -> bool {
        false
    }

    /// What becomes of datagrams, when the connections were counted.
    #[cfg(feature = "udp")]
    pub(crate) fn flows(&self, all: &[crate::udp::FlowsStatus]) {
        #[cfg(feature = "metrics")]
        self.metrics.flows(all);
    }

    /// A listener was opened.
    pub(crate) fn opened(&self, listener: &Kept) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.opened(listener));
    }

    /// No generation accepts from it any more.
    pub(crate) fn closed(&self, listener: &Kept) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.closed(listener));
    }

    /// Its accept loop is gone, or never was.
    pub(crate) fn dropped(&self, listener: &Kept) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.dropped(listener));
    }

    /// What the service manager keeps under this name is not wanted.
    pub(crate) fn unwanted(&self, name: String) {
        #[cfg(feature = "systemd")]
        self.tell(|systemd| systemd.unwanted(name));
    }

    /// Waits until the service manager has let go of what is unwanted: a few milliseconds, or bounded if it
    /// hangs.
    pub(crate) fn wait(&self) {
        #[cfg(feature = "systemd")]
        if let Some(notifier) = self.systemd().map(|systemd| systemd.notifier()) {
            notifier.wait();
        }
    }

    /// Waits until the service manager has been sent what was told: before the process ends.
    pub(crate) fn flush(&self) {
        #[cfg(feature = "systemd")]
        if let Some(notifier) = self.systemd().map(|systemd| systemd.notifier()) {
            notifier.flush();
        }
    }

    #[cfg(feature = "systemd")]
    fn tell(&self, what: impl FnOnce(&mut super::systemd::Generation)) {
        if let Some(mut systemd) = self.systemd() {
            what(&mut systemd);
        }
    }

    /// Every update is whole before anything that can panic.
    #[cfg(feature = "systemd")]
    fn systemd(&self) -> Option<MutexGuard<'_, super::systemd::Generation>> {
        Some(self.systemd.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
