//! A server that somebody has started by hand: the terminal is closed, and what a background job may not do there.

use std::ffi::OsString;
use std::path::Path;

use support::load::Target;
use support::python::system_python;
use support::terminal::{Terminal, example, get, quoted};
use support::{PATIENCE, Request, Signal, alone, proc};

/// With a server of each kind, and whether an interactive shell stands between it and the terminal.
#[test]
fn closing_the_terminal_stops_gracefully() {
    let _alone = alone();
    for (name, server) in [("hello", hello()), ("workers", supervised()), ("heirloom run", foreign(&[]))] {
        let mut terminal = Terminal::start(server.clone());
        let target = terminal.target();
        let request = (name == "hello").then(|| Request::send(&target, "/sleep?duration=300ms"));
        let pid = get(&target, "/pid");
        if name != "hello" {
            terminal.wait_for_line("worker settled");
        }
        terminal.hang_up();
        if let Some(request) = request {
            assert!(request.answer().contains("Hello"), "the request in flight is not answered");
        }
        let status = terminal.end();
        // The foreign worker prints its last word to the terminal, and fails by itself.
        let expected = if name == "heirloom run" { 1 } else { 0 };
        assert_eq!(status.code(), Some(expected), "{name} (a worker was {pid})");
    }
}

#[test]
fn closing_the_terminal_of_a_shell_stops_its_jobs_gracefully() {
    let _alone = alone();
    for server in [hello(), supervised(), foreign(&[])] {
        for background in ["&", ""] {
            let mut terminal = Terminal::start(["bash", "--norc", "-i"]);
            terminal.types(format!("{} {background}\n", quoted(&server)).as_bytes());
            let target = terminal.target();
            get(&target, "/pid");
            terminal.hang_up();
            terminal.end();
        }
    }
}

#[test]
fn a_kill_from_the_shell_at_the_terminal_is_a_restart() {
    let _alone = alone();
    let terminal = Terminal::start(["bash", "--norc", "-i"]);
    terminal.types(format!("{} &\n", quoted(&hello())).as_bytes());
    let target = terminal.target();
    let old = get(&target, "/pid");
    terminal.types(b"kill -HUP %1\n");
    terminal.wait_for_line("successor settled");
    assert_ne!(get(&target, "/pid"), old);
    // Not by its "Done": a shell says none of a job that has ended before it waits.
    terminal.types(b"wait $!; echo status-$?-\n");
    terminal.wait_for_line("status-0-");
    assert!(terminal.lines("the prompt comes back").is_empty(), "a job in the background held no prompt");
}

#[test]
fn a_restart_in_the_foreground_says_where_the_server_went() {
    let _alone = alone();
    let terminal = Terminal::start(["bash", "--norc", "-i"]);
    terminal.types(format!("{}\n", quoted(&hello())).as_bytes());
    let target = terminal.target();
    let old: i32 = get(&target, "/pid").parse().unwrap();
    proc::signal(old, Signal::SIGUSR2);
    let line = terminal.wait_for_line("the prompt comes back");
    assert!(proc::wait_for_exit(old, PATIENCE), "the old process stays");
    let new = get(&target, "/pid");
    assert!(line.contains(&format!("kill {new} stops it")) && line.contains("heirloom run"), "{line}");
    terminal.types(b"echo again-$((1 + 1))\n");
    terminal.wait_for_line("again-2");
}

#[test]
fn with_nohup_a_hang_up_is_ignored_by_every_generation() {
    let _alone = alone();
    for server in [hello(), supervised()] {
        let mut words = vec!["nohup".into()];
        words.extend(server);
        let script = format!(": >log; {} >log 2>&1 & exec tail -n +1 -f log", quoted(&words));
        let mut terminal = Terminal::start(["sh", "-c", &script]);
        let target = terminal.target();
        // By somebody as well: whoever ignores it does not know who will send it.
        for _ in 0..2 {
            restart(&target, &[Signal::SIGHUP, Signal::SIGUSR2]);
        }
        terminal.hang_up();
        // The kernel tells the whole group when the leader of the session ends.
        assert!(proc::wait_for_exit(terminal.pid, PATIENCE), "tail does not end");
        restart(&target, &[Signal::SIGUSR2]);
        assert_eq!(get(&target, "/generation"), "4", "HUP was no restart of its own");
    }
}

