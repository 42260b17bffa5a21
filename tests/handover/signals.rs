//! What each signal does at each moment of a process's life, and the same from the program itself.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::killpg;
use nix::sys::wait::WaitStatus;
use nix::unistd::Pid;
use support::operator::{code, heirloom};
use support::{Request, Server, Setup, Signal, beside_others, proc};

#[test]
fn term_and_int_stop_gracefully() {
    let _shared = beside_others();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Setup::hello().start();
        server.pid();
        let request = Request::send(server.target(), "/sleep?duration=300ms");
        proc::signal(server.first_pid, signal);
        assert!(request.answer().contains("Hello"), "{signal}: the request in flight is not answered");
        assert_eq!(exit_code(&server, server.first_pid), 0);
        assert!(server.try_get("/").is_err(), "{signal}: somebody still listens");
    }
}

#[test]
fn a_second_one_stops_at_once() {
    let _shared = beside_others();
    for signals in [[Signal::SIGTERM; 2], [Signal::SIGINT; 2], [Signal::SIGTERM, Signal::SIGINT]] {
        let server = Setup::hello().start();
        server.pid();
        let request = Request::send(server.target(), "/sleep?duration=60s");
        proc::signal(server.first_pid, signals[0]);
        server.wait_for_line(0, "draining connections=");
        proc::signal(server.first_pid, signals[1]);
        assert_eq!(exit_code(&server, server.first_pid), 124);
        server.wait_for_line(0, "the hammer fell");
        assert_eq!(request.answer(), "");
    }
}

#[test]
fn term_while_a_successor_starts_stops_both() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    server.binary.become_script("exec sleep 1000");
    proc::signal(server.pid(), Signal::SIGHUP);
    server.wait_for_line(0, "successor started");
    let child = server.wait_for_child(server.first_pid);
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(child);
    assert_eq!(exit_code(&server, server.first_pid), 0);
}

#[test]
fn term_in_probation_stops_both() {
    stops_both(|old, _| proc::signal(old, Signal::SIGTERM));
}

#[test]
fn term_to_the_successor_in_probation_stops_both() {
    stops_both(|_, new| proc::signal(new, Signal::SIGTERM));
}

#[test]
fn term_to_the_group_in_probation_stops_both() {
    stops_both(|old, _| killpg(Pid::from_raw(old), Signal::SIGTERM).unwrap());
}

#[test]
fn term_before_ready_stops_before_anything_is_served() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--init-delay", "60s"]).start();
    let request = Request::send(server.target(), "/");
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(0, "asked to stop before it was ready");
    assert_eq!(exit_code(&server, server.first_pid), 1);
    assert_eq!(request.answer(), "");
}

#[test]
fn the_hammer_before_ready_falls_on_nothing() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--init-delay", "60s"]).start();
    let said = heirloom(&["hammer", "--pid", &server.first_pid.to_string()]).is(code::DONE, &[]);
    assert_eq!(said.stdout.matches("drained").count(), 1, "{said:?}");
    assert_eq!(exit_code(&server, server.first_pid), 1);
}

#[test]
fn who_stops_itself_before_it_is_ready_has_ended() {
    let _shared = beside_others();
    let server = Setup::example("stopping").args(&["--stops-early"]).start();
    assert_eq!(exit_code(&server, server.first_pid), 0);
}

/// Of the tests themselves: SIGHUP, ignored, would be ignored in every process that they start.
#[test]
fn tests_under_nohup_ask_for_restarts_by_hup() {
    let name = "signals::tests_under_nohup_ask_for_restarts_by_hup";
    let nested = "HEIRLOOM_TEST_UNDER_NOHUP";
    if std::env::var_os(nested).is_none() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "trap '' HUP; exec \"$0\" --exact \"$1\""]).env(nested, "");
        let status = shell.arg(std::env::current_exe().unwrap()).arg(name).status();
        return assert!(status.unwrap().success());
    }
    let _shared = beside_others();
    let killed = Command::new("sh").args(["-c", "kill -HUP $$"]).status().unwrap();
    assert_eq!(killed.signal(), Some(libc::SIGHUP));
}

#[test]
fn hup_while_initialising_is_remembered() {
    let _shared = beside_others();
    // Longer than any pause of a busy machine between two signals.
    let server = Setup::hello().args(&["--init-delay", "1s", "--probation", "50ms"]).start();
    proc::signal(server.first_pid, Signal::SIGHUP);
    proc::signal(server.first_pid, Signal::SIGHUP);
    server.wait_for_exit(server.first_pid);
    assert_eq!(server.generation(), 2);
    // To the predecessor while its successor initialises: the successor does it.
    let (second, mark) = (server.pid(), server.mark());
    proc::signal(second, Signal::SIGHUP);
    server.wait_for_line(mark, "successor started");
    proc::signal(second, Signal::SIGHUP);
    let third = server.wait_for_child(second);
    server.wait_for_exit(third);
    assert_eq!(server.generation(), 4);
}

#[test]
fn the_endless_map() {
    let _shared = beside_others();
    let server = probe(&["--map", "endless", "--probation", "50ms"]);
    for signal in [Signal::SIGUSR1, Signal::SIGTSTP] {
        let mark = server.mark();
        proc::signal(server.first_pid, signal);
        server.wait_for_line(mark, &format!("after {signal}"));
        assert_eq!(server.lines(mark, "before").len(), 1);
        assert_eq!((server.pid(), server.generation()), (server.first_pid, 1));
    }
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGHUP);
    server.wait_for_exit(server.first_pid);
    server.wait_for_line(mark, "before SIGHUP");
    server.wait_for_line(mark, "after SIGHUP");
    assert_eq!(server.generation(), 2);

    let (second, mark) = (server.pid(), server.mark());
    let request = Request::send(server.target(), "/sleep?60s");
    proc::signal(second, Signal::SIGTERM);
    server.wait_for_line(mark, "2 event Draining");
    proc::signal(second, Signal::SIGUSR2);
    assert_eq!(exit_code(&server, second), 124);
    assert_eq!(server.wait_for_lines(mark, &["before"], 2).len(), 2);
    assert_eq!(request.answer(), "");
}

