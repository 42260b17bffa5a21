//! Who is the service: the pid file, a supervisor that must not lose its process, and what a successor runs as.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::forged::Predecessor;
use heirloom::handover::announcement::Announcement;
use support::binary::{TestDir, example_path};
use support::{PATIENCE, Server, Setup, Signal, alone, beside_others, proc, says};

#[test]
fn the_pid_file_names_who_serves() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.pid");
    // In probation for as long as it takes to look.
    let server = with_pid_file(&path, "60s");
    let first = server.first_pid;
    names(&path, first);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);

    // A restart that fails leaves it alone.
    server.binary.become_script("exit 1");
    server.restart_in_vain(Signal::SIGHUP);
    assert_eq!(content(&path), first.to_string());
    server.binary.become_example("hello");

    // So does one that is taken back; who only watches is still the main process.
    let mark = server.mark();
    let second = server.restart(Signal::SIGHUP);
    assert_eq!(content(&path), first.to_string());
    proc::signal(second, Signal::SIGKILL);
    server.wait_for_line(mark, says::TOOK_BACK);
    assert_eq!(content(&path), first.to_string());
    proc::signal(first, Signal::SIGTERM);
    server.wait_for_exit(first);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something stayed behind");

    let server = with_pid_file(&path, "300ms");
    names(&path, server.first_pid);
    for _ in 0..2 {
        let (old, mark) = (server.pid(), server.mark());
        let new = server.restart(Signal::SIGUSR2);
        server.wait_for_line(mark, "successor settled");
        assert_eq!(content(&path), new.to_string());
        server.wait_for_exit(old);
        assert_eq!(content(&path), new.to_string(), "the one that left took it along");
    }

    // A second server has no business there.
    let refused = Setup::hello().arg("--pid-file").arg(&path).run();
    let last = server.pid();
    refused.refused(&["hello.pid", "running", &last.to_string()]);
    assert_eq!((server.pid(), content(&path)), (last, last.to_string()));

    proc::signal(last, Signal::SIGTERM);
    server.wait_for_exit(last);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something stayed behind");
}

#[test]
fn a_stop_in_probation_removes_the_pid_file() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let server = with_pid_file(&directory.path().join("hello.pid"), "60s");
    let new = server.restart(Signal::SIGHUP);
    proc::signal(new, Signal::SIGTERM);
    server.wait_for_exit(new);
    server.wait_for_exit(server.first_pid);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something stayed behind");
}

#[test]
fn what_a_killed_server_left_of_its_pid_file_is_no_hindrance() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.pid");
    let dead = with_pid_file(&path, "50ms");
    names(&path, dead.first_pid);
    proc::signal(dead.first_pid, Signal::SIGKILL);
    dead.wait_for_exit(dead.first_pid);
    assert_eq!(content(&path), dead.first_pid.to_string());
    let next = with_pid_file(&path, "50ms");
    names(&path, next.first_pid);
    // Settled or not, a dead predecessor's successor is the one to name.
    let (old, mark) = (next.pid(), next.mark());
    let new = next.restart(Signal::SIGHUP);
    next.wait_for_line(mark, "successor settled");
    next.wait_for_exit(old);
    names(&path, new);
}

#[test]
fn the_pid_file_follows_when_its_writer_dies_in_probation() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("hello.pid");
    let server = with_pid_file(&path, "60s");
    let new = server.restart(Signal::SIGHUP);
    proc::signal(server.first_pid, Signal::SIGKILL);
    names(&path, new);
    proc::signal(new, Signal::SIGTERM);
    server.wait_for_exit(new);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "something stayed behind");
}

