//! Whoever reads the log has stopped reading, a hook hangs, or a file cannot be written: a server serves, restarts and stops
//! all the same.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use support::keep::{Client, request};
use support::load::{Target, fetch};
use support::run::Setup as Run;
use support::{PATIENCE, Server, Setup, Signal, alone, binary, proc};

/// A pipe that is full, and whose reader does not read.
struct Stuck {
    path: PathBuf,
    pipe: File,
}

impl Stuck {
    fn at(path: PathBuf) -> Stuck {
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).expect("a FIFO");
        let mut open = File::options();
        let mut pipe =
            open.read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path).expect("a pipe");
        while pipe.write(b"x").is_ok() {}
        Stuck { path, pipe }
    }

    /// For [`Setup::by_shell`].
    fn for_stderr(&self) -> String {
        format!("2>{}", self.path.display())
    }

    /// Reads again, until there is such a line.
    fn read_until(self, pattern: &str) {
        // Blocking from here on: a test that waits in vain is ended by whoever runs it.
        let reader = File::open(&self.path).expect("the other end");
        drop(self.pipe);
        let found = BufReader::new(reader).lines().any(|line| line.is_ok_and(|line| line.contains(pattern)));
        assert!(found, "no line with {pattern:?}");
    }
}

fn stuck_server(setup: Setup) -> (Stuck, Server) {
    let stuck = Stuck::at(setup.dir().join("log"));
    let server = setup.by_shell("", &stuck.for_stderr()).start();
    (stuck, server)
}

/// `heirloom run` and its worker, an example of ours, with a log that nobody reads.
fn stuck_run(setup: Run) -> (Stuck, support::run::Running) {
    let stuck = Stuck::at(setup.dir().join("log"));
    let shell = format!("exec \"$0\" \"$@\" {}", stuck.for_stderr());
    let hello = binary::example_path("hello");
    let running = setup
        .listen()
        .options(&["--ready", "heirloom", "--probation", "50ms", "--backoff", "10ms"])
        .under(&["bash", "-c", &shell])
        .command(&[hello.as_os_str(), OsStr::new("--listen"), OsStr::new("127.0.0.1:0")]);
    (stuck, running)
}

fn heirloom(arguments: &[&str]) -> bool {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heirloom"));
    command.args(arguments).status().expect("the command starts").success()
}

