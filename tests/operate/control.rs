//! The control socket against those who do not behave, and what becomes of it across restarts and deaths.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use heirloom::control::{process_in, socket_of};
use support::load::{Load, Mode, Report, Think};
use support::operator::{beside, code, finish, heirloom};
use support::{PATIENCE, Server, Setup, Signal, TestDir, alone, beside_others, proc, says};

#[test]
fn who_does_not_behave_harms_nobody() {
    let _alone = alone();
    let server = Setup::hello().args(&["--probation", "100ms"]).start();
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    load.wait_for_requests(50);
    let pid = server.first_pid;
    let socket = socket_of(pid.cast_unsigned()).unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let quiet = proc::fd_count(pid);

    let told = |bytes: &[u8]| exchange(&socket, bytes);
    assert!(told(b"GET / HTTP/1.1\r\n\r\n").contains("malformed"));
    assert!(told(&[0xA5; 1_000_000]).contains("too_long"));
    assert!(told(&b"[".repeat(1_000_000)).contains("too_long"));
    assert!(
        told(b"{\"heirloom\":77,\"do\":\"status\"}\n").contains("this release of heirloom reads version 1")
    );
    assert!(told(b"{\"heirloom\":1,\"do\":\"sing\"}\n").contains("unsupported"));
    // One that asks and does not read, and then a thousand that say nothing: an operator still gets in.
    let mut stalled = UnixStream::connect(&socket).unwrap();
    stalled.write_all(b"{\"heirloom\":1,\"do\":\"follow\"}\n").unwrap();
    let threads = proc::threads(pid);
    let silent: Vec<UnixStream> = (0..1000).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    assert!(proc::fd_count(pid) <= quiet + 16 + SERVED, "{} beside {quiet}", proc::fd_count(pid));
    let status = heirloom(&["status", "--pid", &pid.to_string()]).is(code::DONE, &["serves, generation 1"]);
    println!("a status beside a thousand silent clients took {:?}", status.took);
    let restart =
        heirloom(&["restart", "--pid", &pid.to_string(), "--wait", "drained"]).is(code::DONE, &["drained"]);
    println!("and a restart {:?}", restart.took);
    // Those that a restart itself needs end soon after it.
    let (pid, deadline) = (server.pid(), Instant::now() + PATIENCE);
    while proc::threads(pid) > threads {
        assert!(Instant::now() < deadline, "{} threads, and {threads} before", proc::threads(pid));
        std::thread::yield_now();
    }
    drop(silent);
    finish_load(load);
}

#[test]
fn a_flood_of_requests_is_answered_and_the_service_goes_on() {
    let _alone = alone();
    let server = Setup::hello().start();
    let load = server.load(Mode::keep_alive(8, Think::millis(0, 5)));
    let socket = socket_of(server.first_pid.cast_unsigned()).unwrap();
    let before = proc::fd_count(server.first_pid);
    for _ in 0..2000 {
        assert!(exchange(&socket, b"{\"heirloom\":1,\"do\":\"status\"}\n").contains("\"event\":\"status\""));
    }
    assert!(proc::fd_count(server.first_pid) <= before + 16 + SERVED);
    finish_load(load);
}

#[test]
fn who_is_not_there_is_told_in_a_line() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    // Ends with its input. This process itself may have a control socket, by another test.
    let mut other = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let without = other.id().to_string();
    for (arguments, code, words) in [
        (["--pid", "4000000"], code::NOT_RUNNING, "no process 4000000"),
        (["--pid", &without], code::NO_CONTROL, "has no control socket"),
        (["--pid-file", "/nowhere/server.pid"], code::NOT_RUNNING, "/nowhere/server.pid"),
        (["--pid-file", &file("stale", "4000000\n")], code::NOT_RUNNING, "stale"),
        (["--pid-file", &file("strange", "server\n")], code::NOT_RUNNING, "holds no process id"),
        (["--control", "/nowhere/control"], code::NOT_RUNNING, "nobody answers"),
        (["--control", &file("no socket", "")], code::NOT_RUNNING, "nobody answers"),
    ] {
        for command in ["restart", "status", "stop", "hammer"] {
            let said = heirloom(&[&[command], arguments.as_slice()].concat()).is(code, &[words]);
            assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        }
    }
    drop(other.stdin.take());
    other.wait().unwrap();
}

