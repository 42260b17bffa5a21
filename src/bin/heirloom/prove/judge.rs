//! What the clients saw becomes findings: each loss gets its name, and its moment in a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::clients::Kind;
use super::faults::{Fault, Injected};
use super::loss::Loss;
use super::record::{FoundClosed, Lost, Seen};
use super::report::{
    Chart, ClientLine, Deed, Example, FaultLine, Finding, Latency, Moment, Quantiles, Report, RestartLine,
};
use super::restarting::{Phase, Restart};
use super::wire::{Stage, Symptom};

/// All that is known at the end.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) url: String,
    pub(super) wanted: usize,
    pub(super) began: Instant,
    pub(super) restarts: Vec<Restart>,
    pub(super) seen: Seen,
    pub(super) left_out: Vec<(Kind, String)>,
    pub(super) kinds: Vec<Kind>,
    /// Faults that could not be made, and why.
    pub(super) not_made: Vec<(Fault, String)>,
    /// Why it ended before its time.
    pub(super) cut_short: Option<String>,
}

/// A client's loss with its name and its moment.
type Named<'a> = (Loss, Moment, &'a Lost);

impl Evidence {
    pub(super) fn judge(&self) -> Report {
        let named = self.seen.lost.iter().map(|lost| (self.name(lost), self.moment(blamed(lost)), lost));
        let (inevitable, named): (Vec<Named<'_>>, Vec<Named<'_>>) =
            named.partition(|(.., lost)| self.is_inevitable(lost));
        Report {
            heirloom: 1,
            url: self.url.clone(),
            restarts_wanted: self.wanted,
            took_ms: millis(self.began.elapsed()),
            cut_short: self.cut_short.clone(),
            restarts: self.restart_lines(&named),
            faults: self.fault_lines(&named, &inevitable),
            clients: self.client_lines(&inevitable),
            findings: self.findings(&named),
            latency: self.latency(),
            hitch: self.seen.hitch.clone(),
        }
    }

    /// For drawing: what was slow, and what was lost, around each restart.
    pub(super) fn chart(&self) -> Chart {
        let mut chart = Chart::default();
        for restart in &self.restarts {
            let offset = |time: Instant| signed_millis(restart.asked, time);
            let is_near = |at: &f64| (Chart::FROM..Chart::UNTIL).contains(at);
            let quick = self.seen.exchanges.iter().filter(|exchange| exchange.kind.is_quick());
            let points = quick.map(|exchange| (offset(exchange.began), millis(exchange.took)));
            chart.answers.push(points.filter(|(at, _)| is_near(at)).collect());
            let lost = self.seen.lost.iter().filter(|lost| !self.is_inevitable(lost));
            let lost = lost.map(|lost| offset(blamed(lost))).filter(is_near);
            chart.losses.push(lost.collect());
            for (phase, at) in [
                (Phase::Both, restart.started),
                (Phase::Draining, restart.let_go),
                (Phase::Over, restart.ended),
            ] {
                chart.phases.entry(phase).or_default().extend(at.map(offset));
            }
        }
        chart
    }

    fn name(&self, lost: &Lost) -> Loss {
        let trouble = &lost.trouble;
        let is_sender = matches!(lost.kind, Kind::SlowWriter | Kind::Upload);
        let is_session = matches!(lost.kind, Kind::WebSocket | Kind::Events);
        match &trouble.symptom {
            Symptom::Refused => Loss::Refused,
            Symptom::Silent if trouble.stage == Stage::Connecting => Loss::Unreachable,
            Symptom::Reset | Symptom::Closed if trouble.stage == Stage::Connecting => Loss::NeverAccepted,
            Symptom::Silent => Loss::Unanswered,
            Symptom::Status(500..) => self.whose_error(lost),
            Symptom::Status(_) => Loss::OtherAnswer,
            Symptom::Garbled(_) => Loss::Garbled,
            Symptom::Slow(_) => Loss::Late,
            _ if is_session && !trouble.is_fresh => Loss::SessionCut,
            _ if trouble.had_begun => Loss::CutOff,
            Symptom::Cancelled(_) => Loss::Forgotten,
            // The server had not closed when the request went out, and has not read it: it would not be
            // reset.
            Symptom::Reset if is_sender => Loss::UploadCut,
            _ if trouble.stage == Stage::Uploading => Loss::UploadCut,
            _ if trouble.was_closed || lost.kind == Kind::Early => Loss::ClosedWhileIdle,
            Symptom::Reset if trouble.is_fresh => Loss::NeverAccepted,
            Symptom::Reset => Loss::ClosedWhileIdle,
            // It had read the request: else the connection would have been reset.
            Symptom::Closed | Symptom::Own(_) => Loss::Forgotten,
        }
    }

