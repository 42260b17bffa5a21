//! Whoever read the log is gone: the program's subscriber panics at every line, and restarts and stops go on.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use support::load::{Target, fetch};
use support::{PATIENCE, Signal, alone, binary, proc};

#[test]
#[allow(clippy::zombie_processes, reason = "a test that fails ends its process, and init reaps the rest")]
fn g5_a_log_that_nobody_reads_stops_nothing() {
    let _alone = alone();
    let mut first = Command::new(binary::example_path("hello"))
        .args(["--listen", "127.0.0.1:0", "--probation", "0ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("hello starts");
    let mut line = String::new();
    let mut said = BufReader::new(first.stdout.take().expect("a pipe"));
    said.read_line(&mut line).expect("a line");
    let address = line.trim().strip_prefix("listening on ").expect("an address").parse().expect("an address");
    let target = Target::Tcp(address);
    let ask = |path: &str| fetch(&target, path, PATIENCE).expect("an answer").body;
    let mut newest = Newest(ask("/pid").trim().parse().expect("a pid"));
    drop(first.stderr.take());
    for generation in 2..=4 {
        proc::signal(newest.0, Signal::SIGUSR2);
        let deadline = Instant::now() + PATIENCE;
        while ask("/generation").trim() != generation.to_string() {
            assert!(Instant::now() < deadline, "no restart");
        }
        let old = std::mem::replace(&mut newest.0, ask("/pid").trim().parse().expect("a pid"));
        if generation == 2 {
            assert!(first.wait().expect("a child").success());
        } else {
            assert!(proc::wait_for_exit(old, PATIENCE), "the old process stays");
        }
    }
    proc::signal(newest.0, Signal::SIGTERM);
    assert!(proc::wait_for_exit(newest.0, PATIENCE), "it does not stop");
}

/// Killed if the test fails on the way.
struct Newest(i32);

impl Drop for Newest {
    fn drop(&mut self) {
        if std::thread::panicking() {
            proc::signal(self.0, Signal::SIGKILL);
        }
    }
}