#[test]
fn another_user_may_not() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let _alone = alone();
    let server = Setup::hello().start();
    let pid = server.first_pid.to_string();
    let socket = socket_of(server.first_pid.cast_unsigned()).unwrap();
    // Where anybody can execute it.
    let place = Path::new("/tmp").join(format!("heirloom-test-{}", std::process::id()));
    // Left by a run that was killed, and whose process had this number.
    let _ = fs::remove_dir_all(&place);
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    let program = place.join("heirloom");
    fs::copy(support::programs::heirloom(), &program).unwrap();
    // Whatever the umask was when it was built.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let as_nobody = |arguments: &[&str]| {
        finish(Command::new(&program).args(arguments).uid(NOBODY).gid(NOBODY).current_dir("/"))
    };
    as_nobody(&["restart", "--pid", &pid]).is(code::NO_PERMISSION, &["belongs to another user"]);
    as_nobody(&["stop", "--control", &socket.display().to_string()])
        .is(code::NO_PERMISSION, &["no permission"]);
    // Even where the file system would let it.
    let open = place.join("control");
    let second = at(&open, &[]);
    let socket = socket_of(second.first_pid.cast_unsigned()).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    as_nobody(&["restart", "--control", &open.display().to_string()])
        .is(code::NO_PERMISSION, &["only root and"]);
    assert_eq!((server.generation(), second.generation()), (1, 1));
    drop(second);
    fs::remove_dir_all(place).unwrap();
}

#[test]
fn the_path_leads_to_whoever_serves() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("control");
    // In probation for as long as it takes to look.
    let server = at(&path, &["--probation", "60s"]);
    let first = server.first_pid;
    leads_to(&path, first);
    // A failed restart changes nothing, and what the lost one left goes.
    server.binary.become_script("exit 1");
    heirloom(&["restart", "--control", &path.display().to_string()]).is(code::FAILED, &["status 1"]);
    leads_to(&path, first);
    server.binary.become_example("hello");
    // Nor does one that is taken back; in probation it leads to the one that may.
    let mark = server.mark();
    let restart = beside(&["restart", "--control", &path.display().to_string()]);
    server.wait_for_line(mark, "successor ready");
    leads_to(&path, first);
    let second = server.wait_for_other_than(first);
    proc::signal(second, Signal::SIGKILL);
    server.wait_for_line(mark, says::TOOK_BACK);
    restart.join().unwrap().is(code::TAKEN_BACK, &["SIGKILL"]);
    leads_to(&path, first);
    let left = names(directory.path());
    assert!(!left.iter().any(|name| name.contains(&second.to_string())), "{left:?}");
    heirloom(&["stop", "--control", &path.display().to_string()]).is(code::DONE, &["drained"]);
    assert_eq!(names(directory.path()), Vec::<String>::new(), "something stayed behind");
    // One that settles does, by the time that the operator hears of it.
    let server = at(&path, &[]);
    let first = server.first_pid;
    heirloom(&["restart", "--control", &path.display().to_string()]).is(code::DONE, &["settled"]);
    leads_to(&path, server.pid());
    server.wait_for_exit(first);
    // A second server has no business there.
    Setup::hello().arg("--control").arg(&path).run().refused(&["control socket", "running"]);
    heirloom(&["stop", "--control", &path.display().to_string()]).is(code::DONE, &["drained"]);
    assert_eq!(names(directory.path()), Vec::<String>::new(), "something stayed behind");
}