    /// An error comes from a process that is not ready yet, or from one that drains.
    fn whose_error(&self, lost: &Lost) -> Loss {
        let Some(restart) = self.restart_at(lost.ended) else { return Loss::OtherAnswer };
        let is_of = |processes: &std::collections::BTreeSet<super::kernel::Process>| {
            lost.trouble.server.is_some_and(|pid| processes.iter().any(|process| process.pid == pid))
        };
        let came_later = |phase: Option<Instant>| phase.is_some_and(|at| at <= lost.trouble.opened);
        match () {
            () if is_of(&restart.new) => Loss::NotReady,
            () if is_of(&restart.old) => Loss::TurnedAway,
            // Closed before it could be looked at: its age says who may have had it.
            () if came_later(restart.let_go) || came_later(restart.started) => Loss::NotReady,
            () => Loss::TurnedAway,
        }
    }

    /// Whether a fault takes it whatever the server does.
    fn is_inevitable(&self, lost: &Lost) -> bool {
        self.injected().any(|injected| {
            let trouble = &lost.trouble;
            injected.took(trouble.local, trouble.opened, lost.ended)
                || injected.ended_with(trouble, lost.ended)
        })
    }

    /// Likewise, of a connection that nobody used then.
    fn had_to_be_closed(&self, closed: &FoundClosed) -> bool {
        self.injected().any(|injected| injected.closed(closed))
    }

    fn injected(&self) -> impl Iterator<Item = &Injected> {
        self.restarts.iter().filter_map(|restart| restart.injected.as_ref())
    }

