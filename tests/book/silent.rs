//! A program without a log: what goes wrong is on standard error all the same, and holds nothing up there.

use std::fs::File;
use std::os::fd::AsFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::Mode;
use support::operator::{code, heirloom};
use support::{Server, Setup, Signal, beside_others, proc};

#[test]
fn a_failed_restart_is_told_in_one_line_until_somebody_subscribes() {
    let _shared = beside_others();
    let server = Setup::example("silent").start();
    let mut mark = server.mark();
    server.binary.become_script("echo boom >&2; exit 3");
    let line = fail(&server, mark);
    let start = format!("heirloom[{}]: error: restart failed, serving on failure=", server.first_pid);
    assert!(line.contains(&start) && line.contains("status 3"), "{line}");

    server.binary.remove();
    mark = server.mark();
    let line = fail(&server, mark);
    assert!(line.contains(&start) && line.contains("there is no such file"), "{line}");

    assert_eq!(server.try_get("/subscribe").unwrap().status, 200);
    mark = server.mark();
    let line = fail(&server, mark);
    assert!(line.contains("ERROR") && !line.contains("heirloom["), "{line}");
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(server.first_pid);
    assert!(server.lines(mark, "heirloom[").is_empty(), "once more on standard error");
}

#[test]
fn a_logger_of_the_log_crate_hears_it_instead() {
    let _shared = beside_others();
    let server = Setup::example("silent").args(&["--log"]).start();
    server.binary.remove();
    let line = fail(&server, 0);
    assert!(line.contains("logged ERROR heirloom ") && line.contains("there is no such file"), "{line}");
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(server.first_pid);
    assert!(server.lines(0, "heirloom[").is_empty(), "once more on standard error");
    assert!(!server.lines(0, "logged INFO").is_empty());
}

#[test]
fn it_can_be_turned_off() {
    let _shared = beside_others();
    let server = Setup::example("silent").args(&["--off"]).start();
    let mark = server.mark();
    server.binary.remove();
    let pid = server.first_pid.to_string();
    heirloom(&["restart", "--pid", &pid]).is(code::FAILED, &["there is no such file"]);
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(server.first_pid);
    assert!(server.lines(mark, "heirloom[").is_empty());
}

#[test]
fn g5_a_standard_error_that_nobody_reads_holds_nothing_up() {
    let _shared = beside_others();
    let setup = Setup::example("silent");
    let log = setup.dir().join("stderr");
    nix::unistd::mkfifo(&log, Mode::S_IRWXU).expect("a FIFO");
    // For writing as well: this open waits for nobody.
    let unread = File::options().read(true).write(true).open(&log).expect("a pipe");
    fill(&unread);
    let server = setup.by_shell("", &format!("2>{}", log.display())).start();
    let first = server.pid();
    server.binary.remove();
    for _ in 0..3 {
        proc::signal(first, Signal::SIGUSR2);
        assert_eq!(server.pid(), first);
    }
    server.binary.become_example("silent");
    proc::signal(first, Signal::SIGUSR2);
    let second = server.wait_for_other_than(first);
    server.wait_for_exit(first);
    proc::signal(second, Signal::SIGTERM);
    server.wait_for_exit(second);
    drop(unread);
}

/// A restart that fails; what is said of it.
fn fail(server: &Server, mark: usize) -> String {
    proc::signal(server.first_pid, Signal::SIGUSR2);
    server.wait_for_line(mark, "restart failed")
}

/// Until not one byte more fits.
fn fill(pipe: &File) {
    let flags = OFlag::from_bits_retain(fcntl(pipe, FcntlArg::F_GETFL).expect("flags"));
    fcntl(pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).expect("a pipe that does not block");
    for chunk in [4096, 1] {
        while nix::unistd::write(pipe.as_fd(), &vec![b'x'; chunk]).is_ok() {}
    }
    fcntl(pipe, FcntlArg::F_SETFL(flags)).expect("a pipe that blocks");
}
