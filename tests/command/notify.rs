//! What workers tell `heirloom run`, and what it notices of those that tell nothing: `NOTIFY_SOCKET` from wherever they run,
//! main processes that outlive their starter, more time, and sockets that nobody accepts from.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use support::load::Target;
use support::python::system_python;
use support::run::{Running, Setup, foreign};
use support::{PATIENCE, Signal, alone, beside_others, proc};

fn notifying() -> Setup {
    Setup::new().options(&["--ready", "notify", "--probation", "50ms"]).env("WORKER_READY", "notify").listen()
}

/// The worker, started by this command.
fn worker_under(setup: Setup, under: &[&str]) -> Running {
    let script = foreign("worker.py");
    let under = under.iter().map(OsStr::new);
    setup.command(&under.chain([system_python().as_ref(), script.as_os_str()]).collect::<Vec<_>>())
}

fn python_worker(setup: Setup, script: &str) -> Running {
    setup.command(&[system_python(), "-c", script].map(OsStr::new))
}

/// The supervisor says that a worker is gone, and then lets go of what it had for it.
fn wait_until_gone(path: &str) {
    let deadline = Instant::now() + PATIENCE;
    while Path::new(path).exists() {
        assert!(Instant::now() < deadline, "{path} is left of a worker that is gone");
        // allow: sleep (between looks at a file)
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        support::skip("other users and networks are for root alone");
    }
    is_root
}

/// As under systemd: a path, that reaches into other networks, and that another user can write to who has been told it.
#[test]
fn a_worker_is_heard_from_wherever_it_runs() {
    if !is_root() {
        return;
    }
    let _alone = alone();
    // setpriv: the test's own directories may be closed to others, the interpreter and the script are given by their bytes.
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let script = fs::read_to_string(foreign("worker.py")).unwrap();
    for under in [&["unshare", "-n"][..], &nobody] {
        let command = under.iter().copied().chain([system_python(), "-c", &script]).map(OsStr::new);
        let running = notifying().command(&command.collect::<Vec<_>>());
        running.wait_for_line(0, "worker settled worker=1");
        let path = running.get("/env/NOTIFY_SOCKET");
        assert!(path.starts_with('/') && Path::new(&path).exists(), "{path}");
        running.restart();
        wait_until_gone(&path);
        let path = running.get("/env/NOTIFY_SOCKET");
        assert_eq!(running.get("/generation"), "2", "{under:?}");
        running.signal(Signal::SIGTERM);
        running.end();
        assert!(!Path::new(&path).exists(), "{path} is left of a supervisor that is gone");
    }
}

/// Of the one that can have it there is nothing to be seen for another user: no name to send to, in no list.
#[test]
fn another_user_finds_no_socket_to_flood() {
    if !is_root() {
        return;
    }
    let _shared = beside_others();
    let running = notifying().worker();
    running.wait_for_line(0, "worker settled worker=1");
    let path = running.get("/env/NOTIFY_SOCKET");
    let own = Path::new(&path).parent().unwrap();
    let secret = own.file_name().unwrap().to_str().unwrap();
    let script = format!(
        "cat /proc/net/unix; ls -R {}; cat /proc/{}/environ",
        own.parent().unwrap().display(),
        running.get("/pid")
    );
    let mut nobody = std::process::Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", &script]);
    let seen = nobody.current_dir("/").output().unwrap();
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(seen.contains("/proc/self/fd/"), "the table names what bind was given");
    assert!(!seen.contains(secret), "{seen}");
}

/// It is what systemd does: the main process is followed, whoever has started it.
#[test]
fn a_starter_that_names_its_main_process_and_ends_is_no_death() {
    let _shared = beside_others();
    for leaves in ["group", "session"] {
        let running = notifying().env("WORKER_LEAVES", leaves).worker();
        running.wait_for_line(0, "worker settled worker=1");
        running.wait_for_line(0, "its main process goes on");
        let first: i32 = running.get("/pid").parse().unwrap();
        running.restart_once();
        running.wait_for_line(0, "a worker is gone worker=1");
        assert!(proc::wait_for_exit(first, PATIENCE), "the stop signal is for the main process");
        assert_eq!(running.get("/generation"), "2");
        assert!(running.lines(0, "has died").is_empty(), "{leaves}");

        // Its own death is one.
        let second: i32 = running.get("/pid").parse().unwrap();
        proc::signal(second, Signal::SIGKILL);
        running.wait_for_line(0, "the worker that served has died");
        running.wait_for_line(0, "worker settled worker=3");
        let mark = running.mark_after(0, "worker settled worker=3");
        assert_eq!(running.get("/generation"), "3");
        running.signal(Signal::SIGTERM);
        running.wait_for_line(mark, "ended");
        running.wait_for_others(&[]);
    }
}

