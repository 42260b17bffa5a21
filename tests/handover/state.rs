//! State and named descriptors handed to the successor, and everything that can go wrong with them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::forged::cookie;
use heirloom::handover::announcement::{AnnouncedDescriptor, Announcement, VARIABLE};
use heirloom::handover::message::{MAX_MESSAGE, Message, Takes};
use heirloom::handover::state_reply::StateAnswer;
use nix::fcntl::{FcntlArg, FdFlag, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, socketpair,
};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::mkfifo;
use rustix::process::{PidfdFlags, getpid, pidfd_open};
use support::{
    PATIENCE, Server, Setup, Signal, TestDir, alone, beside_others, binary::example_path, proc, says,
};

#[test]
fn state_and_descriptors_through_several_restarts() {
    let _shared = beside_others();
    let server = stateful().start();
    // From here on the descriptor is the only way to it.
    fs::remove_file(beside(&server, "log")).unwrap();
    for expected in ["1,", "1,2,", "1,2,3,"] {
        let mark = server.mark();
        let old = server.pid();
        let pid = server.restart(Signal::SIGHUP);
        assert_eq!(server.wait_for_line(mark, "state: tag"), format!("state: tag 7: {expected}"));
        assert_eq!(server.wait_for_line(mark, "nothing: "), "nothing: none");
        server.wait_for_line(mark, &format!("at the end: tag 8: {expected}"));
        server.wait_for_exit(old);
        assert_eq!(server.get("/log"), format!("{expected}{},", server.generation()));
        // Its own to hand down; the one that it was handed and did not want is closed.
        assert_eq!(proc::fds(pid).get("/dev/zero"), Some(&1));
    }
}

#[test]
fn g6_a_named_descriptor_reaches_no_grandchild() {
    let _shared = beside_others();
    let server = stateful().start();
    for _ in 0..2 {
        let listed = server.get("/grandchild");
        assert!(listed.contains("/proc/"), "nothing was listed: {listed}");
        for word in ["/dev/zero", "/log", "memfd", "socket:"] {
            assert!(!listed.contains(word), "{word} in a grandchild: {listed}");
        }
        server.restart(Signal::SIGHUP);
    }
}

#[test]
fn g3_a_provider_that_fails_fails_nothing_else() {
    let _shared = beside_others();
    let server = stateful().args(&["--state-limit", "100000"]).start();
    for (behaviour, expected) in [
        ("panic", "error: the predecessor's provider of the state \"history\" panicked"),
        ("fail", "error: the predecessor cannot give the state \"history\": the history is being rewritten"),
        ("too-large", "is over the limit of 100000 bytes"),
    ] {
        behave(&server, behaviour);
        let mark = server.mark();
        server.restart(Signal::SIGHUP);
        let line = server.wait_for_line(mark, "state: error");
        assert!(line.contains(expected), "{behaviour}: {line}");
    }
    behave(&server, "");
    let (mark, generation) = (server.mark(), server.generation());
    server.restart(Signal::SIGHUP);
    server.wait_for_line(mark, &format!("state: tag 7: {generation},"));
}

#[test]
fn g5_a_provider_that_hangs_meets_its_deadline() {
    let _shared = beside_others();
    let server = stateful().args(&["--state-timeout", "200ms"]).start();
    behave(&server, "hang");
    let (mark, old, began) = (server.mark(), server.pid(), Instant::now());
    server.restart(Signal::SIGHUP);
    let line = server.wait_for_line(mark, "state: error");
    assert!(line.contains("not done after 200ms"), "{line}");
    assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
    // The thread that hangs does not keep the process.
    server.wait_for_exit(old);
}

#[test]
fn a_predecessor_that_is_killed_while_it_is_asked() {
    let _shared = beside_others();
    let server = stateful().start();
    behave(&server, "die");
    let (mark, old) = (server.mark(), server.pid());
    proc::signal(old, Signal::SIGHUP);
    let lines = server.wait_for_lines(mark, &["state: error", "at the end: error"], 2);
    assert!(lines.iter().all(|line| line.contains("the predecessor is gone")), "{lines:?}");
    // It is up to the program to go on without; this one does.
    assert_ne!(server.outcome(old, mark).unwrap(), old);
}

