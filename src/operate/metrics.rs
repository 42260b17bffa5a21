//! What happens as numbers, through the [`metrics`](https://docs.rs/metrics) facade: install a recorder
//! (Prometheus, statsd, OpenTelemetry) as the program would anyway.
//!
//! | name | kind | what | who records it |
//! |---|---|---|---|
//! | `heirloom_generation` | gauge | from 1 | each process, when it accepts |
//! | `heirloom_restarts_total{outcome="settled"}` | counter | restarts that came to an end, since the first generation | each process, when it accepts |
//! | `heirloom_restarts_total{outcome="failed"}` | counter | successors that were never ready | the process that serves on |
//! | `heirloom_restarts_total{outcome="taken_back"}` | counter | successors that were lost after they were ready | the process that serves on |
//! | `heirloom_restarts_total{outcome="refused"}` | counter | requests for a restart that were refused | the process that was asked |
//! | `heirloom_start_seconds` | gauge | from this process's start with heirloom until it accepted | each process |
//! | `heirloom_restart_ready_seconds` | histogram | from the request until the successor was ready | the predecessor |
//! | `heirloom_restart_settled_seconds` | histogram | from the request until it was settled | the predecessor |
//! | `heirloom_drain_seconds` | histogram | from the beginning of the drain to the last connection's end | the process that drains |
//! | `heirloom_connections` | gauge | connections open; once a second | each process |
//! | `heirloom_connections_moved_total` | counter | connections that went on in the successor | the predecessor |
//! | `heirloom_connections_moved_by_kind_total{kind=..}` | counter | the same, by what was spoken: `raw`, `http1`, `websocket`, `stream`, each with `+tls` behind it over TLS | the predecessor |
//! | `heirloom_connections_unmoved_total{reason=..}` | counter | connections that were to move and stayed, by [reason](crate::control::GenerationDetail::unmoved) | the predecessor, at its end |
//! | `heirloom_connections_aborted_total` | counter | connections on which the hammer fell | the process that drains |
//! | `heirloom_flows{generation=..}` | gauge | conversations over datagram sockets (`udp::Flows`, QUIC) by the generation that has them; once a second | each process of its own, and the one that reads of older ones; connections of QUIC as those last said, at most a second before |
//! | `heirloom_datagrams_forwarded_total`, `heirloom_datagrams_dropped_total` | counter | datagrams that went to older generations, or were to and were dropped; once a second | the process that reads |
//! | `heirloom_datagrams_unknown_total` | counter | datagrams that belonged to nothing that is known; once a second | the process that reads |
//!
//! **Which process is asked.** Every generation has a recorder of its own. One that *pushes* (statsd,
//! OpenTelemetry) gets all of it. One that is *scraped* is asked through the listening socket, so the process
//! that serves is asked: the successor. That is why `outcome="settled"` does not count in the process that
//! made the restart, but is the generation's number less one, told by each new process: across any number of
//! generations it only grows. What a predecessor knows of its own end (the histograms of ready, settled and
//! drain, moved and aborted) reaches no scraper, unless the predecessor listens for it on a port of its own
//! until it ends; [`Restarter::events`](crate::Restarter::events) has the same for a log.
//!
//! **A supervisor** lives as long as the service, so it is the one to scrape for what became of its workers.
//! It records what follows once a recorder is installed in it: in `main` before `Supervisor::run`, or in a
//! `Supervisor::started` hook, which runs on its tokio runtime and so can serve an exporter. `heirloom run`
//! has no recorder; `heirloom status --json` has these figures there as everywhere.
//!
//! | name | kind | what |
//! |---|---|---|
//! | `heirloom_supervisor_generation` | gauge | of the worker that serves, from 1 |
//! | `heirloom_supervisor_restarts_total{outcome="settled"}`, `"failed"`, `"taken_back"`, `"refused"` | counter | restarts; failed ones among them are attempts to replace a dead worker, too |
//! | `heirloom_supervisor_respawns_total` | counter | workers that had died, or left by themselves, and were replaced |
//! | `heirloom_supervisor_restart_ready_seconds` | histogram | from the request until the new worker was ready |
//! | `heirloom_supervisor_restart_settled_seconds` | histogram | from the request until it was settled |
//! | `heirloom_supervisor_drain_seconds` | histogram | how long a worker that was told to stop drained, as it reports; for one that does not report, until it was gone |
//! | `heirloom_supervisor_connections_moved_total` | counter | connections that went on in another worker, as its predecessor tells |
//! | `heirloom_supervisor_connections_moved_by_kind_total{kind=..}`, `heirloom_supervisor_connections_unmoved_total{reason=..}` | counter | the same by what was spoken, and those that were to move and stayed by reason, as the workers tell them |
//! | `heirloom_supervisor_connections_aborted_total` | counter | connections on which a worker's hammer fell, as it tells |

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::operate::event::Event;

/// Feeds the recorder. A recorder that panics is none of the driver's business.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    draining: Mutex<Option<Instant>>,
    /// When to count the connections next: from the first accept on.
    due: Mutex<Option<Instant>>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics { started: Instant::now(), draining: Mutex::new(None), due: Mutex::new(None) }
    }
}

