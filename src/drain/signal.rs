//! A future that a framework can keep: it resolves when the drain, or the hammer, begins.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::sync::futures::OwnedNotified;

use super::registry::Shared;
use super::status::Phase;

pin_project! {
    /// Resolves once its tracker is draining (or hammered, if that was asked for).
    ///
    /// Owned, `'static` and `Clone`: what axum's `with_graceful_shutdown` and its like take. Polled
    /// again after it resolved it resolves again. Dropping it is free.
    #[must_use = "futures do nothing unless polled"]
    pub struct DrainSignal {
        shared: Arc<Shared>,
        awaited: Phase,
        // And that nothing is lent any more.
        behind_loans: bool,
        #[pin]
        change: OwnedNotified,
    }
}

impl DrainSignal {
    pub(super) fn new(shared: Arc<Shared>, awaited: Phase) -> Self {
        let change = shared.phase_changed.clone().notified_owned();
        DrainSignal { shared, awaited, behind_loans: false, change }
    }

    pub(super) fn behind_loans(shared: Arc<Shared>) -> Self {
        DrainSignal { behind_loans: true, ..DrainSignal::new(shared, Phase::Draining) }
    }

    /// A session of its tracker's was to go to the successor, and stays.
    #[cfg(feature = "http")]
    pub(crate) fn could_not_move(&self, why: &'static str) {
        self.shared.could_not_move(why);
    }

    /// Whether it would resolve now.
    pub fn is_raised(&self) -> bool {
        is_raised(&self.shared, self.awaited, self.behind_loans)
    }
}

impl Future for DrainSignal {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        // The phase is looked at after `change` was made: a change between the two is in `change`.
        while !is_raised(this.shared, *this.awaited, *this.behind_loans) {
            if this.change.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.change.set(this.shared.phase_changed.clone().notified_owned());
        }
        Poll::Ready(())
    }
}

fn is_raised(shared: &Shared, awaited: Phase, behind_loans: bool) -> bool {
    let phase = shared.phase();
    phase >= awaited && (!behind_loans || phase == Phase::Hammered || shared.is_let_go())
}

impl Clone for DrainSignal {
    fn clone(&self) -> Self {
        DrainSignal { behind_loans: self.behind_loans, ..DrainSignal::new(self.shared.clone(), self.awaited) }
    }
}

impl fmt::Debug for DrainSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainSignal")
            .field("awaited", &self.awaited)
            .field("raised", &self.is_raised())
            .finish()
    }
}
