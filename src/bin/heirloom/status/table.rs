//! A status for people.

use std::fmt::Write;

use heirloom::control::{ConnectionDetail, GenerationDetail, GenerationStatus, Role, ServiceStatus};

use super::conversations::Conversations;
use crate::output::{connections, time, whole_time};

/// All of it.
pub(crate) fn of(status: &ServiceStatus) -> String {
    let mut text = headline(status);
    if status.kind == "supervisor" {
        let _ = write!(text, "\nsupervisor     process {}, which stays", status.pid);
    }
    let restarts = &status.restarts;
    let _ = write!(
        text,
        "\nrestarts       {} settled, {} failed, {} taken back, {} refused",
        restarts.settled, restarts.failed, restarts.taken_back, restarts.refused
    );
    if restarts.respawned > 0 {
        let _ = write!(text, "; {} crashed and replaced", restarts.respawned);
    }
    if let Some(last) = &status.last_restart {
        let mut known = vec![];
        known.extend(last.time_to_ready_ms.map(|ready| format!("ready after {}", whole_time(ready))));
        known.extend(last.drain_ms.map(|drain| format!("old one drained in {}", whole_time(drain))));
        known.extend(last.moved.map(|moved| format!("{} moved", connections(moved))));
        known.extend(last.aborted.map(|aborted| format!("{aborted} aborted")));
        let _ = write!(text, "\nlast restart   {}", known.join(", "));
    }
    if !status.connections.by_kind.is_empty() {
        let _ = write!(text, "\nmoved          {} so far", by_kind(&status.connections.by_kind));
    }
    if !status.connections.unmoved.is_empty() {
        let _ = write!(text, "\nnot moved      {} so far", by_kind(&status.connections.unmoved));
    }
    if let Some(failure) = &status.last_failure {
        let outcome = failure.outcome.replace('_', " ");
        let _ = write!(
            text,
            "\nlast failure   {} ago, {outcome}: {}",
            whole_time(failure.ago_ms),
            failure.reason
        );
    }
    if let Some(restart) = &status.restart {
        let pid = restart.pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
        let then = if restart.remembered { "; another one follows" } else { "" };
        let _ = write!(text, "\nrestarting     {} for {}{pid}{then}", restart.phase, time(restart.since_ms));
    }
    text += "\n\n";
    let conversations = Conversations::of(status);
    text += &generations(status, &conversations);
    for generation in status.generations.iter().take(SHOWN) {
        text += &moved_by(generation);
        text += &held_by(generation, conversations.of_generation(generation.generation));
    }
    text
}

pub(crate) fn headline(status: &ServiceStatus) -> String {
    let generation = status.generations.iter().find(|generation| Some(generation.pid) == status.serving);
    let since = whole_time(status.service_uptime_ms);
    match (status.serving, generation) {
        (Some(pid), Some(generation)) => {
            format!(
                "process {pid} serves, generation {}; the service is up for {since}",
                generation.generation
            )
        }
        (Some(pid), None) => format!("process {pid} serves; the service is up for {since}"),
        (None, _) => format!("nobody serves; the service was up for {since}"),
    }
}

