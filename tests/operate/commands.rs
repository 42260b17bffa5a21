//! `heirloom restart` and its kin against real servers: each gets a true answer, and the right exit status.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::beside::is_installed;
use support::gate::{Gate, WAITS};
use support::load::{Load, Mode, Report, Target, Think};
use support::operator::{Asking, Said, beside, code, heirloom};
use support::{PATIENCE, Server, Setup, Signal, alone, beside_others, proc};

#[test]
fn a_restart_tells_each_step_and_ends_with_its_outcome() {
    let _alone = alone();
    let server = Setup::hello().args(&["--probation", "300ms"]).start();
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    load.wait_for_requests(50);
    let mut slack = Vec::new();
    for (wait, last) in
        [("ready", "ready"), ("settled", "settled"), ("drained", "drained"), ("drained", "drained")]
    {
        let old = server.pid();
        let said =
            heirloom(&["restart", "--pid", &old.to_string(), "--wait", wait]).is(code::DONE, &["spawned"]);
        // From the outcome to the exit, and from the command's start to the request: both are in it.
        let over = said.took.saturating_sub(said.step(last));
        println!(
            "--wait {wait}: {last} after {:?}, the command took {:?}, {over:?} more",
            said.step(last),
            said.took
        );
        slack.push(over);
        let steps: Vec<&str> =
            said.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
        let all = ["spawned", "initialised", "ready", "settled", "moved", "drained"];
        let reached = all.iter().position(|step| *step == last).unwrap();
        assert_eq!(steps, all[..=reached], "{said:#?}");
        // What its accept loop had in hand when it was told to stop, it still answers.
        server.wait_for_other_than(old);
        server.wait_for_exit(old);
    }
    // Of four, since a busy machine may stop any of them on its way.
    assert!(slack.iter().any(|over| *over < PROMPT), "{slack:?}");
    finish(load);
}

#[test]
fn every_way_to_fail_has_its_exit_status() {
    let _alone = alone();
    let server = Setup::hello().args(&["--start-timeout", "3s", "--probation", "3s"]).start();
    let load = server.load(Mode::new_connections(8, Think::millis(0, 2)));
    let pid = server.first_pid;
    let faulty = |fault: &str| {
        server.binary.become_example("faulty");
        fs::write(server.binary.path().with_file_name("fault"), fault).unwrap();
    };
    let script = |body: &str| server.binary.become_script(body);
    let fails = |break_it: &dyn Fn(), code: i32, words: &[&str]| {
        load.wait_for_requests(20);
        break_it();
        let said = restart(pid).is(code, words);
        assert_eq!(server.pid(), pid, "{said:?}");
    };
    fails(&|| server.binary.remove(), code::FAILED, &["no such file"]);
    fails(&|| server.binary.become_file(b"#!/bin/sh\n", 0o644), code::FAILED, &["permission"]);
    fails(&|| server.binary.become_file(&[0xA5; 4096], 0o755), code::FAILED, &["not a program"]);
    fails(&|| script("kill -SEGV $$"), code::FAILED, &["SIGSEGV"]);
    fails(&|| script("exit 3"), code::FAILED, &["status 3"]);
    fails(&|| script("exit 0"), code::FAILED, &["status 0"]);
    fails(&|| script("exec sleep 1000"), code::FAILED, &["not ready after 3s"]);
    fails(&|| script("sleep 1000 & exit 1"), code::FAILED, &["status 1"]);
    fails(&|| faulty("fail-init the cellar is flooded"), code::FAILED, &["the cellar is flooded"]);
    fails(&|| faulty("panic"), code::FAILED, &["status 101: panicked at", "as told"]);
    fails(&|| faulty("die-at-commit"), code::TAKEN_BACK, &["taken back", "SIGKILL"]);
    fails(&|| faulty("exit-at-commit"), code::TAKEN_BACK, &["taken back", "status 0"]);
    proc::assert_reaped(pid, PATIENCE);

    let status = heirloom(&["status", "--json", "--pid", &pid.to_string()]).is(code::DONE, &[]).json();
    assert_eq!((&status["restarts"]["failed"], &status["restarts"]["taken_back"]), (&10.into(), &2.into()));
    server.binary.become_example("hello");
    restart(pid).is(code::DONE, &["serves"]);
    // Its successor knows of them as well.
    let status =
        heirloom(&["status", "--json", "--pid", &server.pid().to_string()]).is(code::DONE, &[]).json();
    assert_eq!((&status["restarts"]["settled"], &status["restarts"]["failed"]), (&1.into(), &10.into()));
    assert_eq!(status["last_failure"]["outcome"], "taken_back");
    assert_eq!(status["last_failure"]["reason"], "the successor exited with status 0");
    finish(load);
}