#[test]
fn what_a_killed_server_left_is_no_hindrance() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("control");
    let dead = at(&path, &[]);
    let socket = socket_of(dead.first_pid.cast_unsigned()).unwrap();
    proc::signal(dead.first_pid, Signal::SIGKILL);
    dead.wait_for_exit(dead.first_pid);
    for path in [&path, &socket] {
        heirloom(&["restart", "--control", &path.display().to_string()])
            .is(code::NOT_RUNNING, &["nobody answers"]);
    }
    heirloom(&["restart", "--pid", &dead.first_pid.to_string()]).is(code::NOT_RUNNING, &["no process"]);
    let next = at(&path, &[]);
    leads_to(&path, next.first_pid);
    assert!(!socket.exists(), "the dead one's socket is cleared away");
    heirloom(&["stop", "--control", &path.display().to_string()]).is(code::DONE, &[]);
    assert_eq!(names(directory.path()), Vec::<String>::new());
}

#[test]
fn a_stale_pid_file_is_not_believed() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let (path, control) = (directory.path().join("pid"), directory.path().join("control"));
    let server = at(&control, &["--pid-file", &path.display().to_string()]);
    let pid = server.first_pid.cast_unsigned();
    assert_eq!(process_in(&path).unwrap(), pid);
    heirloom(&["restart", "--pid-file", &path.display().to_string()]).is(code::DONE, &["settled"]);
    // As if a killed server had left it, and its number had come to mean another server.
    let other = Setup::hello().start();
    fs::write(&path, other.first_pid.to_string()).unwrap();
    heirloom(&["stop", "--pid-file", &path.display().to_string()])
        .is(code::NOT_RUNNING, &["stale", "another one"]);
    assert_eq!(other.pid(), other.first_pid);
}

#[test]
fn a_grandchild_inherits_none_of_it() {
    let _alone = alone();
    let directory = TestDir::new();
    let server = at(&directory.path().join("control"), &[]);
    let pid = server.first_pid;
    let socket = socket_of(pid.cast_unsigned()).unwrap();
    // What a lost successor leaves behind.
    server.binary.become_script("sleep 1000 & echo helper $!; exit 1");
    let mark = server.mark();
    let asked = UnixStream::connect(&socket).unwrap();
    heirloom(&["restart", "--pid", &pid.to_string()]).is(code::FAILED, &["status 1"]);
    let helper = server.wait_for_line(mark, "helper ");
    let helper: u32 = helper.split(' ').next_back().unwrap().parse().unwrap();
    assert!(socket_of(helper).is_err(), "it has the listening one");
    drop(asked);
}

/// Says this, and hears everything until the end.
fn exchange(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The server may have heard enough.
    let _ = stream.write_all(bytes);
    let (mut heard, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        heard.extend_from_slice(&chunk[..count]);
    }
    String::from_utf8(heard).unwrap()
}

fn at(path: &Path, arguments: &[&str]) -> Server {
    let setup = Setup::hello().args(&["--probation", "300ms"]).args(arguments).arg("--control").arg(path);
    let server = setup.start();
    server.wait_for_line(0, "accepting generation=1");
    // It leads nowhere before; the thread that says the line goes on to that before it answers anybody.
    heirloom(&["status", "--pid", &server.first_pid.to_string()]).is(code::DONE, &[]);
    server
}

#[track_caller]
fn leads_to(path: &Path, pid: i32) {
    let target = fs::read_link(path).unwrap();
    let expected = PathBuf::from(format!("control.{pid}.heirloom"));
    assert_eq!(target, expected);
    let status =
        heirloom(&["status", "--json", "--control", &path.display().to_string()]).is(code::DONE, &[]);
    assert_eq!(status.json()["pid"], pid);
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn finish_load(load: Load) {
    let report = load.stop();
    println!("{}\n{report}", Report::HEADER);
    report.assert_lost_at_most(0);
}

/// What the load itself may open meanwhile.
const SERVED: usize = 16;

/// On every Debian; any user but root does.
const NOBODY: u32 = 65534;
