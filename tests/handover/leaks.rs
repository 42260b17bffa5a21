//! G6: after a thousand restarts a generation holds what the second one held.

use std::time::{Duration, Instant};

use support::proc::{Footprint, environment};
use support::{PATIENCE, Server, Setup, Signal, beside_others};

#[test]
fn a_thousand_restarts_without_probation() {
    let server = Setup::hello().args(&["--probation", "0ms"]);
    nothing_grows(server, 1000);
}

#[test]
fn twenty_restarts_with_the_default_probation() {
    nothing_grows(Setup::hello(), 20);
}

fn nothing_grows(setup: Setup, restarts: usize) {
    let _turn = beside_others();
    let server = setup.start();
    restart(&server, Signal::SIGHUP);
    let (before, environment_before) = at_rest(&server, None);
    let began = Instant::now();
    for signal in [Signal::SIGUSR2, Signal::SIGHUP].into_iter().cycle().take(restarts) {
        restart(&server, signal);
    }
    println!("{restarts} restarts in {:.1} s", began.elapsed().as_secs_f64());
    let (after, environment_after) = at_rest(&server, Some(&before));
    assert_eq!(after, before, "after {restarts} restarts");
    assert!(after.fds.len() > 1 && !after.environment.is_empty(), "nothing was seen: {after:?}");
    assert_eq!(after.zombies, 0);
    // A generation or a pid may have gained digits; each restart adding a byte would show.
    assert!(
        environment_after <= environment_before + DIGITS,
        "{environment_before} -> {environment_after} bytes"
    );
    assert_eq!(server.generation(), restarts as u64 + 2);
}

fn restart(server: &Server, signal: Signal) {
    let old = server.pid();
    server.restart(signal);
    server.wait_for_exit(old);
}

/// The footprint once what the last request and the last restart needed is gone again; with `expected`, as
/// soon as it is that. Nothing tells another process when that is so: it has to be asked for.
fn at_rest(server: &Server, expected: Option<&Footprint>) -> (Footprint, usize) {
    let pid = server.pid();
    let deadline = Instant::now() + if expected.is_some() { PATIENCE } else { REST };
    let mut footprint = Footprint::of(pid);
    while Instant::now() < deadline && expected != Some(&footprint) {
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(Duration::from_millis(20));
        footprint = Footprint::of(pid);
    }
    let bytes = environment(pid).iter().map(|(name, value)| name.len() + value.len() + 2).sum();
    (footprint, bytes)
}

/// Long enough for a probation and for tokio's idle blocking threads (10 s) to end.
const REST: Duration = Duration::from_secs(12);

/// For two numbers that grow from 1 to 4 digits, a pid and a few socket cookies.
const DIGITS: usize = 64;