#[test]
fn a_worker_gets_the_time_that_it_asks_for() {
    let _shared = beside_others();
    let deadlines = ["--start-timeout", "3s", "--shutdown-timeout", "3s"];
    let running = notifying().options(&deadlines).env("WORKER_EXTENDS", "start stop").worker();
    running.wait_for_line(0, "a worker takes more time");
    running.wait_for_line(0, "worker settled worker=1");
    let mark = running.mark();
    running.signal(Signal::SIGTERM);
    running.wait_for_line(mark, "a worker takes more time");
    let (status, _) = running.end();
    assert_eq!(status.code(), Some(0), "it was killed at the deadline");
}

const IGNORES: &str = "import time; time.sleep(1000)";

/// It looks well from outside: the sockets are open, and the process runs.
#[test]
fn a_server_that_accepts_nothing_is_told_of() {
    let _shared = beside_others();
    // Clients that were there first: it is told when it counts as ready, if only by the clock.
    let setup = Setup::new().options(&["--ready", "after=1s"]).listen();
    let unix = setup.dir().join("socket");
    let setup = setup.listen_on(&format!("app=unix:{}", unix.display()));
    let running = python_worker(setup, IGNORES);
    let Target::Tcp(address) = *running.target() else { panic!("{:?}", running.targets) };
    let _early = (TcpStream::connect(address).unwrap(), UnixStream::connect(&unix).unwrap());
    running.wait_for_line(0, "worker ready");
    for (address, fd) in [(address.to_string(), 3), (format!("unix:{}", unix.display()), 4)] {
        let line = running.wait_for_line(0, &format!("nobody accepts at {address}"));
        assert!(line.contains(&format!("at fd {fd} (LISTEN_FDS")), "{line}");
    }
    // And clients that come later, once the other one is gone that accepts.
    let running = notifying().env("WORKER_READY", "notify").worker();
    running.wait_for_line(0, "worker settled worker=1");
    let Target::Tcp(address) = *running.target() else { panic!("{:?}", running.targets) };
    assert_eq!(running.get("/generation"), "1");
    assert!(running.lines(0, "nobody accepts").is_empty());
    let worker = running.get("/pid").parse().unwrap();
    proc::signal(worker, Signal::SIGSTOP);
    // One is for the thread that was in accept when the signal came.
    let _late: Vec<_> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    running.wait_for_line(0, "nobody accepts at");
    proc::signal(worker, Signal::SIGCONT);
    running.wait_for_line(0, "connections are accepted again at");
    assert_eq!(running.lines(0, "nobody accepts").len(), 1, "once");
}

#[test]
fn a_server_that_binds_the_address_itself_is_told_where_it_is() {
    let _shared = beside_others();
    let script = "import os, socket; at = os.environ['SERVER_STARTER_PORT'].split('=')[0].split(':'); \
                  socket.socket().bind((at[0], int(at[1])))";
    let running = python_worker(Setup::new().options(&["--backoff", "1h"]).listen(), script);
    running.wait_for_line(0, "Address already in use");
    let line = running.wait_for_line(0, "and nobody serves");
    let advice = format!("{} is open for it at fd 3", running.target());
    assert!(line.contains("status 1") && line.contains(&advice), "{line}");
}

/// Restarts and replacements go on, since the program's path is absolute.
#[test]
fn a_start_directory_that_is_gone_is_done_without() {
    let _shared = beside_others();
    let dir = support::TestDir::new();
    let release = dir.path().join("release");
    fs::create_dir(&release).unwrap();
    // In `sh`, since the test's own directory cannot be taken away.
    let setup = notifying().under(&["sh", "-c", &format!("cd {} && exec \"$0\" \"$@\"", release.display())]);
    let running = worker_under(setup, &[]);
    running.wait_for_line(0, "worker settled worker=1");
    fs::remove_dir(&release).unwrap();
    running.restart();
    assert_eq!(running.get("/generation"), "2");
    running.wait_for_line(0, "the start directory is gone");
}