fn generations(status: &ServiceStatus, conversations: &Conversations) -> String {
    let mut rows = vec![
        ["PID", "GENERATION", "ROLE", "UP", "CONNECTIONS", "CONVERSATIONS", "HAMMER IN"].map(str::to_owned),
    ];
    for status in status.generations.iter().take(SHOWN) {
        let GenerationStatus { pid, generation, role, detail, .. } = status;
        let (up, held, hammer) = match detail {
            Some(detail) => (
                whole_time(detail.uptime_ms),
                by_kind(&detail.connections),
                detail.hammer_in_ms.map(whole_time).unwrap_or_default(),
            ),
            None => ("?".to_owned(), "?".to_owned(), String::new()),
        };
        let talking = conversations.of_generation(*generation).to_string();
        let (pid, generation, role) = (pid.to_string(), generation.to_string(), role_name(*role).to_owned());
        rows.push([pid, generation, role, up, held, talking, hammer]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    // Most services have no sockets for datagrams.
    let is_shown = |column: &usize| *column != CONVERSATIONS || conversations.has_any();
    let columns: Vec<(usize, usize)> =
        (0..rows[0].len()).filter(is_shown).map(|column| (column, width(column))).collect();
    let lines = rows.iter().map(|row| {
        let cells = columns.iter().map(|(column, width)| format!("{:<width$}", row[*column]));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    let mut text = lines.collect::<Vec<_>>().join("\n");
    let more = status.generations.len().saturating_sub(SHOWN);
    if more > 0 {
        let _ = write!(text, "\nand {more} more");
    }
    text
}

/// Which column that is.
const CONVERSATIONS: usize = 5;

/// How many generations have a line: more than anybody keeps alive, and no more than a look at the screen
/// takes.
const SHOWN: usize = 50;

/// How many connections and kinds of them, whatever a server says.
const NAMED: usize = 10;

/// What became of its connections when it handed over.
fn moved_by(generation: &GenerationStatus) -> String {
    let Some(detail) = generation.detail.as_ref().filter(|_| generation.role == Role::Draining) else {
        return String::new();
    };
    let mut text = String::new();
    if !detail.moved.is_empty() {
        let _ = write!(text, "\n\nprocess {} has moved {}", generation.pid, by_kind(&detail.moved));
    }
    if !detail.unmoved.is_empty() {
        let _ =
            write!(text, "\n\nprocess {} could not move all: {}", generation.pid, by_kind(&detail.unmoved));
    }
    text
}

/// Why an old process is still there.
fn held_by(generation: &GenerationStatus, conversations: u64) -> String {
    let is_going = matches!(generation.role, Role::Draining | Role::Stopping);
    let detail = generation.detail.as_ref().filter(|detail| !detail.oldest.is_empty());
    let talking = match conversations {
        0 => None,
        1 => Some("1 conversation over datagrams".to_owned()),
        several => Some(format!("{several} conversations over datagrams")),
    };
    let held: Vec<_> = detail.map(|detail| by_kind(&detail.connections)).into_iter().chain(talking).collect();
    if !is_going || held.is_empty() {
        return String::new();
    }
    let mut text = format!("\n\nprocess {} is still there for {}", generation.pid, held.join(", "));
    let Some(GenerationDetail { connections, oldest, .. }) = detail else { return text };
    for connection in oldest.iter().take(NAMED) {
        text += "\n  ";
        text += &described(connection);
    }
    let all: u64 = connections.values().sum();
    let more = all.saturating_sub(oldest.len().min(NAMED) as u64);
    if more > 0 {
        let _ = write!(text, "\n  and {more} younger ones");
    }
    text
}

/// `upgraded connection from 10.0.0.3:5123, 2h 3m old, busy for 41 s`
pub(crate) fn described(connection: &ConnectionDetail) -> String {
    let ConnectionDetail { kind, tls, state, peer, age_ms, in_state_ms, .. } = connection;
    let over = if *tls { " over TLS" } else { "" };
    let from = peer.as_ref().map(|peer| format!(" from {peer}")).unwrap_or_default();
    let state = state.replace('_', " ");
    format!(
        "{kind} connection{over}{from}, {} old, {state} for {}",
        whole_time(*age_ms),
        whole_time(*in_state_ms)
    )
}

pub(crate) fn by_kind(connections: &std::collections::BTreeMap<String, u64>) -> String {
    if connections.is_empty() {
        return "0".to_owned();
    }
    let kinds = connections.iter().take(NAMED).map(|(kind, count)| format!("{count} {kind}"));
    kinds.collect::<Vec<_>>().join(", ")
}

pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Starting => "starting",
        Role::Probation => "probation",
        Role::Serving => "serving",
        Role::Draining => "draining",
        Role::Stopping => "stopping",
        Role::Leaving => "leaving",
        _ => "unknown",
    }
}
