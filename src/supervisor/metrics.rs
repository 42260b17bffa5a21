//! What a supervisor counts, for a recorder of metrics. Without the feature `metrics` there is none, and
//! nothing is counted here; `status` has the figures all the same.

use std::time::Duration;

use crate::handover::history::FailureKind;
use crate::handover::moves::Moves;
use crate::handover::supervise::Worker;

/// Something to count.
#[cfg_attr(not(feature = "metrics"), expect(dead_code, reason = "what nobody is there to count"))]
pub(super) enum Figure {
    /// The worker of a restart is ready, so long after the request.
    Ready(Duration),
    /// It is the service.
    Settled { worker: Worker, after: Duration },
    /// A worker is the service that was started without a restart: the first, or in the place of a dead one.
    Serves { worker: Worker, replaces_a_dead_one: bool },
    /// A restart failed.
    Lost(FailureKind),
    /// A worker tells what became of its connections.
    Connections { moved: u64, aborted: u64, moves: Moves },
    /// A worker that was told to stop has gone, so long after that or after the beginning of its drain.
    Drained(Duration),
}

#[cfg(not(feature = "metrics"))]
pub(super) fn describe() {}

#[cfg(not(feature = "metrics"))]
pub(super) fn record(_: Figure) {}

#[cfg(feature = "metrics")]
pub(super) use recorded::{describe, record};

#[cfg(feature = "metrics")]
mod recorded {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

    use super::{FailureKind, Figure};

    /// Says what there will be, and that nothing of it has happened yet: an increase from nothing is none to
    /// a scraper.
    pub(in crate::supervisor) fn describe() {
        guarded(|| {
            describe_gauge!(GENERATION, "Generation of the worker that serves, from 1");
            describe_counter!(RESTARTS, "Restarts by outcome");
            describe_counter!(RESPAWNS, "Workers that had died, or left, and were replaced");
            describe_histogram!(READY, Unit::Seconds, "From a request until the new worker was ready");
            describe_histogram!(SETTLED, Unit::Seconds, "From a request until the new worker was settled");
            describe_histogram!(DRAIN, Unit::Seconds, "How long a worker took to go");
            describe_counter!(MOVED, "Connections that moved from worker to worker");
            describe_counter!(
                MOVED_BY_KIND,
                "Connections that moved from worker to worker, by what was spoken"
            );
            describe_counter!(UNMOVED, "Connections that were to move and stayed, by reason");
            describe_counter!(ABORTED, "Connections on which a worker's hammer fell");
            for outcome in ["settled", "failed", "taken_back", "refused"] {
                counter!(RESTARTS, "outcome" => outcome).increment(0);
            }
            for name in [RESPAWNS, MOVED, ABORTED] {
                counter!(name).increment(0);
            }
        });
    }

    pub(in crate::supervisor) fn record(figure: Figure) {
        guarded(|| match figure {
            Figure::Ready(after) => histogram!(READY).record(after),
            Figure::Settled { worker, after } => {
                counter!(RESTARTS, "outcome" => "settled").increment(1);
                histogram!(SETTLED).record(after);
                gauge!(GENERATION).set(worker as f64);
            }
            Figure::Serves { worker, replaces_a_dead_one } => {
                counter!(RESPAWNS).increment(u64::from(replaces_a_dead_one));
                gauge!(GENERATION).set(worker as f64);
            }
            Figure::Lost(kind) => {
                let outcome = match kind {
                    FailureKind::Failed => "failed",
                    FailureKind::TakenBack => "taken_back",
                    FailureKind::Refused => "refused",
                };
                counter!(RESTARTS, "outcome" => outcome).increment(1);
            }
            Figure::Connections { moved, aborted, moves } => {
                counter!(MOVED).increment(moved);
                counter!(ABORTED).increment(aborted);
                for (kind, count) in moves.moved {
                    counter!(MOVED_BY_KIND, "kind" => kind).increment(count);
                }
                for (why, count) in moves.unmoved {
                    counter!(UNMOVED, "reason" => why).increment(count);
                }
            }
            Figure::Drained(took) => histogram!(DRAIN).record(took),
        });
    }

    /// A recorder that panics is none of the driver's business.
    fn guarded(what: impl FnOnce()) {
        let _ = catch_unwind(AssertUnwindSafe(what));
    }

    // Names of their own: where workers push to the same place, nothing is counted twice.
    const GENERATION: &str = "heirloom_supervisor_generation";
    const RESTARTS: &str = "heirloom_supervisor_restarts_total";
    const RESPAWNS: &str = "heirloom_supervisor_respawns_total";
    const READY: &str = "heirloom_supervisor_restart_ready_seconds";
    const SETTLED: &str = "heirloom_supervisor_restart_settled_seconds";
    const DRAIN: &str = "heirloom_supervisor_drain_seconds";
    const MOVED: &str = "heirloom_supervisor_connections_moved_total";
    const MOVED_BY_KIND: &str = "heirloom_supervisor_connections_moved_by_kind_total";
    const UNMOVED: &str = "heirloom_supervisor_connections_unmoved_total";
    const ABORTED: &str = "heirloom_supervisor_connections_aborted_total";
}
