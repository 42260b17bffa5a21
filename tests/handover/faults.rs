//! G3: a successor that fails changes nothing, however it fails. Each under load, and with a good restart after.

use std::fs;

use support::load::{Load, Mode, Report, Think};
use support::{PATIENCE, Server, Setup, Signal, alone, beside_others, proc, says};

#[test]
fn binary_missing() {
    fails_and_recovers(|server| server.binary.remove());
}

#[test]
fn binary_not_executable() {
    fails_and_recovers(|server| server.binary.become_file(b"#!/bin/sh\nexit 0\n", 0o644));
}

#[test]
fn binary_empty() {
    fails_and_recovers(|server| server.binary.become_file(b"", 0o755));
}

#[test]
fn binary_garbage() {
    fails_and_recovers(|server| server.binary.become_file(&[0xA5; 4096], 0o755));
}

#[test]
fn binary_for_another_machine() {
    fails_and_recovers(|server| server.binary.become_foreign("hello"));
}

#[test]
fn crash_before_ready() {
    fails_and_recovers(|server| server.binary.become_script("kill -SEGV $$"));
}

#[test]
fn exit_3_before_ready() {
    fails_and_recovers(|server| server.binary.become_script("exit 3"));
}

#[test]
fn exit_0_before_ready() {
    fails_and_recovers(|server| server.binary.become_script("exit 0"));
}

#[test]
fn hang_before_ready() {
    hangs_and_recovers("exec sleep 1000");
}

#[test]
fn a_helper_left_behind_keeps_every_fd_open() {
    fails_and_recovers(|server| server.binary.become_script("sleep 1000 & exit 1"));
}

#[test]
fn a_helper_outlives_the_hang_of_its_parent() {
    hangs_and_recovers("sleep 1000; exit 1");
}

#[test]
fn own_initialisation_fails_with_a_reason() {
    let line = fails_and_recovers(|server| faulty(server, "fail-init the cellar is flooded"));
    assert!(line.contains("the cellar is flooded"), "the reason is not in {line:?}");
}

#[test]
fn panic_before_ready() {
    fails_and_recovers(|server| faulty(server, "panic"));
}

#[test]
fn ten_kinds_of_failure_in_a_row() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--start-timeout", START_TIMEOUT]).start();
    let load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    for script in ["exit 0", "kill -9 $$", "exit 1", "sleep 1000 & exit 2", "exec sleep 1000"] {
        for signal in [Signal::SIGHUP, Signal::SIGUSR2] {
            server.binary.become_script(script);
            server.restart_in_vain(signal);
        }
    }
    proc::assert_reaped(server.first_pid, PATIENCE);
    recovers(&server, &load);
    finish(load, 0);
}

#[test]
fn working_directory_deleted() {
    let _shared = beside_others();
    let setup = Setup::hello();
    let directory = setup.dir().join("start");
    fs::create_dir(&directory).unwrap();
    let server = setup.directory(&directory).start();
    let load = server.load(mixed());
    fs::remove_dir(&directory).unwrap();
    // Whether it starts elsewhere or says that it cannot: it must not be stuck.
    let outcome = server.try_restart(Signal::SIGHUP);
    println!("with its directory deleted: {outcome:?}");
    fs::create_dir(&directory).unwrap();
    recovers(&server, &load);
    finish(load, 0);
}

#[test]
fn a_flipped_symlink_starts_the_new_release() {
    let releases = Releases::new();
    let program = releases.current().join("hello");
    releases.check(|setup| setup.run_as(program));
}

#[test]
fn a_flipped_symlink_under_the_start_directory_starts_the_new_release() {
    let releases = Releases::new();
    let current = releases.current();
    releases.check(|setup| setup.directory(current).run_as("./hello"));
}

#[test]
fn a_thousand_signals_make_at_most_two_restarts() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "200ms"]).start();
    let load = server.load(mixed());
    load.wait_for_requests(50);
    for signal in [Signal::SIGHUP, Signal::SIGUSR2].into_iter().cycle().take(1000) {
        proc::signal(server.first_pid, signal);
    }
    let mut pid = server.wait_for_other_than(server.first_pid);
    server.wait_for_exit(server.first_pid);
    // A further restart would make this one exit within its probation: wait a good deal longer for that.
    while proc::wait_for_exit(pid, std::time::Duration::from_secs(5)) {
        pid = server.pid();
    }
    let generation = server.generation();
    assert!((2..=3).contains(&generation), "{} restarts", generation - 1);
    recovers(&server, &load);
    finish(load, 0);
}

#[test]
fn a_signal_before_the_child_has_handlers() {
    let _shared = beside_others();
    let server = Setup::hello().start();
    let load = server.load(mixed());
    // The shell signals itself, which becomes the server: before the server's first instruction.
    let hello = support::binary::example_path("hello");
    server.binary.become_script(&format!("kill -HUP $$; kill -USR2 $$; exec '{}' \"$@\"", hello.display()));
    server.restart(Signal::SIGHUP);
    recovers(&server, &load);
    finish(load, 0);
}