#[test]
fn what_the_successor_wrote_is_told_where_it_can_be() {
    let _shared = beside_others();
    let setup = Setup::hello();
    let log = setup.dir().join("log");
    let server = setup.by_shell("", &format!("2>>{}", log.display())).start();
    server.binary.become_script("echo the attic is on fire >&2; exit 4");
    let said = restart(server.first_pid).is(code::FAILED, &["status 4", "\n    the attic is on fire\n"]);
    assert!(!said.stderr.contains("restart failed, serving on"), "{said:#?}");
    assert!(fs::read_to_string(log).unwrap().contains("the attic is on fire"));
}

#[test]
fn a_restart_during_a_restart_is_told_of_its_own() {
    let _alone = alone();
    let server = Setup::hello().args(&["--probation", "300ms"]).start();
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    let pid = server.first_pid.to_string();
    // The first successor waits until all three have asked.
    let mut gate = Gate::before_example(&server, "hello");
    let first = beside(&["restart", "--pid", &pid]);
    server.wait_for_line(0, WAITS);
    let (second, third) = (
        Asking::begin(&["restart", "--pid", &pid]),
        Asking::begin(&["restart", "--pid", &pid, "--wait", "drained"]),
    );
    let (second, third) = (second.wait_for("follows it"), third.wait_for("follows it"));
    gate.open(&server);
    let first = first.join().unwrap().is(code::DONE, &["serves"]);
    let second = second.end().is(code::DONE, &["goes on with this one", "serves"]);
    let third = third.end().is(code::DONE, &["drained"]);
    assert_eq!(server.generation(), 3, "two requests during one restart make one more");
    let heir = |said: &Said| said.stdout.lines().rfind(|line| line.starts_with("settled")).map(str::to_owned);
    assert_ne!(heir(&first), heir(&second));
    assert!(heir(&second).unwrap().contains(&server.pid().to_string()), "{second:#?}{third:#?}");
    finish(load);
}

#[test]
fn three_operators_at_once_over_and_over() {
    let _alone = alone();
    let setup = Setup::hello().args(&["--probation", "0ms"]);
    let pid_file = setup.dir().join("pid").display().to_string();
    let server = setup.args(&["--pid-file", &pid_file]).start();
    server.wait_for_line(0, "accepting generation=1");
    let load = server.load(Mode::keep_alive(4, Think::millis(0, 5)));
    heirloom(&["status", "--pid", &server.first_pid.to_string()]).is(code::DONE, &[]);
    // Without probation each generation ends when the next one accepts: whoever looked for it has to look again.
    for _ in 0..20 {
        let asked = [(); 3].map(|()| beside(&["restart", "--pid-file", &pid_file]));
        for said in asked {
            said.join().unwrap().is(code::DONE, &["settled"]);
        }
    }
    println!("60 requests made {} restarts", server.generation() - 1);
    assert!((21..=61).contains(&server.generation()));
    finish(load);
}

#[test]
fn a_restart_that_follows_a_failed_one_is_told_of_its_own() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "100ms"]).start();
    let pid = server.first_pid.to_string();
    let mut gate = Gate::before(&server, "exit 3", "hello");
    let first = beside(&["restart", "--pid", &pid]);
    // It is executed by now, and not what is put in its place below.
    server.wait_for_line(0, WAITS);
    let second = beside(&["restart", "--pid", &pid]);
    server.wait_for_line(0, "another one follows");
    gate.open(&server);
    first.join().unwrap().is(code::FAILED, &["status 3"]);
    second.join().unwrap().is(code::DONE, &["follows it", "serves"]);
}

