//! A process that is stopped and lives: it holds whatever it had, says nothing, and comes back when nobody expects it.

use std::fs;

use support::load::{Mode, Think};
use support::operator::{beside, code, heirloom};
use support::{Server, Setup, Signal, alone, proc};

/// How soon one that is frozen is noticed does not depend on these: so short that the test is.
const LIMITS: [&str; 4] = ["--start-timeout", "3s", "--probation", "1s"];

#[test]
fn g3_a_successor_that_freezes_around_ready_is_killed_and_taken_back() {
    let _alone = alone();
    freezes_at_ready(&Setup::hello().args(&LIMITS).start());
}

#[test]
fn g3_a_worker_that_freezes_around_ready_is_killed_and_taken_back() {
    let _alone = alone();
    freezes_at_ready(&workers());
}

#[test]
fn g3_a_successor_that_freezes_on_probation_is_killed_and_taken_back() {
    let _alone = alone();
    freezes_on_probation(&Setup::hello().args(&LIMITS).start(), "successor ready");
}

#[test]
fn g3_a_worker_that_freezes_on_probation_is_killed_and_taken_back() {
    let _alone = alone();
    freezes_on_probation(&workers(), "worker ready worker=2");
}

/// It accepts nothing, so nothing is lost with it, whenever it stops: no client that waits for it waits for ever.
fn freezes_at_ready(server: &Server) {
    let (old, asked) = (server.pid(), server.first_pid.to_string());
    let load = server.load(Mode::new_connections(4, Think::millis(0, 20)));
    server.binary.become_example("faulty");
    for micros in [0, 300, 3000] {
        fs::write(server.binary.path().with_file_name("fault"), format!("freeze-at-ready {micros}")).unwrap();
        let said = heirloom(&["restart", "--pid", &asked]);
        println!(
            "frozen {micros} us after it began to say ready: {}",
            said.stderr.lines().next().unwrap_or_default()
        );
        assert!([code::FAILED, code::TAKEN_BACK].contains(&said.code), "{said:#?}");
        let is_silent = said.stderr.contains("did not answer for") && said.stderr.contains("ended");
        assert!(said.code == code::FAILED || is_silent, "{said:#?}");
        assert_eq!(server.pid(), old);
    }
    recovers(server, &asked);
    load.stop().assert_none_failed();
}

fn freezes_on_probation(server: &Server, ready: &str) {
    let (old, asked) = (server.pid(), server.first_pid.to_string());
    let mark = server.mark();
    let restart = beside(&["restart", "--pid", &asked]);
    server.wait_for_line(mark, ready);
    let new = new_beside(server, old);
    proc::signal(new, Signal::SIGSTOP);
    heirloom(&["status", "--pid", &asked]).is(code::DONE, &["probation"]);
    restart.join().unwrap().is(code::TAKEN_BACK, &["did not answer for", "ended"]);
    server.wait_for_exit(new);
    assert_eq!(server.pid(), old);
    heirloom(&["status", "--pid", &asked]).is(code::DONE, &["did not answer for"]);
    recovers(server, &asked);
}

#[test]
fn g3_a_foreign_worker_that_freezes_on_probation_is_taken_back() {
    let _alone = alone();
    let setup = support::run::Setup::new().options(&["--ready", "notify", "--probation", "1s"]);
    let running = setup.listen().env("WORKER_READY", "notify").worker();
    running.wait_for_line(0, "worker settled worker=1");
    let mark = running.mark();
    running.signal(Signal::SIGHUP);
    let started = running.wait_for_line(mark, "worker started worker=2");
    let new: i32 = started.rsplit('=').next().unwrap().parse().unwrap();
    running.wait_for_line(mark, "worker ready worker=2");
    proc::signal(new, Signal::SIGSTOP);
    let line = running.wait_for_line(mark, "restart taken back");
    assert!(line.contains("did not answer for"), "{line}");
    // It may hold requests: it goes on to finish them, and ends.
    running.wait_for_line(mark, "worker 2 stops");
    running.wait_for_line(mark, "a worker is gone worker=2");
    assert_eq!(running.get("/generation"), "1");
    running.restart();
    assert_eq!(running.get("/generation"), "3");
}

#[test]
fn g3_a_foreign_worker_that_is_ready_no_more_at_the_end_of_probation_is_taken_back() {
    let _alone = alone();
    let setup = support::run::Setup::new().options(&["--ready", "http=/once", "--probation", "100ms"]);
    let running = setup.listen().worker();
    running.wait_for_line(0, "worker settled worker=1");
    let mark = running.mark();
    running.signal(Signal::SIGHUP);
    running.wait_for_line(mark, "worker ready worker=2");
    let line = running.wait_for_line(mark, "restart taken back");
    assert!(line.contains("did not answer for"), "{line}");
    running.wait_for_line(mark, "the last check at the end of a worker's probation failed");
    running.wait_for_line(mark, "a worker is gone worker=2");
    assert_eq!(running.get("/generation"), "1");
}

fn recovers(server: &Server, asked: &str) {
    let old = server.pid();
    server.binary.become_example(if server.first_pid == old { "hello" } else { "workers" });
    heirloom(&["restart", "--pid", asked]).is(code::DONE, &["serves"]);
    assert_ne!(server.pid(), old);
}

fn new_beside(server: &Server, old: i32) -> i32 {
    let children = proc::children(server.first_pid);
    *children.iter().find(|pid| **pid != old).expect("a successor")
}

fn workers() -> Server {
    let server = Setup::example("workers").args(&LIMITS).start();
    server.wait_for_line(0, "worker settled");
    server
}