impl Metrics {
    pub(crate) fn observe(&self, event: &Event) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.record(event)));
    }

    pub(crate) fn moved(&self, spoken: &[&'static str]) {
        let _ = catch_unwind(|| {
            counter!(MOVED).increment(number(spoken.len()));
            for kind in spoken {
                counter!(MOVED_BY_KIND, "kind" => *kind).increment(1);
            }
        });
    }

    /// When [`sample`](Self::sample) is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        *lock(&self.due)
    }

    /// Counts the connections, if that is due.
    pub(crate) fn sample(&self, now: Instant, connections: impl FnOnce() -> usize) -> bool {
        let mut due = lock(&self.due);
        if due.take_if(|due| now >= *due).is_some() {
            *due = now.checked_add(SAMPLE);
            let open = number(connections()) as f64;
            let _ = catch_unwind(|| gauge!(OPEN).set(open));
            return true;
        }
        false
    }

    /// Counts what becomes of datagrams.
    #[cfg(feature = "udp")]
    pub(crate) fn flows(&self, all: &[crate::udp::FlowsStatus]) {
        let _ = catch_unwind(|| {
            let mut flows = std::collections::BTreeMap::<u64, usize>::new();
            for status in all {
                let older = status.older.iter().filter(|_| status.reads);
                for generation in std::iter::once(&status.own).chain(older) {
                    let Some(count) = generation.flows else { continue };
                    *flows.entry(generation.generation).or_default() += count;
                }
            }
            for (generation, flows) in flows {
                gauge!(FLOWS, "generation" => generation.to_string()).set(flows as f64);
            }
            let sum = |of: fn(&crate::udp::FlowsStatus) -> u64| all.iter().map(of).sum::<u64>();
            counter!(FORWARDED).absolute(sum(|status| status.forwarded));
            counter!(DROPPED).absolute(sum(|status| status.dropped));
            counter!(UNKNOWN).absolute(sum(|status| status.unknown));
        });
    }

    fn record(&self, event: &Event) {
        match event {
            Event::Accepting { generation } => {
                describe();
                gauge!(GENERATION).set(*generation as f64);
                counter!(RESTARTS, "outcome" => "settled").absolute(generation - 1);
                gauge!(START).set(self.started.elapsed());
                *lock(&self.due) = Some(Instant::now());
            }
            Event::Refused(_) => counter!(RESTARTS, "outcome" => "refused").increment(1),
            Event::Failed(_) => counter!(RESTARTS, "outcome" => "failed").increment(1),
            Event::TakenBack(_) => counter!(RESTARTS, "outcome" => "taken_back").increment(1),
            Event::Ready { after, .. } => histogram!(READY).record(*after),
            Event::Settled { after, .. } => histogram!(SETTLED).record(*after),
            Event::Draining { .. } => *lock(&self.draining) = Some(Instant::now()),
            Event::Hammered { aborted } => counter!(ABORTED).increment(number(*aborted)),
            Event::Moved { unmoved, .. } => {
                for (why, count) in unmoved {
                    counter!(UNMOVED, "reason" => *why).increment(*count);
                }
            }
            Event::Ended { .. } => {
                if let Some(began) = lock(&self.draining).take() {
                    histogram!(DRAIN).record(began.elapsed());
                }
            }
            _ => {}
        }
    }
}

/// Each value is whole before anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the connections are counted. A counter of each that comes and goes would be a cost on every
/// connection; nobody scrapes more often.
const SAMPLE: Duration = Duration::from_secs(1);

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Said when this process accepts: by then the program has installed its recorder, if it ever does.
fn describe() {
    describe_gauge!(GENERATION, "Generation of this process, from 1");
    describe_counter!(RESTARTS, "Restarts by outcome");
    describe_gauge!(START, Unit::Seconds, "From this process's start until it accepted");
    describe_histogram!(READY, Unit::Seconds, "From a request until the successor was ready");
    describe_histogram!(SETTLED, Unit::Seconds, "From a request until the successor was settled");
    describe_histogram!(
        DRAIN,
        Unit::Seconds,
        "From the beginning of the drain to the end of the last connection"
    );
    describe_gauge!(OPEN, "Connections open");
    describe_counter!(MOVED, "Connections that went on in the successor");
    describe_counter!(MOVED_BY_KIND, "Connections that went on in the successor, by what was spoken");
    describe_counter!(UNMOVED, "Connections that were to move and stayed, by reason");
    describe_counter!(ABORTED, "Connections on which the hammer fell");
    #[cfg(feature = "udp")]
    {
        describe_gauge!(FLOWS, "Conversations over datagram sockets by generation");
        describe_counter!(FORWARDED, "Datagrams that were forwarded to older generations");
        describe_counter!(DROPPED, "Datagrams for older generations that were dropped");
        describe_counter!(UNKNOWN, "Datagrams that belonged to nothing that is known");
    }
}

const GENERATION: &str = "heirloom_generation";
const RESTARTS: &str = "heirloom_restarts_total";
const START: &str = "heirloom_start_seconds";
const READY: &str = "heirloom_restart_ready_seconds";
const SETTLED: &str = "heirloom_restart_settled_seconds";
const DRAIN: &str = "heirloom_drain_seconds";
const OPEN: &str = "heirloom_connections";
const MOVED: &str = "heirloom_connections_moved_total";
const MOVED_BY_KIND: &str = "heirloom_connections_moved_by_kind_total";
const UNMOVED: &str = "heirloom_connections_unmoved_total";
const ABORTED: &str = "heirloom_connections_aborted_total";
#[cfg(feature = "udp")]
const FLOWS: &str = "heirloom_flows";
#[cfg(feature = "udp")]
const FORWARDED: &str = "heirloom_datagrams_forwarded_total";
#[cfg(feature = "udp")]
const DROPPED: &str = "heirloom_datagrams_dropped_total";
#[cfg(feature = "udp")]
const UNKNOWN: &str = "heirloom_datagrams_unknown_total";