#[test]
fn a_successor_that_is_killed_while_it_asks() {
    let _alone = alone();
    let server = stateful().start();
    let gate = beside(&server, "gate");
    mkfifo(&gate, Mode::S_IRWXU).unwrap();
    behave(&server, "gate");
    let (mark, pid) = (server.mark(), server.pid());
    let before = proc::fds(pid);
    proc::signal(pid, Signal::SIGHUP);
    server.wait_for_line(mark, "provider called: gate");
    proc::signal(server.wait_for_child(pid), Signal::SIGKILL);
    server.wait_for_line(mark, says::FAILED);
    assert_eq!(server.pid(), pid);
    // What the provider makes now is for nobody.
    drop(File::options().write(true).open(&gate).unwrap());
    behave(&server, "");
    wait_for_fds(pid, &before);
    let mark = server.mark();
    // Right after the gate the provider may be at work still; a second restart finds it free.
    server.restart(Signal::SIGHUP);
    server.wait_for_lines(mark, &["state: tag 7: 1,", "still at work"], 1);
}

#[test]
fn g6_nothing_leaks_in_fifty_restarts() {
    let _alone = alone();
    let server = stateful().args(&["--probation", "0ms"]).start();
    let restart = || {
        let old = server.pid();
        let new = server.restart(Signal::SIGUSR2);
        server.wait_for_exit(old);
        new
    };
    let first = restart();
    // What the last request needed is on its way out.
    // allow: sleep (nothing tells of it)
    std::thread::sleep(Duration::from_secs(1));
    let before = proc::fds(first);
    let last = (0..50).fold(first, |_, _| restart());
    wait_for_fds(last, &before);
    let maps = fs::read_to_string(format!("/proc/{last}/maps")).unwrap();
    assert!(!maps.contains("memfd:"), "state is still mapped:\n{maps}");
    proc::assert_reaped(last, PATIENCE);
}

#[test]
fn g7_an_older_predecessor_is_not_asked() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let child = predecessor.start(Announcement { gives_state: false, ..predecessor.announcement() });
    assert_eq!(child.line_with("state: "), "state: none");
    assert_eq!(predecessor.hears(), Message::Ready { unclaimed: vec![], takes: Takes::ALL, answers: true });
}

#[test]
fn what_can_still_change_is_not_mapped() {
    let _alone = alone();
    let all =
        SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SEAL;
    let sealed = |seals| {
        let mut file = File::from(memfd_create("forged", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        file.write_all(b"forged").unwrap();
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals)).unwrap();
        OwnedFd::from(file)
    };
    for (what, announced, fd, expected) in [
        ("unsealed", 6, Some(sealed(SealFlag::empty())), "not a sealed memfd"),
        ("can shrink", 6, Some(sealed(all - SealFlag::F_SEAL_SHRINK)), "not a sealed memfd"),
        ("can be written", 6, Some(sealed(all - SealFlag::F_SEAL_WRITE)), "not a sealed memfd"),
        ("no memfd", 6, Some(File::open("/dev/zero").unwrap().into()), "not a sealed memfd"),
        ("truncated", 4096, Some(sealed(all)), "holds 6 bytes, and 4096 were announced"),
        ("no descriptor", 6, None, "has not arrived"),
        ("over the limit", 1 << 40, Some(sealed(all)), "over the limit"),
        ("as it should be", 6, Some(sealed(all)), "state: tag 1: forged"),
    ] {
        let predecessor = Predecessor::new();
        let child = predecessor.start(predecessor.announcement());
        predecessor.answers(announced, fd.as_ref());
        let line = child.line_with("state: ");
        assert!(line.contains(expected), "{what}: {line}");
    }
}