#[test]
fn no_descriptor_left_at_the_moment_of_the_restart() {
    let _alone = alone();
    let server = Setup::hello().start();
    let load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    // None at all, and then as many as let it come one step further each time.
    for spare in [None].into_iter().chain((0..12).map(Some)) {
        load.wait_for_requests(100);
        let (pid, mark) = (server.pid(), server.mark());
        let held = u64::try_from(proc::fd_count(pid)).unwrap();
        let limit = proc::limit_fds(pid, Some(spare.map_or(3, |spare| held + spare)));
        proc::signal(pid, Signal::SIGHUP);
        // The successor, which has the same limit, may come as far as to listen.
        let line = server.wait_for_lines(mark, &[says::FAILED, says::LISTENING], 1).swap_remove(0);
        proc::limit_fds(pid, limit);
        // It may have failed meanwhile.
        proc::children(pid).into_iter().for_each(|child| proc::limit_fds_if_there(child, limit));
        if line.contains(says::LISTENING) {
            let outcome = server.outcome(pid, mark);
            println!("{spare:?} to spare: {outcome:?}");
            if outcome.is_ok() {
                server.wait_for_exit(pid);
            }
        } else {
            println!("{spare:?} to spare: {line}");
            assert_eq!(server.pid(), pid);
        }
    }
    recovers(&server, &load);
    finish(load, 0);
}

/// Of what hangs; what is good starts within it on any machine.
const START_TIMEOUT: &str = "3s";

/// A restart into what `break_it` leaves of the binary fails, twice; the next good one works. Returns the
/// line that says why it failed.
fn fails_and_recovers(break_it: impl Fn(&Server)) -> String {
    fails_and_recovers_within(&[], break_it)
}

fn hangs_and_recovers(script: &str) {
    fails_and_recovers_within(&["--start-timeout", START_TIMEOUT], |server| {
        server.binary.become_script(script);
    });
}

fn fails_and_recovers_within(args: &[&str], break_it: impl Fn(&Server)) -> String {
    let _shared = beside_others();
    let server = Setup::hello().args(args).start();
    let load = server.load(mixed());
    load.wait_for_requests(50);
    break_it(&server);
    server.restart_in_vain(Signal::SIGHUP);
    let line = server.restart_in_vain(Signal::SIGUSR2);
    println!("{line}");
    load.wait_for_requests(50);
    proc::assert_reaped(server.pid(), PATIENCE);
    recovers(&server, &load);
    finish(load, 0);
    line
}

/// A good binary again: the next restart must work.
fn recovers(server: &Server, load: &Load) {
    server.binary.become_example("hello");
    let old = server.pid();
    server.restart(Signal::SIGHUP);
    server.wait_for_exit(old);
    load.wait_for_requests(50);
}

fn finish(load: Load, held: u64) {
    let report = load.stop();
    println!("{}\n{report}", Report::HEADER);
    report.assert_lost_at_most(held);
}

fn faulty(server: &Server, fault: &str) {
    server.binary.become_example("faulty");
    fs::write(server.binary.path().with_file_name("fault"), fault).unwrap();
}

fn mixed() -> Mode {
    Mode::new_connections(8, Think::millis(0, 2))
}

/// `current ->` one of two releases, as a deployment tool lays them out.
struct Releases {
    setup: Setup,
}

impl Releases {
    fn new() -> Releases {
        let setup = Setup::hello();
        for release in ["1", "2"] {
            support::Binary::install("hello", &setup.dir().join("releases").join(release).join("hello"));
        }
        std::os::unix::fs::symlink("releases/1", setup.dir().join("current")).unwrap();
        Releases { setup }
    }

    fn current(&self) -> std::path::PathBuf {
        self.setup.dir().join("current")
    }

    fn check(self, how: impl FnOnce(Setup) -> Setup) {
        let _shared = beside_others();
        let server = how(self.setup).start();
        let load = server.load(mixed());
        load.wait_for_requests(50);
        let releases = server.dir().canonicalize().unwrap().join("releases");
        assert_eq!(proc::executable(server.pid()).unwrap(), releases.join("1/hello"));
        let new = server.dir().join("new");
        std::os::unix::fs::symlink("releases/2", &new).unwrap();
        fs::rename(new, server.dir().join("current")).unwrap();
        // Deployment tools delete old releases, the one that still runs among them.
        fs::remove_dir_all(releases.join("1")).unwrap();
        let pid = server.restart(Signal::SIGHUP);
        assert_eq!(proc::executable(pid).unwrap(), releases.join("2/hello"));
        load.wait_for_requests(50);
        finish(load, 0);
    }
}
