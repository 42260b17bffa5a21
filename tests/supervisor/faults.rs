//! Faults under a supervisor: a worker that fails changes nothing, one that dies is replaced, and when the supervisor
//! itself is killed its workers do as they were told.

use std::fs;
use std::time::{Duration, Instant};

use support::load::{Failure, Load, Mode, Report, Think};
use support::{PATIENCE, Server, Setup, Signal, alone, beside_others, proc, says};

/// What a killed process held: one request of each client.
const CLIENTS: usize = 16;

#[test]
fn g3_workers_that_fail_one_after_the_other() {
    let _alone = alone();
    let server = supervised(&["--start-timeout", "3s", "--probation", "3s"]);
    let load = load(&server);
    let old = server.pid();
    let faults: [(&str, &dyn Fn()); 12] = [
        ("missing", &|| server.binary.remove()),
        ("not executable", &|| server.binary.become_file(b"#!/bin/sh\nexit 0\n", 0o644)),
        ("empty", &|| server.binary.become_file(b"", 0o755)),
        ("garbage", &|| server.binary.become_file(&[0xA5; 4096], 0o755)),
        ("for another machine", &|| server.binary.become_foreign("workers")),
        ("crashes", &|| server.binary.become_script("kill -SEGV $$")),
        ("exits 3", &|| server.binary.become_script("exit 3")),
        ("exits 0", &|| server.binary.become_script("exit 0")),
        ("hangs", &|| server.binary.become_script("exec sleep 1000")),
        ("leaves a helper", &|| server.binary.become_script("sleep 1000 & exit 1")),
        ("panics", &|| faulty(&server, "panic")),
        ("gives up", &|| faulty(&server, "fail-init the cellar is flooded")),
    ];
    for (name, prepare) in faults {
        prepare();
        // By the supervisor's signal and by the worker's.
        for to in [server.first_pid, old] {
            let mark = server.mark();
            proc::signal(to, Signal::SIGHUP);
            // The supervisor says it, and so does the worker.
            let line = server.wait_for_lines(mark, &[says::FAILED], 2).swap_remove(0);
            println!("{name}: {line}");
            assert!(name != "gives up" || line.contains("the cellar is flooded"), "{line}");
            assert_eq!(server.pid(), old);
        }
    }
    for micros in [0, 30, 100, 200, 400, 800, 2000] {
        faulty(&server, &format!("die-at-ready {micros}"));
        println!("dies {micros} us after it began to say ready: {}", in_vain(&server, old));
    }
    for fault in ["die-at-commit", "exit-at-commit"] {
        faulty(&server, fault);
        println!("{fault}: {}", in_vain(&server, old));
    }
    recovers(&server, &load);
    proc::assert_reaped(server.first_pid, PATIENCE);
    // None of them held anything.
    finish(load, 0);
}

#[test]
fn g1_a_worker_that_is_killed_is_replaced_and_takes_only_what_it_held() {
    let _alone = alone();
    let server = supervised(&["--backoff", "20ms"]);
    let load = load(&server);
    for _ in 0..5 {
        let old = server.pid();
        proc::signal(old, Signal::SIGKILL);
        server.wait_for_other_than(old);
        load.wait_for_requests(20);
    }
    recovers(&server, &load);
    finish(load, 5);
}

#[test]
fn g1_the_old_worker_is_killed_at_every_step_of_a_restart() {
    let _alone = alone();
    let server = supervised(&["--probation", "20ms", "--backoff", "1ms"]);
    let load = load(&server);
    for step in 0..ROUNDS {
        let old = server.pid();
        proc::signal(server.first_pid, Signal::SIGHUP);
        spin(STEP * step);
        // On a slow machine it may have been replaced already, by the restart of the round before.
        proc::signal_if_there(old, Signal::SIGKILL);
        server.wait_for_exit(old);
        let new = server.pid();
        assert_ne!(new, old, "killed after {:?}", STEP * step);
        load.wait_for_requests(20);
    }
    recovers(&server, &load);
    finish(load, ROUNDS.into());
}