/// Started by nobody, with the rights of root: what nobody has put into the environment is not for root to act on.
#[test]
fn a_set_user_id_server_believes_nothing_of_its_callers() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can make a program of its own set-user-id");
    }
    let _alone = alone();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    // All of it true, but for the program.
    let predecessor = Predecessor::new();
    let evil = TestDir::new();
    let mark = evil.path().join("mark");
    let program = evil.path().join("program");
    fs::write(&program, format!("#!/bin/sh\n: > {}\n", mark.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let announcement = Announcement { program: program.clone().into(), ..predecessor.announcement() };
    let lies = "export LISTEN_PID=$$ LISTEN_FDS=900; exec -a \"$EVIL\" \"$0\" \"$@\"";
    let set_user_id = |example: &str| {
        let setup = Setup::example(example);
        let bin = setup.dir().join("bin");
        for path in [setup.dir(), &bin] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // A copy: what lies there is a link to the example of all tests, which would be set-user-id for them as well.
        let copy = bin.join("copy");
        fs::copy(bin.join(example), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
        fs::rename(copy, bin.join(example)).unwrap();
        let setup = setup.under(nobody.iter().copied().chain(["bash", "-c", lies]));
        let setup = setup.env("HEIRLOOM", announcement.encode().unwrap());
        setup.env("EVIL", &program).env("NOTIFY_SOCKET", "/nowhere/at/all")
    };
    let server = set_user_id("hello").start();
    let ids = fs::read_to_string(format!("/proc/{}/status", server.first_pid)).unwrap();
    assert!(ids.contains("Uid:\t65534\t0\t0\t0"), "it is not set-user-id here: {ids}");
    assert_eq!(server.generation(), 1);
    proc::signal(server.first_pid, Signal::SIGUSR2);
    let line = server.wait_for_line(0, "restart refused");
    assert!(line.contains("set-user-id"), "{line}");
    assert_eq!(server.pid(), server.first_pid);
    let supervisor = set_user_id("workers").run();
    assert!(!supervisor.status.success() && !supervisor.stdout.contains("worker"), "{supervisor:#?}");
    println!("{}", supervisor.stderr.trim_end());
    assert!(!mark.exists(), "the caller's program has run as root");
}

#[test]
fn process_1_refuses_and_names_what_to_do() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("a PID namespace needs root");
    }
    let _shared = beside_others();
    let server = Setup::hello().under(["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]).start();
    assert_eq!(server.get("/pid"), "1");
    let init = server.wait_for_child(server.first_pid);
    for signal in [Signal::SIGUSR2, Signal::SIGHUP] {
        let mark = server.mark();
        proc::signal(init, signal);
        let line = server.wait_for_line(mark, "restart refused");
        assert!(line.contains("PID 1") && line.contains("heirloom run"), "{line}");
        assert_eq!((server.get("/pid").as_str(), server.generation()), ("1", 1));
    }
    proc::signal(init, Signal::SIGTERM);
    server.wait_for_exit(init);
}

#[test]
fn systemds_main_process_refuses_unless_a_pid_file_tells_of_the_next() {
    let _shared = beside_others();
    let unit = || Setup::hello().by_shell("export SYSTEMD_EXEC_PID=$$;", "").args(&["--probation", "50ms"]);
    let server = unit().start();
    server.pid();
    proc::signal(server.first_pid, Signal::SIGUSR2);
    let line = server.wait_for_line(0, "restart refused");
    assert!(line.contains("systemd") && line.contains("PIDFile="), "{line}");
    assert_eq!((server.pid(), server.generation()), (server.first_pid, 1));

    let directory = TestDir::new();
    let path = directory.path().join("hello.pid");
    let server = unit().arg("--pid-file").arg(&path).start();
    let (new, mark) = (server.restart(Signal::SIGUSR2), 0);
    server.wait_for_line(mark, "successor settled");
    assert_eq!(content(&path), new.to_string());
}

#[test]
fn a_script_between_the_generations() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "50ms"]).start();
    let hello = example_path("hello");
    server.binary.become_script(&format!("ulimit -c 0; export WRAPPED=1; exec '{}' \"$@\"", hello.display()));
    for generation in 2..=4 {
        let old = server.pid();
        let new = server.restart(Signal::SIGHUP);
        server.wait_for_exit(old);
        assert_eq!(server.generation(), generation);
        assert_eq!(proc::environment(new).get("WRAPPED").map(String::as_str), Some("1"));
    }
}

#[test]
fn a_program_found_through_path() {
    let _shared = beside_others();
    let setup = Setup::hello();
    let mut path = OsString::from(setup.dir().join("bin"));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let server = setup.env("PATH", path).run_as("hello").args(&["--probation", "50ms"]).start();
    let expected = server.binary.path().canonicalize().unwrap();
    // Another program of that name, earlier in what PATH says now, would be another matter: the first find stays.
    for _ in 0..2 {
        let old = server.pid();
        let new = server.restart(Signal::SIGHUP);
        server.wait_for_exit(old);
        assert_eq!(
            fs::read(proc::executable(new).unwrap()).unwrap().len(),
            fs::read(&expected).unwrap().len()
        );
        let arguments = fs::read(format!("/proc/{new}/cmdline")).unwrap();
        assert!(arguments.starts_with(b"hello\0--listen\0"), "{}", String::from_utf8_lossy(&arguments));
    }
}

#[test]
fn arguments_that_are_not_text_survive() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = PathBuf::from(OsString::from_vec(
        [directory.path().as_os_str().as_encoded_bytes(), b"/h\xff\xfello \n.pid"].concat(),
    ));
    let server = with_pid_file(&path, "50ms");
    let first = fs::read(format!("/proc/{}/cmdline", server.first_pid)).unwrap();
    let (old, mark) = (server.pid(), server.mark());
    let new = server.restart(Signal::SIGHUP);
    server.wait_for_line(mark, "successor settled");
    assert_eq!(content(&path), new.to_string());
    assert_eq!(fs::read(format!("/proc/{new}/cmdline")).unwrap(), first);
    server.wait_for_exit(old);
}

#[test]
fn a_grandchild_inherits_nothing() {
    let _alone = alone();
    let directory = TestDir::new();
    let unix = format!("unix:{}", directory.path().join("probe.sock").display());
    let server =
        Setup::example("probe").listen("127.0.0.1:0").listen(&unix).args(&["--probation", "50ms"]).start();
    // What the test itself was started with, and left open, comes through everything.
    let own = Command::new("ls").args(["-l", "/proc/self/fd"]).stdin(Stdio::null()).output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    for generation in 1..=3 {
        let listing = server.get("/child");
        assert_eq!(numbers(&listing), numbers(&own), "generation {generation}:\n{listing}");
        assert!(!listing.contains("socket:") && !listing.contains(".lock"), "{listing}");
        let old = server.pid();
        server.restart(Signal::SIGHUP);
        server.wait_for_exit(old);
    }
}

fn with_pid_file(path: &Path, probation: &str) -> Server {
    Setup::hello().args(&["--probation", probation]).arg("--pid-file").arg(path).start()
}

/// The descriptors that `ls -l /proc/self/fd` lists.
fn numbers(listing: &str) -> Vec<&str> {
    let links = listing.lines().filter_map(|line| line.split_once(" -> "));
    links.filter_map(|(left, _)| left.rsplit(' ').next()).collect()
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}

/// Waits until the file names `pid`: it is written after the first connection may have been accepted.
fn names(path: &Path, pid: i32) {
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(path).is_ok_and(|text| text.trim() == pid.to_string()) {
        assert!(Instant::now() < deadline, "{} does not name {pid}", path.display());
        // allow: sleep (between two looks at a file)
        std::thread::sleep(Duration::from_millis(1));
    }
}
