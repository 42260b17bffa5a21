//! What a load saw: counts by kind, latencies, and who answered.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// Why a request has no good answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The connection was not accepted.
    Refused,
    /// Reset, before any byte of the answer.
    Reset,
    /// Closed in good order, before any byte of the answer.
    Empty,
    /// Closed or reset within the answer.
    CutOff,
    /// No complete answer in time.
    TimedOut,
    /// Not `200`, not HTTP, or bytes nobody asked for.
    BadAnswer,
    /// A complete answer with a body that this path does not have.
    WrongBody,
    /// The client's own machine said no (ports or descriptors used up); counted so that it cannot hide.
    Local,
}

impl Failure {
    pub const ALL: [Failure; 8] = [
        Failure::Refused,
        Failure::Reset,
        Failure::Empty,
        Failure::CutOff,
        Failure::TimedOut,
        Failure::BadAnswer,
        Failure::WrongBody,
        Failure::Local,
    ];
}

/// The outcome of a load. `Display` is one row under [`Report::HEADER`].
#[derive(Clone, Debug)]
pub struct Report {
    name: String,
    /// Requests that ended, well or badly.
    pub requests: u64,
    /// Connections whose FIN had already arrived when the client looked: reopened, not failed.
    pub reconnects: u64,
    /// Answers with `Connection: close`, obeyed.
    pub told_to_close: u64,
    /// How often each body was answered.
    pub bodies: BTreeMap<String, u64>,
    /// The first failures in words, with the time since the start.
    pub samples: Vec<String>,
    failures: [u64; Failure::ALL.len()],
    latencies: Histogram,
    started: Instant,
    took: Option<Duration>,
}

impl Report {
    pub const HEADER: &str = "load                        requests  failed | refused reset empty cut-off \
        timeout bad wrong local | reconnect told-close |  req/s  p50 ms  p99 ms  max ms";

    pub(super) fn new(name: String) -> Report {
        Report {
            name,
            requests: 0,
            reconnects: 0,
            told_to_close: 0,
            bodies: BTreeMap::new(),
            samples: Vec::new(),
            failures: [0; Failure::ALL.len()],
            latencies: Histogram::default(),
            started: Instant::now(),
            took: None,
        }
    }

    /// Requests without a good answer.
    pub fn failed(&self) -> u64 {
        self.failures.iter().sum()
    }

    pub fn count(&self, kind: Failure) -> u64 {
        self.failures[kind as usize]
    }

    /// The latency that `share` (0 to 1) of the good answers did not exceed, to 3 %.
    pub fn latency(&self, share: f64) -> Duration {
        self.latencies.quantile(share)
    }

    pub fn slowest(&self) -> Duration {
        Duration::from_micros(self.latencies.max)
    }

    /// # Panics
    /// With the whole report, if any request failed.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        self.assert_lost_at_most(0);
    }

    /// For when a process was killed: what it held, one request a client, may be lost; but nothing may be
    /// refused, go unanswered, or be answered wrongly.
    ///
    /// # Panics
    /// With the whole report, if more than that failed.
    #[track_caller]
    pub fn assert_lost_at_most(&self, held: u64) {
        let lost = self.count(Failure::Reset) + self.count(Failure::Empty) + self.count(Failure::CutOff);
        assert!(self.requests > 0, "the load asked nothing\n{}\n{self}", Report::HEADER);
        assert!(
            lost <= held && lost == self.failed(),
            "{} requests failed, at most {held} may be lost\n{}\n{self}\n{}",
            self.failed(),
            Report::HEADER,
            self.samples.join("\n")
        );
    }

    pub(super) fn answered(&mut self, body: &str, latency: Duration, told_to_close: bool) {
        self.requests += 1;
        self.told_to_close += u64::from(told_to_close);
        self.latencies.add(latency);
        let known = self.bodies.contains_key(body) || self.bodies.len() < DISTINCT_BODIES;
        let body = if known { body } else { "(others)" };
        match self.bodies.get_mut(body) {
            Some(count) => *count += 1,
            None => drop(self.bodies.insert(body.to_owned(), 1)),
        }
    }

    pub(super) fn failed_with(&mut self, kind: Failure, detail: &str) {
        self.requests += 1;
        self.failures[kind as usize] += 1;
        if self.samples.len() < SAMPLES {
            let at = self.started.elapsed().as_secs_f64();
            self.samples.push(format!("  at {at:.4} s, {kind:?}: {detail}"));
        }
    }

    pub(super) fn finish(&mut self) {
        self.took.get_or_insert_with(|| self.started.elapsed());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.took.unwrap_or_else(|| self.started.elapsed()).as_secs_f64();
        let millis = |latency: Duration| latency.as_secs_f64() * 1e3;
        write!(f, "{:<27} {:>8} {:>7} |", self.name, self.requests, self.failed())?;
        for (kind, width) in Failure::ALL.into_iter().zip([8, 6, 6, 8, 8, 4, 6, 6]) {
            write!(f, "{:>width$}", self.count(kind))?;
        }
        write!(f, " | {:>9} {:>10} |", self.reconnects, self.told_to_close)?;
        write!(f, " {:>6.0}", self.requests as f64 / seconds)?;
        for latency in [self.latency(0.5), self.latency(0.99), self.slowest()] {
            write!(f, " {:>7.2}", millis(latency))?;
        }
        Ok(())
    }
}

/// Microseconds in buckets of 3 %: its size does not grow with the run.
#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: Vec<u64>,
    total: u64,
    max: u64,
}

impl Histogram {
    fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = Histogram::bucket(micros);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        self.buckets[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(micros);
    }

    fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(Histogram::upper_edge(bucket).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// Below 32 one bucket each; above, 32 for each power of two.
    fn bucket(micros: u64) -> usize {
        if micros < 32 {
            return micros as usize;
        }
        let shift = 58 - micros.leading_zeros();
        (shift as usize) * 32 + (micros >> shift) as usize
    }

    fn upper_edge(bucket: usize) -> u64 {
        if bucket < 64 {
            return bucket as u64;
        }
        let shift = bucket / 32 - 1;
        ((bucket as u64 - shift as u64 * 32 + 1) << shift) - 1
    }
}

/// A restart test sees a body per generation; a server that counts up would fill memory.
const DISTINCT_BODIES: usize = 2000;

/// More of one kind tell nothing new.
const SAMPLES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_in_order_and_hold_their_values() {
        for micros in (0..5000).chain([1 << 20, (1 << 40) + 12345]) {
            let bucket = Histogram::bucket(micros);
            assert!(micros <= Histogram::upper_edge(bucket), "{micros} in {bucket}");
            assert!(bucket == 0 || micros > Histogram::upper_edge(bucket - 1), "{micros} in {bucket}");
        }
    }

    #[test]
    fn quantiles_come_from_the_right_end() {
        let mut report = Report::new("x".to_owned());
        for millis in 1..=100 {
            report.answered("b", Duration::from_millis(millis), false);
        }
        let near = |share, millis: f64| {
            let seen = report.latency(share).as_secs_f64() * 1e3;
            assert!((millis..millis * 1.04).contains(&seen), "{seen} for {millis}");
        };
        near(0.5, 50.0);
        near(0.99, 99.0);
        assert_eq!(report.slowest(), Duration::from_millis(100));
    }
}