fn wait_for_other_than(target: &Target, old: i32) -> i32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = fetch(target, "/pid", PATIENCE).ok().and_then(|answer| answer.body.trim().parse().ok());
        if let Some(pid) = answer.filter(|pid| *pid != old) {
            return pid;
        }
        assert!(Instant::now() < deadline, "nobody but {old} answers");
        // allow: sleep (nothing tells of who answers next)
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Until the first stop has been obeyed: nobody is accepted any more.
fn wait_until_closed(target: &Target) {
    let deadline = Instant::now() + PATIENCE;
    while fetch(target, "/ready", PATIENCE).is_ok() {
        assert!(Instant::now() < deadline, "it still accepts");
        // allow: sleep (nothing tells of a listener that is closed)
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn g5_a_reader_that_stops_reading_keeps_no_server_from_restarting_and_stopping() {
    let _alone = alone();
    let (stuck, server) = stuck_server(Setup::hello().args(&["--probation", "50ms"]));
    let old = server.pid();
    proc::signal(old, Signal::SIGUSR2);
    let new = server.wait_for_other_than(old);
    server.wait_for_exit(old);
    assert!(heirloom(&["restart", "--pid", &new.to_string()]), "a restart that the command asks for");
    let newest = server.wait_for_other_than(new);
    server.wait_for_exit(new);
    // What was said meanwhile is there for whoever reads again.
    stuck.read_until("heirloom{generation=3}: accepting");
    proc::signal(newest, Signal::SIGTERM);
    server.wait_for_exit(newest);
}

#[test]
fn g5_a_second_stop_and_the_hammer_are_heard_beside_a_stuck_log() {
    let _alone = alone();
    let (_stuck, server) = stuck_server(Setup::example("stopping").args(&["--deadline", "10m"]));
    let _held = server.begin("/forever");
    server.get("/held");
    proc::signal(server.first_pid, Signal::SIGTERM);
    wait_until_closed(server.target());
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(server.first_pid);

    let (_stuck, server) = stuck_server(Setup::hello());
    // It serves. Before that, hello prints that it was asked to stop, and waits for whoever reads that.
    server.get("/pid");
    let _held = server.begin("/sleep?duration=10m");
    assert!(heirloom(&["hammer", "--pid", &server.first_pid.to_string()]));
    server.wait_for_exit(server.first_pid);
}

#[test]
fn g5_a_supervisor_replaces_and_stops_workers_beside_a_stuck_log() {
    let _alone = alone();
    let setup = Setup::example("workers").args(&["--probation", "50ms", "--backoff", "10ms"]);
    let (_stuck, server) = stuck_server(setup);
    let supervisor = server.first_pid;
    replaced_restarted(server.target(), supervisor);
    proc::signal(supervisor, Signal::SIGTERM);
    server.wait_for_exit(supervisor);
}

fn replaced_restarted(target: &Target, supervisor: i32) {
    let first = wait_for_other_than(target, 0);
    proc::signal(first, Signal::SIGKILL);
    let second = wait_for_other_than(target, first);
    assert!(heirloom(&["restart", "--pid", &supervisor.to_string(), "--wait", "drained"]), "a restart");
    wait_for_other_than(target, second);
}

#[test]
fn g5_heirloom_run_obeys_beside_a_stuck_log() {
    let _alone = alone();
    let (_stuck, running) = stuck_run(Run::new());
    replaced_restarted(running.target(), running.pid);
    running.signal(Signal::SIGTERM);
    running.end();

    // A request that does not end, so that the first stop would take its time.
    let (_stuck, running) = stuck_run(Run::new().options(&["--shutdown-timeout", "10m"]));
    let mut held = Client::connect(running.target());
    held.send(request("/sleep?duration=10m"));
    wait_for_other_than(running.target(), 0);
    running.signal(Signal::SIGTERM);
    wait_until_closed(running.target());
    running.signal(Signal::SIGTERM);
    running.end();

    let (_stuck, running) = stuck_run(Run::new());
    let mut held = Client::connect(running.target());
    held.send(request("/sleep?duration=10m"));
    assert!(heirloom(&["hammer", "--pid", &running.pid.to_string()]));
    running.end();
}

#[test]
fn g5_what_nobody_can_be_told_of_does_not_keep_heirloom_run() {
    let _alone = alone();
    let setup = Run::new();
    let stuck = Stuck::at(setup.dir().join("log"));
    let shell = format!("exec \"$0\" \"$@\" {}", stuck.for_stderr());
    // The worker never runs: the supervisor's last words are an error.
    let running = setup.under(&["bash", "-c", &shell]).spawn(&["/nowhere/server".as_ref()]);
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(127));
}

#[test]
fn g5_a_hook_that_hangs_is_not_waited_for() {
    let _alone = alone();
    let hanging = || Setup::example("stopping").args(&["--deadline", "10m", "--hangs", "TERM"]);
    let server = hanging().start();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(0, "a hook hangs: going on without it");
    server.wait_for_exit(server.first_pid);
    // The second one does not wait for hooks at all.
    let server = hanging().start();
    let _held = server.begin("/forever");
    server.get("/held");
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(mark, "signal");
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_exit(server.first_pid);
    assert!(server.lines(mark, "a hook hangs").is_empty(), "the second stop has waited for it");
}

#[test]
fn what_is_no_regular_file_is_refused_as_pid_file_and_status_file() {
    let _alone = alone();
    let setup = Setup::hello();
    let fifo = setup.dir().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    setup.arg("--pid-file").arg(&fifo).run().refused(&["pid file", "not a regular file"]);
    for option in ["--pid-file", "--status-file"] {
        let setup = Run::new();
        nix::unistd::mkfifo(&setup.dir().join("fifo"), Mode::S_IRWXU).expect("a FIFO");
        let running = setup.file(option, "fifo").spawn(&["true".as_ref()]);
        let (status, words) = running.end();
        assert!(!status.success(), "{option}");
        assert!(words.iter().any(|line| line.contains("not a regular file")), "{option}: {words:?}");
    }
    for path in [&fifo, Path::new("/dev/zero")] {
        assert!(!heirloom(&["status", "--pid-file", &path.display().to_string()]), "{path:?}");
    }
}

/// A file system of 16 KiB, which ends with this.
struct Small(PathBuf);

impl Small {
    fn at(path: PathBuf) -> Option<Small> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting a file system of its own takes root");
            return None;
        }
        fs::create_dir(&path).expect("a directory");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "tmpfs"]).arg(&path).status();
        assert!(mount.expect("mount is there").success());
        Some(Small(path))
    }

    fn fill(&self) {
        let mut file = File::create(self.0.join("fill")).expect("a file");
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("fill")).expect("it is there");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_pid_file_and_a_status_file_on_a_full_disk_are_right_once_there_is_room() {
    let _alone = alone();
    let directory = support::TestDir::new();
    let Some(small) = Small::at(directory.path().join("small")) else { return };
    let pid_file = small.0.join("server.pid");
    let server = Setup::hello().args(&["--probation", "50ms", "--pid-file"]).arg(&pid_file).start();
    await_text(&pid_file, &format!("{}\n", server.first_pid));
    small.fill();
    let mark = server.mark();
    let (new, _) = server.replace(server.first_pid, Signal::SIGUSR2);
    // The predecessor tells of its own try as well.
    server.wait_for_line(mark, "cannot write the pid file, trying again");
    small.make_room();
    await_text(&pid_file, &format!("{new}\n"));
    server.wait_for_line(mark, "the pid file is written after all");
    drop(server);

    let status_file = small.0.join("status");
    let running = Run::new().listen().options(&["--ready", "after=10ms", "--probation", "50ms"]);
    let running = running.options(&["--status-file".as_ref(), status_file.as_os_str()]).worker();
    running.wait_for_line(0, "worker settled");
    small.fill();
    let old = running.get("/pid");
    running.restart();
    running.wait_for_line(0, "cannot write the status file");
    small.make_room();
    let new = wait_for_other_than(running.target(), old.parse().expect("a pid"));
    await_text(&status_file, &format!("2:{new}\n"));
}

fn await_text(path: &Path, wanted: &str) {
    let deadline = Instant::now() + PATIENCE;
    while fs::read_to_string(path).ok().as_deref() != Some(wanted) {
        assert!(Instant::now() < deadline, "{path:?} says {:?}, not {wanted:?}", fs::read_to_string(path));
        // allow: sleep (nothing tells of a file's new text)
        std::thread::sleep(Duration::from_millis(20));
    }
}