#[test]
fn g3_what_a_failed_worker_has_bound_goes_with_it() {
    let _shared = beside_others();
    let server = supervised(&["--probation", "50ms"]);
    let path = server.binary.path().with_file_name("late.sock");
    faulty(&server, &format!("bind unix:{}", path.display()));
    for _ in 0..2 {
        let mark = server.mark();
        let failed = in_vain(&server, server.pid());
        assert!(failed.contains("as told"), "{failed}");
        server.wait_for_line(mark, "dropping a socket that no worker uses");
        assert!(!path.exists(), "nobody accepts there");
    }
}

#[test]
fn g3_the_new_worker_is_killed_at_every_step_of_a_restart() {
    let _alone = alone();
    let server = supervised(&["--probation", "50ms", "--backoff", "1ms"]);
    let load = load(&server);
    for step in 0..ROUNDS {
        // The one of the last round may not have been reaped yet.
        let before = proc::children(server.first_pid);
        proc::signal(server.first_pid, Signal::SIGHUP);
        let deadline = Instant::now() + PATIENCE;
        let new = loop {
            if let Some(new) =
                proc::children(server.first_pid).into_iter().find(|child| !before.contains(child))
            {
                break new;
            }
            assert!(Instant::now() < deadline, "no new worker is started");
        };
        spin(STEP * step);
        proc::signal_if_there(new, Signal::SIGKILL);
        server.wait_for_exit(new);
        assert_ne!(server.pid(), new);
        load.wait_for_requests(20);
    }
    recovers(&server, &load);
    finish(load, ROUNDS.into());
}

#[test]
fn g4_a_thousand_mixed_signals() {
    let _alone = alone();
    let server = supervised(&["--probation", "200ms"]);
    let load = load(&server);
    let worker = server.pid();
    let signals = [Signal::SIGHUP, Signal::SIGUSR2, Signal::SIGUSR1, Signal::SIGWINCH, Signal::SIGHUP];
    for (number, signal) in signals.into_iter().cycle().take(1000).enumerate() {
        // USR1 and WINCH are the program's own; the others are for either.
        let to = if number % 2 == 0 && signal != Signal::SIGWINCH { worker } else { server.first_pid };
        proc::signal(to, signal);
    }
    server.wait_for_exit(worker);
    server.wait_for_lines(0, &["worker settled"], 2);
    let restarts = || server.lines(0, "worker settled").len() - 1;
    // A third one would follow the second within its probation: wait a good deal longer for it.
    let mut seen = 0;
    while seen < restarts() {
        seen = restarts();
        // allow: sleep (that nothing more happens has no event)
        std::thread::sleep(Duration::from_secs(2));
    }
    assert!((1..=2).contains(&seen), "{seen} restarts");
    recovers(&server, &load);
    finish(load, 0);
}

#[test]
fn a_new_version_that_keeps_crashing_is_rolled_back() {
    let _alone = alone();
    let server = supervised(&["--probation", "0ms", "--backoff", "10ms", "--stable", "60s"]);
    let good = server.pid();
    let load = load(&server);
    // It is ready and settled on, and dies before it accepts anything.
    faulty(&server, "die-at-commit 300");
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGHUP);
    server.wait_for_line(mark, "going back to the last good one");
    server.wait_for_exit(good);
    let rolled_back = server.pid();
    println!("{} crashes before the last good one was run again", server.lines(mark, "has died").len());
    load.wait_for_requests(50);
    // The file still lies there: it is tried again only when somebody asks.
    proc::signal(rolled_back, Signal::SIGKILL);
    server.wait_for_other_than(rolled_back);
    recovers(&server, &load);
    finish(load, 1);
}

#[test]
fn the_last_good_version_is_run_though_its_file_is_gone() {
    let _alone = alone();
    let server = supervised(&["--backoff", "10ms", "--stable", "100ms"]);
    let old = server.pid();
    let load = load(&server);
    // Proved by now: each of these took a moment.
    load.wait_for_requests(2000);
    server.binary.remove();
    proc::signal(old, Signal::SIGKILL);
    let new = server.pid();
    assert_ne!(new, old);
    server.wait_for_line(0, "going back to the last good one");
    recovers(&server, &load);
    finish(load, 1);
}

