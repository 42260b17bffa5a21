//! What is reported, and as what: text, JSON, JUnit's XML, and a picture.

mod junit;
mod svg;
mod text;

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::clients::Kind;
use super::faults::Fault;
use super::loss::Loss;
use super::restarting::Phase;

pub(super) use junit::junit;
pub(super) use svg::svg;
pub(super) use text::text;

/// As JSON has it: members may be added, and none changes its meaning or goes away without a new number in
/// `heirloom`. Times are milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) heirloom: u32,
    pub(super) url: String,
    pub(super) restarts_wanted: usize,
    pub(super) took_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cut_short: Option<String>,
    pub(super) restarts: Vec<RestartLine>,
    /// Those asked for by `--faults`.
    pub(super) faults: Vec<FaultLine>,
    pub(super) clients: Vec<ClientLine>,
    pub(super) findings: Vec<Finding>,
    pub(super) latency: Latency,
    /// Of what a client of ours could not do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hitch: Option<String>,
}

/// Times since it was asked for, but for `asked_ms`, which is since the beginning.
#[derive(Debug, Serialize)]
pub(super) struct RestartLine {
    pub(super) number: usize,
    pub(super) asked_ms: f64,
    pub(super) started_ms: Option<f64>,
    pub(super) let_go_ms: Option<f64>,
    pub(super) ended_ms: Option<f64>,
    pub(super) old: Vec<i32>,
    pub(super) new: Vec<i32>,
    pub(super) lost: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
    /// The fault that was made during it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) injected: Option<&'static str>,
}

/// A fault that was made during a restart; the next restart shows whether the server has got over it.
#[derive(Debug, Serialize)]
pub(super) struct FaultLine {
    pub(super) fault: &'static str,
    pub(super) meaning: &'static str,
    /// The number of the restart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<usize>,
    pub(super) did: Vec<Deed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    /// In this restart and the next one.
    pub(super) lost: usize,
    /// What no server could have kept: what a killed process held, and what comes after the end.
    pub(super) inevitable: usize,
    /// Why it was not made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_out: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Deed {
    /// Since the restart was asked for.
    pub(super) after_ms: f64,
    pub(super) what: String,
}

#[derive(Debug, Serialize)]
pub(super) struct ClientLine {
    pub(super) kind: &'static str,
    pub(super) meaning: &'static str,
    pub(super) good: u64,
    pub(super) lost: u64,
    pub(super) reconnects: u64,
    pub(super) told_to_close: u64,
    pub(super) hitches: u64,
    /// Why this kind did not take part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) left_out: Option<String>,
}

/// All losses of one kind.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    #[serde(serialize_with = "name")]
    pub(super) loss: Loss,
    pub(super) meaning: &'static str,
    pub(super) cause: &'static str,
    #[serde(skip)]
    pub(super) is_of_the_service: bool,
    pub(super) count: usize,
    pub(super) by_client: BTreeMap<&'static str, usize>,
    pub(super) by_phase: BTreeMap<&'static str, usize>,
    pub(super) examples: Vec<Example>,
}

#[derive(Debug, Serialize)]
pub(super) struct Example {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<&'static str>,
    #[serde(flatten)]
    pub(super) moment: Moment,
    pub(super) detail: String,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Moment {
    /// Counted from 1; none before the first.
    pub(super) restart: Option<usize>,
    #[serde(serialize_with = "phase_name")]
    pub(super) phase: Option<Phase>,
    pub(super) after_ms: Option<f64>,
}

/// Of the clients that are quick themselves.
#[derive(Debug, Serialize)]
pub(super) struct Latency {
    pub(super) steady: Quantiles,
    pub(super) around: Quantiles,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Quantiles {
    pub(super) count: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// What was seen around each restart, by milliseconds since it was asked for.
#[derive(Debug, Default)]
pub(super) struct Chart {
    /// When an answer was asked for, and how long it took.
    pub(super) answers: Vec<Vec<(f64, f64)>>,
    pub(super) losses: Vec<Vec<f64>>,
    /// When each phase began, in each restart.
    pub(super) phases: BTreeMap<Phase, Vec<f64>>,
}

impl Chart {
    pub(super) const FROM: f64 = -500.0;
    /// Most servers have done it all by then.
    pub(super) const UNTIL: f64 = 2000.0;

    /// The slowest answer of each of so many equal parts, in each restart.
    fn slowest(&self, parts: usize) -> Vec<Vec<Option<f64>>> {
        let slowest = |points: &Vec<(f64, f64)>| {
            let mut found = vec![None; parts];
            for (at, took) in points {
                let slot = &mut found[Chart::part(*at, parts)];
                *slot = Some(slot.map_or(*took, |other: f64| other.max(*took)));
            }
            found
        };
        self.answers.iter().map(slowest).collect()
    }

    fn part(at: f64, parts: usize) -> usize {
        let share = (at - Chart::FROM) / (Chart::UNTIL - Chart::FROM);
        ((share * parts as f64) as usize).min(parts - 1)
    }
}

impl Report {
    pub(super) fn losses(&self) -> usize {
        self.findings.iter().map(|finding| finding.count).sum()
    }
}

impl FaultLine {
    pub(super) fn of(fault: Fault) -> FaultLine {
        FaultLine {
            fault: fault.name(),
            meaning: fault.meaning(),
            restart: None,
            did: Vec::new(),
            outcome: None,
            lost: 0,
            inevitable: 0,
            left_out: None,
        }
    }
}

impl ClientLine {
    pub(super) fn left_out(kind: Kind, why: &str) -> ClientLine {
        ClientLine {
            kind: kind.name(),
            meaning: kind.meaning(),
            good: 0,
            lost: 0,
            reconnects: 0,
            told_to_close: 0,
            hitches: 0,
            left_out: Some(why.to_owned()),
        }
    }
}

impl Finding {
    pub(super) fn new(loss: Loss) -> Finding {
        Finding {
            loss,
            meaning: loss.meaning(),
            cause: loss.cause(),
            is_of_the_service: loss.is_of_the_service(),
            count: 0,
            by_client: BTreeMap::new(),
            by_phase: BTreeMap::new(),
            examples: Vec::new(),
        }
    }

    /// The first ones are enough to go by.
    pub(super) fn example(&mut self, example: Example) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(example);
        }
    }
}

impl Moment {
    pub(super) fn phase_name(&self) -> &'static str {
        self.phase.map_or("before", Phase::name)
    }
}

impl Quantiles {
    pub(super) fn of(mut millis: Vec<f64>) -> Quantiles {
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (millis.len() as f64 * share).ceil() as usize;
            millis.get(rank.max(1) - 1).copied().unwrap_or_default()
        };
        Quantiles { count: millis.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

fn name<S: Serializer>(loss: &Loss, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(loss.name())
}

fn phase_name<S: Serializer>(phase: &Option<Phase>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(phase.map_or("before", Phase::name))
}

const EXAMPLES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_nearest_rank() {
        let of = |count: u32| Quantiles::of((1..=count).rev().map(f64::from).collect());
        let (none, one, hundred) = (of(0), of(1), of(100));
        assert_eq!((none.p50_ms, none.max_ms), (0.0, 0.0));
        assert_eq!((one.p50_ms, one.p99_ms, one.max_ms), (1.0, 1.0, 1.0));
        assert_eq!((hundred.p50_ms, hundred.p99_ms, hundred.max_ms), (50.0, 99.0, 100.0));
    }

    #[test]
    fn a_time_falls_into_its_part() {
        assert_eq!([-500.0, -1.0, 0.0, 1999.0].map(|at| Chart::part(at, 100)), [0, 19, 20, 99]);
    }
}
