//! What is lent to accept loops and servers that are not heirloom's, counted: they are told to end when
//! heirloom has taken it out from under them, and not before.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "http")]
use super::entry::Entry;
use super::registry::{Shared, lock};
use super::signal::DrainSignal;
use super::status::Phase;
use super::tracker::Tracker;

/// How much is lent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Loans {
    /// Listeners, and connections that heirloom takes back by itself.
    ours: usize,
    /// Connections that only their server can end.
    theirs: usize,
    /// These have waited for the others for long enough.
    is_time: bool,
    /// Something was lent, now or before.
    is_known: bool,
}

/// A listener or a connection that is lent, until dropped.
#[derive(Debug)]
pub(crate) struct Lending {
    shared: Arc<Shared>,
    is_theirs: bool,
}

impl Loans {
    pub(super) fn is_let_go(self) -> bool {
        self.ours == 0 || self.is_time && self.theirs > 0
    }

    fn count(&mut self, is_theirs: bool) -> &mut usize {
        if is_theirs { &mut self.theirs } else { &mut self.ours }
    }
}

impl Tracker {
    pub(crate) fn lend(&self) -> Lending {
        Lending::new(self.shared.clone())
    }

    /// Resolves once draining has begun and heirloom has taken back what it has lent: then there is nothing
    /// left that a server could close to its clients' loss.
    pub(crate) fn let_go(&self) -> DrainSignal {
        DrainSignal::behind_loans(self.shared.clone())
    }

    /// Whether something is or was lent.
    pub(crate) fn has_lent(&self) -> bool {
        lock(&self.shared.registry).loans.is_known
    }

    /// Called when draining has begun: after the idle linger, servers with connections that only they can end
    /// are told, whatever else is left.
    pub(crate) async fn loans_run_out(&self) {
        let linger = lock(&self.shared.registry).linger.map_or(Duration::ZERO, |linger| linger.length());
        tokio::time::sleep(linger).await;
        self.shared.change_loans(|loans| loans.is_time = true);
    }
}

impl Lending {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.change_loans(|loans| {
            loans.ours += 1;
            loans.is_known = true;
        });
        Lending { shared, is_theirs: false }
    }

    /// From now on only its server can end it.
    pub(crate) fn is_theirs(&mut self) {
        if !std::mem::replace(&mut self.is_theirs, true) {
            self.shared.change_loans(|loans| {
                loans.ours -= 1;
                loans.theirs += 1;
            });
        }
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        self.shared.change_loans(|loans| *loans.count(self.is_theirs) -= 1);
    }
}

#[cfg(feature = "http")]
impl Entry {
    pub(crate) fn lend(&self) -> Lending {
        Lending::new(self.shared.clone())
    }
}

impl Shared {
    fn change_loans(&self, change: impl FnOnce(&mut Loans)) {
        let mut registry = lock(&self.registry);
        change(&mut registry.loans);
        if self.phase() != Phase::Serving && registry.loans.is_let_go() {
            self.phase_changed.notify_waiters();
        }
    }

    pub(super) fn is_let_go(&self) -> bool {
        lock(&self.registry).loans.is_let_go()
    }
}