#[test]
fn the_hooks_of_one_signal_have_run_before_those_of_the_next() {
    let _shared = beside_others();
    let server = probe(&["--map", "held"]);
    proc::signal(server.first_pid, Signal::SIGUSR1);
    server.wait_for_line(0, "signal=SIGUSR1");
    proc::signal(server.first_pid, Signal::SIGTSTP);
    server.wait_for_line(0, "signal=SIGTSTP");
    server.get("/release");
    server.wait_for_line(0, "after SIGTSTP");
    let hooks: Vec<_> =
        server.lines(0, " SIG").into_iter().filter(|line| !line.contains("signal=")).collect();
    assert_eq!(hooks, ["before SIGUSR1", "after SIGUSR1", "before SIGTSTP", "after SIGTSTP"]);
}

#[test]
fn the_hammer_needs_no_stop_before_it() {
    let _shared = beside_others();
    let server = probe(&["--map", "endless"]);
    let request = Request::send(server.target(), "/sleep?60s");
    // Served by now: the queue is in order.
    server.pid();
    proc::signal(server.first_pid, Signal::SIGUSR2);
    assert_eq!(exit_code(&server, server.first_pid), 124);
    assert_eq!(request.answer(), "");
}

#[test]
fn signals_that_the_map_does_not_name_keep_their_default() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    killed_by(&server, Signal::SIGUSR1);
    let server = probe(&["--map", "none"]);
    killed_by(&server, Signal::SIGHUP);
}

#[test]
fn an_ignored_usr2_still_restarts_and_an_ignored_hup_stays_ignored() {
    let _shared = beside_others();
    let server = Setup::hello().by_shell("trap '' HUP USR2;", "").args(&["--probation", "50ms"]).start();
    for _ in 0..3 {
        let old = server.pid();
        proc::signal(old, Signal::SIGHUP);
        server.restart(Signal::SIGUSR2);
        server.wait_for_exit(old);
    }
    assert_eq!(server.generation(), 4);
    assert!(server.lines(0, "signal=SIGHUP").is_empty());
}

#[test]
fn a_program_restarts_itself_and_learns_the_outcome() {
    let _shared = beside_others();
    let server = probe(&["--map", "none", "--probation", "50ms"]);
    server.binary.become_script("echo no luck >&2; exit 3");
    let outcome = server.get("/restart");
    assert_eq!(outcome, "restart failed, this process serves on: the successor exited with status 3");
    server.binary.remove();
    let outcome = server.get("/restart");
    assert!(outcome.contains(&server.binary.path().display().to_string()), "{outcome}");
    server.binary.become_example("probe");
    let outcome = server.get("/restart");
    server.wait_for_exit(server.first_pid);
    assert_eq!(outcome, format!("Settled {{ pid: {} }}", server.pid()));
}

#[test]
fn a_program_stops_itself_and_learns_what_it_aborted() {
    let _shared = beside_others();
    let server = probe(&[]);
    let requests = [(); 2].map(|()| Request::send(server.target(), "/sleep?60s"));
    server.get("/shutdown?2s");
    assert_eq!(exit_code(&server, server.first_pid), 124);
    server.wait_for_line(0, "1 ending Shutdown aborted 2");
    requests.into_iter().for_each(|request| assert_eq!(request.answer(), ""));

    let server = probe(&[]);
    server.get("/shutdown?5s");
    assert_eq!(exit_code(&server, server.first_pid), 0);
    server.wait_for_line(0, "1 ending Shutdown aborted 0");
}

#[test]
fn events_come_in_order() {
    let _shared = beside_others();
    let server = probe(&["--probation", "50ms"]);
    server.binary.become_script("exit 3");
    server.restart_in_vain(Signal::SIGHUP);
    server.binary.become_example("probe");
    server.restart(Signal::SIGHUP);
    assert_eq!(exit_code(&server, server.first_pid), 0);
    server.wait_for_line(0, "1 ending Restart aborted 0");
    let names = |generation: u64| {
        let lines = server.lines(0, &format!("{generation} event ")).into_iter();
        lines.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let failed = ["Accepting", "Starting", "Spawned", "Failed"];
    let settled = ["Starting", "Spawned", "Ready", "Settled", "Draining", "Ended"];
    assert_eq!(names(1), [&failed[..], &settled[..]].concat());
    server.wait_for_line(0, "2 event Accepting");
}

fn probe(args: &[&str]) -> Server {
    Setup::example("probe").args(args).start()
}

fn stops_both(send: impl Fn(i32, i32)) {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "60s"]).start();
    let request = Request::send(server.target(), "/sleep?duration=300ms");
    let new = server.restart(Signal::SIGHUP);
    send(server.first_pid, new);
    assert!(request.answer().contains("Hello"), "the request in flight is not answered");
    server.wait_for_exit(new);
    assert_eq!(exit_code(&server, server.first_pid), 0);
    assert!(server.try_get("/").is_err(), "somebody still listens");
}

fn killed_by(server: &Server, signal: Signal) {
    server.pid();
    proc::signal(server.first_pid, signal);
    match server.exit_status(server.first_pid) {
        WaitStatus::Signaled(_, by, _) => assert_eq!(by, signal),
        other => panic!("{other:?}"),
    }
}

fn exit_code(server: &Server, pid: i32) -> i32 {
    match server.exit_status(pid) {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    }
}
