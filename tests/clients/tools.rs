//! wrk, h2load and curl as they come, each across twenty restarts.
//!
//! Where a tool is not installed its test says so and passes, unless `CI=true`.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use support::beside::is_installed;
use support::h2_relay::Relay;
use support::load::Target;
use support::{Server, Setup, Signal, Turn, alone, proc};

#[test]
fn wrk() {
    let Some((_alone, server, url)) = server_for("wrk") else { return };
    // Connections that are never idle, for longer than the restarts take: interrupted, it still reports.
    let mut command = Command::new("wrk");
    let wrk = command
        .args(["-t1", "-c32", "-d1h", "--timeout", "60s", &url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    restart_twenty_times(&server);
    proc::signal(i32::try_from(wrk.id()).unwrap(), Signal::SIGINT);
    let output = wrk.wait_with_output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    println!("{report}");
    assert!(number(&report, " requests in") > 0, "wrk asked nothing");
    // Both lines appear only when there is something to count.
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
}

#[test]
fn h2load_with_http1() {
    let Some((_alone, server, url)) = server_for("h2load") else { return };
    let runs = while_restarting(&server, || {
        let report = h2load(&["--h1", "-c16", "-D2", &url]);
        assert!(report.contains(" 0 failed, 0 errored, 0 timeout"), "{report}");
        number(&report, " succeeded")
    });
    summary("h2load --h1", &runs);
}

#[test]
fn h2load_with_all_requests_sent_at_once() {
    // It never connects again after a GOAWAY, so each run starts all it has: ten streams on each connection.
    let Some((_alone, server, url)) = server_for("h2load") else { return };
    let runs = while_restarting(&server, || {
        let report = h2load(&["-c16", "-m10", "-n160", &url]);
        assert!(report.contains(" 160 succeeded, 0 failed, 0 errored, 0 timeout"), "{report}");
        number(&report, " succeeded")
    });
    summary("h2load -n160", &runs);
}

#[test]
fn h2load_until_goaway() {
    // What it submits after a GOAWAY it never sends, and counts as failed: so the wire is what counts here. Each
    // stream that it opened must be answered to its end.
    let Some((_alone, server, _)) = server_for("h2load") else { return };
    let Target::Tcp(address) = *server.target() else { unreachable!("it listens on TCP") };
    let relay = Relay::to(address);
    let url = format!("http://{}/", relay.address);
    while_restarting(&server, || {
        let report = h2load(&["-c16", "-m10", "-n200000", &url]);
        assert!(report.contains(" 0 timeout"), "{report}");
        number(&report, " succeeded")
    });
    let connections = relay.seen();
    for seen in &connections {
        assert!(seen.unanswered.is_empty() && seen.reset.is_empty(), "{seen:?}");
    }
    let told = connections.iter().filter(|seen| seen.goaways > 0).count();
    let answered: usize = connections.iter().map(|seen| seen.answered).sum();
    println!(
        "{} connections, {told} ended by GOAWAY, {answered} streams, none unanswered",
        connections.len()
    );
    assert!(told > 0);
}

#[test]
fn curl_with_a_connection_each() {
    let Some((_alone, server, url)) = server_for("curl") else { return };
    summary("curl", &while_restarting(&server, || curl(&[&url])));
}

#[test]
fn curl_with_a_hundred_requests_on_a_connection() {
    let Some((_alone, server, url)) = server_for("curl") else { return };
    summary("curl keep-alive", &while_restarting(&server, || curl(&[&format!("{url}?[1-100]")])));
}

#[test]
fn curl_with_http2() {
    // One request each: curl 7.88 breaks its own second request on a connection with prior knowledge.
    let Some((_alone, server, url)) = server_for("curl") else { return };
    summary("curl HTTP/2", &while_restarting(&server, || curl(&["--http2-prior-knowledge", &url])));
}

/// Nothing, said loudly, when the tool is not there.
fn server_for(tool: &str) -> Option<(Turn, Server, String)> {
    if !is_installed(tool, "--version") {
        return None;
    }
    let alone = alone();
    let server = Setup::hello().args(&["--probation", "200ms"]).start();
    let url = format!("http://{}/", server.target());
    Some((alone, server, url))
}

/// Runs `tool` again and again until all restarts are done, and once more.
fn while_restarting(server: &Server, tool: impl Fn() -> u64 + Sync) -> Vec<u64> {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let mut runs = Vec::new();
            while !done.load(Ordering::Relaxed) {
                runs.push(tool());
            }
            runs.push(tool());
            runs
        });
        for signal in SIGNALS {
            // A failed run needs no further restarts to be shown.
            if runs.is_finished() {
                break;
            }
            restart(server, signal);
        }
        done.store(true, Ordering::Relaxed);
        runs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn restart_twenty_times(server: &Server) {
    SIGNALS.into_iter().for_each(|signal| restart(server, signal));
}

fn restart(server: &Server, signal: Signal) {
    let old = server.pid();
    server.restart(signal);
    server.wait_for_exit(old);
}

fn h2load(args: &[&str]) -> String {
    let output = Command::new("h2load").args(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl(args: &[&str]) -> u64 {
    let fixed = ["--silent", "--show-error", "--max-time", "60", "--write-out", "\\n%{http_code}\\n"];
    let output = Command::new("curl").args(fixed).args(args).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    let codes = text.lines().filter(|line| line.len() == 3).collect::<Vec<_>>();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == "200"), "{codes:?}");
    codes.len() as u64
}

/// The number that stands before `words`.
fn number(report: &str, words: &str) -> u64 {
    let before = report.split(words).next().unwrap_or_default();
    let digits = before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
    digits.parse().unwrap_or_else(|_| panic!("no number before {words:?} in {report}"))
}

fn summary(tool: &str, runs: &[u64]) {
    println!("{tool}: {} runs, {} requests, none failed", runs.len(), runs.iter().sum::<u64>());
}

/// Twenty restarts, with HUP and USR2 in turn.
const SIGNALS: [Signal; 20] = {
    let mut signals = [Signal::SIGHUP; 20];
    let mut at = 1;
    while at < signals.len() {
        signals[at] = Signal::SIGUSR2;
        at += 2;
    }
    signals
};