    fn findings(&self, named: &[Named<'_>]) -> Vec<Finding> {
        let mut found: BTreeMap<Loss, Finding> = BTreeMap::new();
        for (number, restart) in self.restarts.iter().enumerate() {
            let Some((loss, detail)) = &restart.fault else { continue };
            let finding = found.entry(*loss).or_insert_with(|| Finding::new(*loss));
            finding.count += 1;
            let at = restart.watched_until;
            let (restart, after_ms) = (number + 1, millis(at - restart.asked));
            let moment = Moment { restart: Some(restart), phase: None, after_ms: Some(after_ms) };
            finding.example(Example { client: None, moment, detail: detail.clone() });
        }
        for (loss, moment, lost) in named {
            let finding = found.entry(*loss).or_insert_with(|| Finding::new(*loss));
            finding.count += 1;
            *finding.by_client.entry(lost.kind.name()).or_default() += 1;
            *finding.by_phase.entry(moment.phase_name()).or_default() += 1;
            let (moment, detail) = (moment.clone(), self.detail(lost));
            finding.example(Example { client: Some(lost.kind.name()), moment, detail });
        }
        let mut findings: Vec<Finding> = found.into_values().collect();
        // What the service lost explains what its clients did.
        findings.sort_by_key(|finding| (!finding.is_of_the_service, std::cmp::Reverse(finding.count)));
        findings
    }

    /// What one loss looked like.
    fn detail(&self, lost: &Lost) -> String {
        let trouble = &lost.trouble;
        let age = crate::output::time(millis(lost.ended - trouble.opened));
        let first = if trouble.is_fresh { "unused" } else { "used before" };
        let by = trouble.server.map(|pid| format!(", served by process {pid}")).unwrap_or_default();
        let closed = if trouble.was_closed { ", closed before the request was sent" } else { "" };
        match trouble.stage {
            Stage::Connecting => trouble.to_string(),
            _ => format!("{trouble}; the connection was {age} old and {first}{closed}{by}"),
        }
    }

    fn restart_at(&self, time: Instant) -> Option<&Restart> {
        self.restarts.iter().rfind(|restart| restart.asked <= time)
    }

    fn moment(&self, time: Instant) -> Moment {
        let Some(at) = self.restarts.iter().rposition(|restart| restart.asked <= time) else {
            return Moment { restart: None, phase: None, after_ms: None };
        };
        let restart = &self.restarts[at];
        let phase = restart.phase_at(time);
        Moment { restart: Some(at + 1), phase, after_ms: Some(millis(time - restart.asked)) }
    }

    fn restart_lines(&self, named: &[Named<'_>]) -> Vec<RestartLine> {
        let line = |(at, restart): (usize, &Restart)| {
            let after = |phase: Option<Instant>| phase.map(|time| millis(time - restart.asked));
            let pids = |processes: &std::collections::BTreeSet<super::kernel::Process>| {
                processes.iter().map(|process| process.pid).collect()
            };
            RestartLine {
                number: at + 1,
                asked_ms: millis(restart.asked - self.began),
                started_ms: after(restart.started),
                let_go_ms: after(restart.let_go),
                ended_ms: after(restart.ended),
                old: pids(&restart.old),
                new: pids(&restart.new),
                lost: lost_in(named, at + 1),
                injected: restart.injected.as_ref().map(|injected| injected.fault.name()),
                fault: restart.fault.as_ref().map(|(loss, detail)| format!("{}: {detail}", loss.name())),
            }
        };
        self.restarts.iter().enumerate().map(line).collect()
    }

    /// Each fault with its restart, and with the good one after it.
    fn fault_lines(&self, named: &[Named<'_>], inevitable: &[Named<'_>]) -> Vec<FaultLine> {
        let made = self.restarts.iter().enumerate().filter_map(|(at, restart)| {
            let injected: &Injected = restart.injected.as_ref()?;
            let numbers = [at + 1, at + 2];
            let of_service = self.restarts.iter().skip(at).take(2).filter(|one| one.fault.is_some()).count();
            let deed = |(when, what): &(Instant, String)| Deed {
                after_ms: signed_millis(restart.asked, *when),
                what: what.clone(),
            };
            Some(FaultLine {
                did: injected.did.iter().map(deed).collect(),
                outcome: Some(injected.outcome),
                restart: Some(at + 1),
                lost: numbers.iter().map(|number| lost_in(named, *number)).sum::<usize>() + of_service,
                inevitable: numbers.iter().map(|number| lost_in(inevitable, *number)).sum(),
                ..FaultLine::of(injected.fault)
            })
        });
        let not_made = self
            .not_made
            .iter()
            .map(|(fault, why)| FaultLine { left_out: Some(why.clone()), ..FaultLine::of(*fault) });
        made.chain(not_made).collect()
    }

    fn client_lines(&self, inevitable: &[Named<'_>]) -> Vec<ClientLine> {
        let taken = self.kinds.iter().map(|kind| {
            let counts = self.seen.counts.get(kind).copied().unwrap_or_default();
            let inevitable = inevitable.iter().filter(|(.., lost)| lost.kind == *kind).count() as u64;
            let closed = self.seen.found_closed.iter().filter(|closed| closed.kind == *kind);
            let had_to_be = closed.filter(|closed| self.had_to_be_closed(closed)).count() as u64;
            ClientLine {
                kind: kind.name(),
                meaning: kind.meaning(),
                good: counts.good,
                lost: counts.lost.saturating_sub(inevitable),
                reconnects: counts.reconnects.saturating_sub(had_to_be),
                told_to_close: counts.told,
                hitches: counts.hitches,
                left_out: None,
            }
        });
        let left_out = self.left_out.iter().map(|(kind, why)| ClientLine::left_out(*kind, why));
        taken.chain(left_out).collect()
    }

    fn latency(&self) -> Latency {
        let (mut steady, mut around) = (Vec::new(), Vec::new());
        for exchange in self.seen.exchanges.iter().filter(|exchange| exchange.kind.is_quick()) {
            let ended = exchange.began + exchange.took;
            let is_around = self
                .restarts
                .iter()
                .any(|restart| restart.asked <= ended && exchange.began <= restart.watched_until + ECHO);
            if is_around { &mut around } else { &mut steady }.push(millis(exchange.took));
        }
        Latency { steady: Quantiles::of(steady), around: Quantiles::of(around) }
    }
}

/// When it went wrong: a silence begins with the request.
fn blamed(lost: &Lost) -> Instant {
    match lost.trouble.symptom {
        Symptom::Silent | Symptom::Slow(_) => lost.began,
        _ => lost.ended,
    }
}

fn lost_in(named: &[Named<'_>], restart: usize) -> usize {
    named.iter().filter(|(_, moment, _)| moment.restart == Some(restart)).count()
}

/// How long after `since`, or before.
fn signed_millis(since: Instant, time: Instant) -> f64 {
    match time.checked_duration_since(since) {
        Some(after) => millis(after),
        None => -millis(since - time),
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// What a restart has put off comes a little after it.
const ECHO: Duration = Duration::from_millis(200);
