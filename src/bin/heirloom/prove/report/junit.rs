//! The report as CI servers read it: a test case for each kind of client, for each restart, and for
//! each fault.

use std::fmt::Write;

use super::text::seen;
use super::{FaultLine, Finding, Report};

pub(in crate::prove) fn junit(report: &Report) -> String {
    let mut cases = String::new();
    let mut failures = 0;
    let mut case = |group: &str, name: &str, outcome: String| {
        failures += usize::from(outcome.contains("<failure"));
        // Writing to a string does not fail.
        let _ = writeln!(cases, "  <testcase classname=\"{group}\" name=\"{name}\">{outcome}</testcase>");
    };
    for line in &report.clients {
        let outcome = match &line.left_out {
            Some(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
            None => of_client(report, line.kind),
        };
        case("clients", line.kind, outcome);
    }
    for line in &report.restarts {
        let failure = line.fault.as_deref().map(|fault| failure(fault, fault)).unwrap_or_default();
        case("restarts", &format!("restart {}", line.number), failure);
    }
    for line in &report.faults {
        let outcome = match (&line.left_out, line.lost) {
            (Some(why), _) => format!("<skipped message=\"{}\"/>", escaped(why)),
            (None, 0) => String::new(),
            (None, lost) => of_fault(lost, line),
        };
        case("faults", line.fault, outcome);
    }
    if let Some(why) = &report.cut_short {
        case("restarts", "all of them", failure(why, why));
    }
    let tests = cases.lines().filter(|line| line.starts_with("  <testcase")).count();
    let left_out = report.clients.iter().map(|line| &line.left_out);
    let left_out = left_out.chain(report.faults.iter().map(|line| &line.left_out));
    let skipped = left_out.filter(|why| why.is_some()).count();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"heirloom prove {}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" \
         skipped=\"{skipped}\" time=\"{:.3}\">\n{cases}</testsuite>\n",
        escaped(&report.url),
        report.took_ms / 1e3
    )
}

fn of_client(report: &Report, kind: &str) -> String {
    let of_this = |finding: &&Finding| finding.by_client.contains_key(kind);
    let found: Vec<&Finding> = report.findings.iter().filter(of_this).collect();
    if found.is_empty() {
        return String::new();
    }
    let names: Vec<String> =
        found.iter().map(|finding| format!("{} {}", finding.loss.name(), finding.by_client[kind])).collect();
    let mut text = String::new();
    for finding in found {
        let _ = writeln!(text, "{}: {}\n{}", finding.loss.name(), finding.meaning, finding.cause);
        for example in finding.examples.iter().filter(|example| example.client == Some(kind)) {
            let _ = writeln!(text, "- {}", seen(example));
        }
    }
    failure(&names.join(", "), &text)
}

fn of_fault(lost: usize, line: &FaultLine) -> String {
    let mut text = String::new();
    for deed in &line.did {
        let _ = writeln!(text, "{:.0} ms: {}", deed.after_ms, deed.what);
    }
    let outcome = line.outcome.unwrap_or_default();
    failure(&format!("{lost} lost; {outcome}"), &text)
}

fn failure(message: &str, text: &str) -> String {
    format!("<failure message=\"{}\">{}</failure>", escaped(message), escaped(text))
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            // XML has no way to say them.
            letter if letter.is_control() && letter != '\n' && letter != '\t' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}