#[test]
fn the_workers_of_a_killed_supervisor_stop_in_order() {
    let _shared = beside_others();
    let server = supervised(&[]);
    let worker = server.pid();
    let mut slow = server.begin("/sleep?duration=1s");
    assert_eq!(server.pid(), worker);
    proc::signal(server.first_pid, Signal::SIGKILL);
    assert!(slow.answer().body.starts_with("Hello"));
    drop(slow);
    server.wait_for_exit(worker);
    assert!(server.try_get("/").is_err());
}

#[test]
fn the_workers_of_a_killed_supervisor_serve_on_if_they_are_to() {
    let _alone = alone();
    let server = supervised(&["--orphans", "serve-on", "--probation", "100ms"]);
    let load = load(&server);
    let worker = server.pid();
    proc::signal(server.first_pid, Signal::SIGKILL);
    server.wait_for_exit(server.first_pid);
    load.wait_for_requests(50);
    assert_eq!(server.pid(), worker);
    // It is a server of its own now, and restarts like one.
    server.wait_for_line(0, "serving on without a supervisor");
    let old = server.pid();
    server.restart(Signal::SIGHUP);
    server.wait_for_exit(old);
    load.wait_for_requests(50);
    finish(load, 0);
}

#[test]
fn g1_the_supervisor_is_killed_at_every_step_of_a_restart() {
    let _alone = alone();
    for step in 0..KILLED_SUPERVISORS {
        let server = supervised(&["--orphans", "serve-on", "--probation", "5ms"]);
        let load = load(&server);
        let old = server.pid();
        proc::signal(server.first_pid, Signal::SIGHUP);
        spin(STEP * step);
        proc::signal(server.first_pid, Signal::SIGKILL);
        server.wait_for_exit(server.first_pid);
        load.wait_for_requests(50);
        // Exactly one is left in the end: another would answer as well, as long as both are there.
        let serving = server.pid();
        if serving != old {
            server.wait_for_exit(old);
        }
        load.wait_for_requests(50);
        let report = load.stop();
        println!("killed after {:?}: {}\n{report}", STEP * step, if serving == old { "old" } else { "new" });
        report.assert_none_failed();
    }
}

const ROUNDS: u32 = 24;
const STEP: Duration = Duration::from_micros(500);
/// Each starts a server anew, so there are fewer; the steps are as fine.
const KILLED_SUPERVISORS: u32 = 16;

fn supervised(args: &[&str]) -> Server {
    Setup::example("workers").args(args).start()
}

/// A restart that fails or is taken back. The supervisor says so, and so does the worker.
fn in_vain(server: &Server, worker: i32) -> String {
    let mark = server.mark();
    proc::signal(worker, Signal::SIGUSR2);
    let line = server.wait_for_lines(mark, &[says::FAILED, says::TOOK_BACK], 2).swap_remove(0);
    assert_eq!(server.pid(), worker);
    line
}

fn faulty(server: &Server, fault: &str) {
    server.binary.become_example("faulty");
    fs::write(server.binary.path().with_file_name("fault"), fault).unwrap();
}

fn load(server: &Server) -> Load {
    let load = server.load(Mode::new_connections(CLIENTS, Think::millis(0, 2)));
    load.wait_for_requests(50);
    load
}

/// A good binary again: the next restart must work.
fn recovers(server: &Server, load: &Load) {
    server.binary.become_example("workers");
    let old = server.pid();
    proc::signal(server.first_pid, Signal::SIGHUP);
    server.wait_for_other_than(old);
    server.wait_for_exit(old);
    load.wait_for_requests(50);
}

/// `kills` processes took no more with them than they held.
fn finish(load: Load, kills: u64) {
    let report = load.stop();
    println!("{}\n{report}   ({kills} kills)", Report::HEADER);
    assert_eq!(report.count(Failure::Refused), 0);
    report.assert_lost_at_most(kills * CLIENTS as u64);
}

/// Shorter waits than a sleep can keep.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}
