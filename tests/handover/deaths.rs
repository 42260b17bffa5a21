//! G1 and G3 when a process is killed: whoever is left serves on, and nothing is refused or left waiting.

use std::fs;
use std::time::{Duration, Instant};

use support::load::{Failure, Load, Mode, Report, Think};
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc, says};

/// What a killed process held: one request of each client.
const CLIENTS: usize = 16;

#[test]
fn the_predecessor_dies_before_its_successor_is_ready() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--init-delay", "500ms"]).start();
    let load = load(&server);
    let old = server.pid();
    proc::signal(old, Signal::SIGHUP);
    let child = server.wait_for_child(old);
    proc::signal(old, Signal::SIGKILL);
    assert_eq!(server.wait_for_other_than(old), child);
    serves_on(&server, load, 1);
}

#[test]
fn the_predecessor_dies_while_its_successor_becomes_ready() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    let load = load(&server);
    // From before the exec to well into probation, in steps that no start is shorter than.
    for step in 0..ROUNDS {
        let old = server.pid();
        proc::signal(old, Signal::SIGHUP);
        let child = server.wait_for_child(old);
        spin(STEP * step);
        proc::signal(old, Signal::SIGKILL);
        assert_eq!(server.wait_for_other_than(old), child, "killed after {:?}", STEP * step);
        load.wait_for_requests(20);
    }
    serves_on(&server, load, ROUNDS.into());
}

#[test]
fn the_predecessor_dies_in_probation() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "5s"]).start();
    let load = load(&server);
    let old = server.pid();
    let new = server.restart(Signal::SIGHUP);
    proc::signal(old, Signal::SIGKILL);
    server.wait_for_exit(old);
    load.wait_for_requests(50);
    assert_eq!(server.pid(), new);
    serves_on(&server, load, 1);
}

#[test]
fn the_successor_is_killed_in_probation() {
    let _shared = beside_others();
    // Longer than any pause of a busy machine between its first answer and the kill.
    let server = Setup::hello().args(&["--probation", "20s"]).start();
    let load = load(&server);
    let (old, mark) = (server.pid(), server.mark());
    for round in 1..=5 {
        let new = server.restart(Signal::SIGUSR2);
        proc::signal(new, Signal::SIGKILL);
        assert_eq!(server.wait_for_other_than(new), old);
        // It accepts first and reports then.
        assert_eq!(server.wait_for_lines(mark, &[says::TOOK_BACK], round).len(), round);
    }
    proc::assert_reaped(old, PATIENCE);
    finish(load, 5);
}

#[test]
fn the_successor_dies_when_it_says_ready() {
    taken_back_without_a_loss(
        &[0, 30, 100, 200, 400, 800, 2000].map(|micros| format!("die-at-ready {micros}")),
    );
}

#[test]
fn the_successor_dies_before_its_first_accept() {
    taken_back_without_a_loss(&["die-at-commit"]);
}

#[test]
fn the_successor_exits_0_before_its_first_accept() {
    taken_back_without_a_loss(&["exit-at-commit"]);
}

const ROUNDS: u32 = 24;
const STEP: Duration = Duration::from_micros(500);

/// The successor held nothing, so nothing may be lost at all.
fn taken_back_without_a_loss(faults: &[impl AsRef<str>]) {
    let _shared = beside_others();
    // Longer than any pause of a busy machine between a successor's commit and its death.
    let server = Setup::hello().args(&["--probation", "20s"]).start();
    let load = load(&server);
    server.binary.become_example("faulty");
    let (old, mark) = (server.pid(), server.mark());
    for fault in faults {
        fs::write(server.binary.path().with_file_name("fault"), fault.as_ref()).unwrap();
        for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
            // Whether it died before the commit or after is a race: failed, or taken back.
            println!("{}: {}", fault.as_ref(), server.restart_in_vain(signal));
        }
    }
    println!("taken back: {}", server.lines(mark, says::TOOK_BACK).len());
    load.wait_for_requests(50);
    assert_eq!(server.pid(), old);
    proc::assert_reaped(old, PATIENCE);
    server.binary.become_example("hello");
    server.restart(Signal::SIGHUP);
    load.wait_for_requests(50);
    finish(load, 0);
}

/// The next restart works, and `kills` processes took no more with them than they held.
fn serves_on(server: &Server, load: Load, kills: u64) {
    load.wait_for_requests(50);
    let pid = server.pid();
    server.restart(Signal::SIGHUP);
    server.wait_for_exit(pid);
    load.wait_for_requests(50);
    finish(load, kills);
}

fn finish(load: Load, kills: u64) {
    let report = load.stop();
    println!("{}\n{report}   ({kills} kills)", Report::HEADER);
    assert_eq!(report.count(Failure::Refused), 0);
    report.assert_lost_at_most(kills * CLIENTS as u64);
}

fn load(server: &Server) -> Load {
    let load = server.load(Mode::new_connections(CLIENTS, Think::millis(0, 2)));
    load.wait_for_requests(50);
    load
}

/// Shorter waits than a sleep can keep.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}
