//! The report for people.

use std::fmt::Write;

use super::{Chart, Example, Finding, Report};
use crate::output::{plain, time};
use crate::prove::restarting::Phase;

pub(in crate::prove) fn text(report: &Report, chart: &Chart) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(report, chart, &mut out);
    out.truncate(out.trim_end().len());
    out
}

fn write(report: &Report, chart: &Chart, out: &mut String) -> std::fmt::Result {
    let good: u64 = report.clients.iter().map(|line| line.good).sum();
    let (restarts, took) = (report.restarts.len(), time(report.took_ms));
    let url = &report.url;
    writeln!(
        out,
        "{restarts} restarts of {url} in {took}: {good} exchanges went well, {} losses\n",
        report.losses()
    )?;
    clients(report, out)?;
    times(report, out)?;
    faults(report, out)?;
    if !report.restarts.is_empty() {
        latency(report, chart, out)?;
    }
    for finding in &report.findings {
        self::finding(finding, out)?;
    }
    if let Some(hitch) = &report.hitch {
        writeln!(out, "A client could not do its part, for which the server is not to blame: {hitch}\n")?;
    }
    if let Some(why) = &report.cut_short {
        writeln!(out, "Cut short after {restarts} of {} restarts: {why}\n", report.restarts_wanted)?;
    }
    if report.findings.is_empty() && report.cut_short.is_none() {
        writeln!(out, "Nothing was lost.")?;
    }
    Ok(())
}

fn clients(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "client           good    lost  told to close  found closed")?;
    for line in report.clients.iter().filter(|line| line.left_out.is_none()) {
        let (kind, good, lost, told, closed) =
            (line.kind, line.good, line.lost, line.told_to_close, line.reconnects);
        writeln!(out, "{kind:<12} {good:>8} {lost:>7} {told:>14} {closed:>13}   {}", line.meaning)?;
    }
    for line in &report.clients {
        if let Some(why) = &line.left_out {
            writeln!(out, "{:<12} left out: {why}", line.kind)?;
        }
    }
    writeln!(out)
}

fn times(report: &Report, out: &mut String) -> std::fmt::Result {
    writeln!(out, "restart  new process  old lets go  old is gone    lost")?;
    for line in &report.restarts {
        let after = |millis: Option<f64>| millis.map_or("-".to_owned(), time);
        let (new, let_go, gone) = (after(line.started_ms), after(line.let_go_ms), after(line.ended_ms));
        let fault = line.fault.as_deref().map(|fault| format!("   {fault}")).unwrap_or_default();
        writeln!(out, "{:>7} {new:>12} {let_go:>12} {gone:>12} {:>7}{fault}", line.number, line.lost)?;
    }
    writeln!(out)
}

fn faults(report: &Report, out: &mut String) -> std::fmt::Result {
    for line in &report.faults {
        let (fault, meaning, lost) = (line.fault, line.meaning, line.lost);
        writeln!(out, "fault {fault}: {meaning}")?;
        for deed in &line.did {
            let sign = if deed.after_ms < 0.0 { "-" } else { "" };
            writeln!(out, "  {sign}{:<9} {}", time(deed.after_ms.abs()), plain(&deed.what))?;
        }
        match (&line.left_out, line.outcome, line.restart) {
            (Some(why), ..) => writeln!(out, "  left out: {}", plain(why))?,
            (_, Some(outcome), Some(restart)) => {
                let inevitable = match line.inevitable {
                    0 => String::new(),
                    some => format!(", besides {some} that no server could have kept"),
                };
                writeln!(out, "  restart {restart}: {outcome}; {lost} lost{inevitable}")?;
            }
            _ => {}
        }
    }
    if report.faults.is_empty() { Ok(()) } else { writeln!(out) }
}

fn latency(report: &Report, chart: &Chart, out: &mut String) -> std::fmt::Result {
    writeln!(out, "answers              count       p50       p99       max")?;
    for (name, times) in
        [("between restarts", &report.latency.steady), ("around them", &report.latency.around)]
    {
        let (p50, p99, max) = (time(times.p50_ms), time(times.p99_ms), time(times.max_ms));
        writeln!(out, "{name:<16} {:>9} {p50:>9} {p99:>9} {max:>9}", times.count)?;
    }
    let most = chart.answers.iter().flatten().map(|(_, took)| *took).fold(0.0, f64::max);
    writeln!(
        out,
        "\nThe slowest answer of each {:.0} ms, from {} before each restart was asked for (|) to {} after it;\n\
         the highest bar is {}, each step down half of it; x is a loss, a blank no answer:\n",
        (Chart::UNTIL - Chart::FROM) / PARTS as f64,
        time(-Chart::FROM),
        time(Chart::UNTIL),
        time(most)
    )?;
    for (at, slowest) in chart.slowest(PARTS).iter().enumerate().take(MOST_ROWS) {
        let mut row: Vec<char> =
            slowest.iter().map(|took| took.map_or(' ', |took| bar(took, most))).collect();
        for lost in &chart.losses[at] {
            row[Chart::part(*lost, PARTS)] = 'x';
        }
        row.insert(Chart::part(0.0, PARTS), '|');
        writeln!(out, "{:>7} {}", at + 1, row.into_iter().collect::<String>().trim_end())?;
    }
    writeln!(out)
}

/// Each half of the next one.
fn bar(took: f64, most: f64) -> char {
    let steps = (most.max(took) / took.max(1e-3)).ln() / 2.0_f64.ln();
    BARS[(BARS.len() - 1).saturating_sub(steps as usize)]
}

fn finding(finding: &Finding, out: &mut String) -> std::fmt::Result {
    let Finding { loss, count, meaning, cause, .. } = finding;
    let names = |counts: &std::collections::BTreeMap<&str, usize>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    writeln!(out, "LOST {}: {count} times: {meaning}", loss.name())?;
    if !finding.by_client.is_empty() {
        writeln!(out, "  clients: {}", names(&finding.by_client))?;
        writeln!(out, "  phases:  {}", names(&finding.by_phase))?;
    }
    for example in finding.examples.iter().take(SHOWN) {
        writeln!(out, "  seen:    {}", seen(example))?;
    }
    wrapped("  cause:   ", cause, out)?;
    writeln!(out)
}

pub(super) fn seen(example: &Example) -> String {
    let moment = &example.moment;
    let when = match (moment.restart, moment.after_ms) {
        (Some(restart), Some(after)) => {
            let phase = moment.phase.map(|phase| format!(", {}", Phase::meaning(phase))).unwrap_or_default();
            format!("{} after restart {restart} was asked for{phase}", time(after))
        }
        _ => "before the first restart".to_owned(),
    };
    let client = example.client.map(|client| format!("{client}: ")).unwrap_or_default();
    format!("{client}{}; {when}", plain(&example.detail))
}

/// In lines of the width of a terminal.
fn wrapped(first: &str, text: &str, out: &mut String) -> std::fmt::Result {
    let mut line = first.to_owned();
    for word in text.split(' ') {
        if line.len() + word.len() > WIDTH {
            writeln!(out, "{}", line.trim_end())?;
            line = " ".repeat(first.len());
        }
        line += word;
        line.push(' ');
    }
    writeln!(out, "{}", line.trim_end())
}

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Fits a terminal of 80 columns.
const PARTS: usize = 70;
const WIDTH: usize = 100;

/// Who restarts more often looks at the picture.
const MOST_ROWS: usize = 50;

const SHOWN: usize = 3;
