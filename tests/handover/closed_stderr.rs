//! Whoever read the log is gone: the program's subscriber panics at every line, and restarts and stops go on.

use std::fs::File;
use std::time::Instant;

use nix::sys::stat::Mode;
use nix::sys::wait::WaitStatus;
use support::{PATIENCE, Setup, Signal, beside_others, proc};

#[test]
fn g5_a_log_that_nobody_reads_stops_nothing() {
    let _shared = beside_others();
    let setup = Setup::hello().args(&["--probation", "0ms"]);
    let log = setup.dir().join("log");
    nix::unistd::mkfifo(&log, Mode::S_IRWXU).expect("a FIFO");
    // For writing as well: this open waits for nobody.
    let reader = File::options().read(true).write(true).open(&log).expect("a pipe");
    let server = setup.by_shell("", &format!("2>{}", log.display())).start();
    let mut newest = server.pid();
    drop(reader);
    for generation in 2..=4 {
        proc::signal(newest, Signal::SIGUSR2);
        let deadline = Instant::now() + PATIENCE;
        while server.generation() != generation {
            assert!(Instant::now() < deadline, "no restart");
        }
        let old = std::mem::replace(&mut newest, server.pid());
        match generation {
            2 => assert!(matches!(server.exit_status(old), WaitStatus::Exited(_, 0))),
            _ => server.wait_for_exit(old),
        }
    }
    proc::signal(newest, Signal::SIGTERM);
    server.wait_for_exit(newest);
}