#[test]
fn a_stop_during_a_restart_is_told_to_both() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    server.binary.become_script("exec sleep 1000");
    let pid = server.first_pid.to_string();
    let restart = beside(&["restart", "--pid", &pid]);
    let child = server.wait_for_child(server.first_pid);
    let stops = [beside(&["stop", "--pid", &pid]), beside(&["stop", "--pid", &pid])];
    restart.join().unwrap().is(code::STOPPED, &["stopped during the restart"]);
    let codes = stops.map(|stop| stop.join().unwrap().code);
    // The second may come when the process is gone already.
    assert!(
        codes.contains(&code::DONE) && codes.iter().all(|code| [0, code::NOT_RUNNING, 13].contains(code)),
        "{codes:?}"
    );
    server.wait_for_exit(child);
}

#[test]
fn a_killed_predecessor_is_no_failed_restart() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "60s"]).start();
    let old = server.first_pid;
    let mark = server.mark();
    let restart = beside(&["restart", "--pid", &old.to_string()]);
    server.wait_for_line(mark, "successor ready");
    proc::signal(old, Signal::SIGKILL);
    restart.join().unwrap().is(code::DONE, &["without a word", "serves"]);
}

#[test]
fn why_the_old_process_is_still_there() {
    let _shared = beside_others();
    let (server, slow) = draining();
    let (old, new) = (server.first_pid, server.pid());
    for pid in [old, new] {
        let table = heirloom(&["status", "--pid", &pid.to_string()])
            .is(code::DONE, &[&format!("process {new} serves")]);
        let words =
            [&format!("process {old} is still there for"), "http1 connection from 127.0.0.1:", "busy for"];
        assert!(words.iter().all(|word| table.stdout.contains(*word)), "{}", table.stdout);
        let json = heirloom(&["status", "--json", "--pid", &pid.to_string()]).is(code::DONE, &[]).json();
        let roles: Vec<_> =
            json["generations"].as_array().unwrap().iter().map(|one| one["role"].as_str()).collect();
        assert_eq!(roles, [Some("draining"), Some("serving")], "{json:#}");
        let draining = &json["generations"][0]["detail"];
        assert_eq!(
            (&draining["connections"]["http1"], &draining["drained_from"]),
            (&1.into(), &1.into()),
            "{json:#}"
        );
        assert!(draining["hammer_in_ms"].as_u64().is_some_and(|left| left <= 60_000), "{json:#}");
        assert_eq!(json["serving"], new);
    }
    heirloom(&["restart", "--pid", &old.to_string()]).is(code::REFUSED, &["ask its successor"]);
    heirloom(&["stop", "--pid", &old.to_string()]).is(code::REFUSED, &["handed over", &new.to_string()]);
    // Piped, it is a table again and again; it ends with the service.
    let arguments = ["status", "--watch", "--interval", "100ms", "--pid", &old.to_string()];
    let mut watch =
        Command::new(support::programs::heirloom()).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().contains(&format!("process {new} serves")));
    heirloom(&["hammer", "--pid", &old.to_string()]).is(code::DONE, &["1 connection aborted"]);
    server.wait_for_exit(old);
    heirloom(&["stop", "--within", "30s", "--pid", &new.to_string()]).is(code::DONE, &["drained"]);
    let watched: Vec<String> = lines.collect();
    assert!(watch.wait().unwrap().success());
    assert!(watched.iter().all(|line| !line.contains('\x1b')), "{watched:#?}");
    drop(slow);
}

#[test]
fn a_restart_that_takes_too_long_goes_on() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "50ms"]).start();
    let pid = server.first_pid.to_string();
    let mark = server.mark();
    let mut gate = Gate::before_example(&server, "hello");
    heirloom(&["restart", "--pid", &pid, "--timeout", "300ms"])
        .is(code::TIMED_OUT, &["not settled within 300ms"]);
    gate.open(&server);
    server.wait_for_settled(mark);
    server.wait_for_exit(server.first_pid);
    heirloom(&["restart", "--pid", &pid]).is(code::NOT_RUNNING, &["no process"]);
}