/// In the foreground, and as a background job whose own log goes elsewhere: it would be stopped by that, as any program is.
#[test]
fn a_worker_may_read_from_the_terminal_and_write_to_it() {
    let _alone = alone();
    for input in [&[][..], &["--keep-stdin"]] {
        let server = quoted(&foreign(input));
        let mut terminal =
            Terminal::start(["sh", "-c", &format!("stty tostop; WORKER_READS=1 exec {server}")]);
        let target = terminal.target();
        terminal.wait_for_line("worker settled");
        get(&target, "/pid");
        terminal.types(b"\x03");
        assert_eq!(terminal.end().code(), Some(0));
        assert!(terminal.lines("did not go in time").is_empty());
    }
    let terminal = Terminal::start(["bash", "--norc", "-i"]);
    let server = quoted(&foreign(&[]));
    terminal.types(
        format!("stty tostop; : >log; WORKER_READS=1 {server} 2>log & tail -n +1 -f log\n").as_bytes(),
    );
    let target = terminal.target();
    terminal.wait_for_line("worker settled");
    terminal.wait_for_line("worker 1 serves");
    get(&target, "/pid");
}

#[test]
fn a_supervisor_that_is_suspended_leaves_its_worker_serving() {
    let _alone = alone();
    let terminal = Terminal::start(["bash", "--norc", "-i"]);
    terminal.types(format!("{}\n", quoted(&foreign(&[]))).as_bytes());
    let target = terminal.target();
    terminal.wait_for_line("worker settled");
    let supervisor = proc::children(terminal.pid)[0];
    terminal.types(b"\x1a");
    terminal.wait_for_line("Stopped");
    get(&target, "/pid");
    proc::signal(supervisor, Signal::SIGUSR1);
    terminal.types(b"fg\n");
    terminal.wait_for_line("worker 1 has USR1");
    terminal.types(b"\x03");
    assert!(proc::wait_for_exit(supervisor, PATIENCE / 4), "it is not in the foreground again");
    terminal.wait_for_line("supervisor: ended");
}

#[test]
fn what_a_terminal_signals_is_no_order_to_the_worker() {
    let _alone = alone();
    // Without job control the background is the foreground's group. TTIN is looked at after WINCH.
    let server = quoted(&foreign(&[]));
    let script = format!("{server} & read line; stty cols 99; kill -TTIN $!; wait");
    let terminal = Terminal::start(["sh", "-c", &script]);
    terminal.wait_for_line("worker settled");
    terminal.types(b"go on\n");
    terminal.wait_for_line("worker 1 has TTIN");
    assert!(terminal.lines("worker 1 has WINCH").is_empty());
}

fn restart(target: &Target, signals: &[Signal]) {
    let old: i32 = get(target, "/pid").parse().unwrap();
    signals.iter().for_each(|signal| proc::signal(old, *signal));
    assert!(proc::wait_for_exit(old, PATIENCE), "{signals:?} does not restart it");
}

fn hello() -> Vec<OsString> {
    at_a_port(example("hello"))
}

fn supervised() -> Vec<OsString> {
    at_a_port(example("workers"))
}

fn at_a_port(program: OsString) -> Vec<OsString> {
    [program, "--listen".into(), "127.0.0.1:0".into()].into_iter().chain(quickly()).collect()
}

fn quickly() -> [OsString; 2] {
    ["--probation", "50ms"].map(OsString::from)
}

/// `heirloom run` with the worker that a test tells how to behave.
fn foreign(options: &[&str]) -> Vec<OsString> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/worker.py");
    let run = [env!("CARGO_BIN_EXE_heirloom"), "run", "--listen", "127.0.0.1:0", "--ready", "after=200ms"];
    let run = run.into_iter().chain(options.iter().copied()).map(OsString::from).chain(quickly());
    run.chain(["--".into(), system_python().into(), script.into_os_string()]).collect()
}