#[test]
fn another_descriptor_than_the_announced_one_is_refused() {
    let _alone = alone();
    let zero = File::open("/dev/zero").unwrap();
    fcntl(&zero, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let status = fstat(&zero).unwrap();
    let named = |identity| AnnouncedDescriptor { fd: zero.as_raw_fd(), identity, name: "log".to_owned() };
    let predecessor = Predecessor::new();
    let announce = |identity| Announcement {
        descriptors: vec![named(identity)],
        gives_state: false,
        ..predecessor.announcement()
    };
    let child = predecessor.start(announce((status.st_dev, status.st_ino + 1)));
    let line = child.line_with("Error: ");
    assert!(line.contains("something else lies there than what was announced"), "{line}");
}

fn stateful() -> Setup {
    Setup::example("stateful")
}

fn beside(server: &Server, name: &str) -> std::path::PathBuf {
    server.binary.path().with_file_name(name)
}

fn behave(server: &Server, behaviour: &str) {
    fs::write(beside(server, "behaviour"), behaviour).unwrap();
}

/// Waits until it has no more of any kind than before; what was there may have been one connection more. Nothing tells
/// another process that a descriptor was closed: it has to be asked for.
fn wait_for_fds(pid: i32, before: &std::collections::BTreeMap<String, usize>) {
    let deadline = Instant::now() + PATIENCE;
    let has_more =
        || proc::fds(pid).iter().any(|(kind, count)| before.get(kind).is_none_or(|old| count > old));
    while has_more() {
        assert!(Instant::now() < deadline, "{:?}, and before {before:?}", proc::fds(pid));
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A predecessor that says what it should not. Its descriptors are there for every process that is started while it
/// lives: only under [`alone`].
struct Predecessor {
    near: OwnedFd,
    far: OwnedFd,
    pidfd: OwnedFd,
    dir: TestDir,
}

/// What it started.
struct Successor {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Predecessor {
    fn new() -> Predecessor {
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let pidfd = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
        for fd in [far.as_fd(), pidfd.as_fd()] {
            fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
        }
        Predecessor { near, far, pidfd, dir: TestDir::new() }
    }

    fn announcement(&self) -> Announcement {
        let channel = (self.far.as_raw_fd(), cookie(&self.far));
        let program = example_path("stateful").into();
        let own = std::process::id();
        let forged = Announcement::new(2, own, self.pidfd.as_raw_fd(), channel, program, "/".into());
        Announcement { gives_state: true, ..forged }
    }

    fn start(&self, announcement: Announcement) -> Successor {
        let program = self.dir.path().join("stateful");
        if !program.exists() {
            fs::hard_link(example_path("stateful"), &program).unwrap();
        }
        let mut child = Command::new(program)
            .env(VARIABLE, announcement.encode().unwrap())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = std::sync::mpsc::channel();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let follow = |pipe: Box<dyn std::io::Read + Send>| {
            let sender = sender.clone();
            std::thread::spawn(move || {
                BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
            });
        };
        follow(Box::new(stdout));
        follow(Box::new(stderr));
        Successor { child, lines }
    }

    /// The next message.
    fn hears(&self) -> Message {
        let patience = PollTimeout::try_from(PATIENCE).unwrap();
        let ready = poll(&mut [PollFd::new(self.near.as_fd(), PollFlags::POLLIN)], patience);
        assert_eq!(ready, Ok(1), "the successor says nothing");
        let mut buffer = vec![0; MAX_MESSAGE];
        let length = recv(self.near.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
        Message::decode(&buffer[..length]).unwrap().expect("a message that is known")
    }

    /// Answers the request for the snapshot of `history`.
    fn answers(&self, length: u64, fd: Option<&OwnedFd>) {
        let id = loop {
            match self.hears() {
                Message::StateRequest { id, name, at_end: false } if name == "history" => break id,
                Message::StateRequest { at_end: true, .. } => (),
                other => panic!("instead of a request: {other:?}"),
            }
        };
        let bytes = Message::State { id, answer: StateAnswer::Given { tag: 1, length } }.encode();
        let fds: Vec<_> = fd.iter().map(|fd| fd.as_raw_fd()).collect();
        let control = [ControlMessage::ScmRights(&fds)];
        let control = if fds.is_empty() { &[] } else { &control[..] };
        let parts = [std::io::IoSlice::new(&bytes)];
        sendmsg::<()>(self.near.as_raw_fd(), &parts, control, MsgFlags::empty(), None).unwrap();
    }
}

impl Successor {
    fn line_with(&self, pattern: &str) -> String {
        let mut seen = Vec::new();
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.contains(pattern) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line with {pattern:?} among {seen:#?}");
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