#[test]
fn what_may_not_restart_says_why() {
    let _shared = beside_others();
    let server = Setup::hello().by_shell("export SYSTEMD_EXEC_PID=$$;", "").start();
    restart(server.first_pid).is(code::REFUSED, &["restart refused", "Type=notify"]);
    let status = heirloom(&["status", "--pid", &server.first_pid.to_string()]).is(code::DONE, &["1 refused"]);
    assert!(status.stdout.contains("refused: this process is the main process"), "{status:#?}");
}

#[test]
fn without_a_control_socket_a_signal_is_all_there_is() {
    let _shared = beside_others();
    let server = Setup::example("stopping").listen("127.0.0.1:0").start();
    let pid = server.first_pid.to_string();
    heirloom(&["restart", "--pid", &pid])
        .is(code::NO_CONTROL, &["has no control socket", "Restarter::bare()"]);
    let mark = server.mark();
    heirloom(&["restart", "--pid", &pid, "--signal"]).is(code::DONE, &["sent SIGUSR2", "its own log"]);
    server.wait_for_settled(mark);
}

#[test]
fn on_a_terminal_a_drain_has_a_bar() {
    if !is_installed("script", "--version") {
        return;
    }
    let _alone = alone();
    let (server, slow) = draining();
    let old = server.first_pid;
    let command = format!("'{}' status --watch --pid {old}", support::programs::heirloom().display());
    let mut terminal = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = String::new();
    let mut output = terminal.stdout.take().unwrap();
    let bar = format!("process {old} draining [");
    let mut chunk = [0; 1024];
    while !(shown.contains(&bar) && shown.contains("1 left, hammer in")) {
        let count = output.read(&mut chunk).unwrap();
        assert!(count > 0, "{shown}");
        shown += &String::from_utf8_lossy(&chunk[..count]);
    }
    heirloom(&["stop", "--pid", &server.pid().to_string()]).is(code::DONE, &[]);
    heirloom(&["hammer", "--pid", &old.to_string()]).is(code::DONE, &[]);
    output.read_to_string(&mut shown).unwrap();
    assert!(terminal.wait().unwrap().success(), "{shown}");
    drop(slow);
}

#[test]
fn completions_and_manual() {
    for shell in ["bash", "zsh", "fish"] {
        heirloom(&["completions", shell]).is(code::DONE, &["restart", "pid-file"]);
    }
    heirloom(&["man"]).is(code::DONE, &[".TH heirloom", "heirloom\\-restart", "taken back"]);
    heirloom(&["restart"]).is(code::USAGE, &["--pid"]);
    heirloom(&["restart", "--pid", "0"]).is(code::USAGE, &[]);
    heirloom(&["restart", "--pid", "1", "--pid-file", "x"]).is(code::USAGE, &[]);
}

/// What is promised between the outcome and the exit of the command is 100 ms; here its own start is in it, on a machine
/// that is busy. Whatever it could wait for by mistake takes a second or more.
const PROMPT: Duration = Duration::from_millis(900);

fn open(server: &Server, path: &str) -> TcpStream {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let mut stream = TcpStream::connect(address).expect("accepting");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).expect("open");
    stream
}

/// A server whose old process drains, for the sake of the one connection that comes along.
fn draining() -> (Server, TcpStream) {
    let server = Setup::hello().args(&["--probation", "50ms"]).start();
    let mark = server.mark();
    let slow = open(&server, "/sleep?duration=10min");
    wait_until_busy(server.first_pid);
    restart(server.first_pid).is(code::DONE, &[]);
    server.wait_for_line(mark, "draining connections=1");
    (server, slow)
}

/// Waits until the process is at work on a request. Asks and asks: it tells nobody.
fn wait_until_busy(pid: i32) {
    let deadline = Instant::now() + PATIENCE;
    let status = || heirloom(&["status", "--json", "--pid", &pid.to_string()]).is(code::DONE, &[]).json();
    while status()["generations"][0]["detail"]["oldest"][0]["state"] != "busy" {
        assert!(Instant::now() < deadline, "{:#}", status());
    }
}

fn restart(pid: i32) -> Said {
    heirloom(&["restart", "--pid", &pid.to_string()])
}

#[track_caller]
fn finish(load: Load) {
    let report = load.stop();
    println!("{}\n{report}", Report::HEADER);
    report.assert_lost_at_most(0);
}
