//! A predecessor played by the test: a real channel and a real pidfd, and whatever it likes to announce.
#![allow(dead_code, unreachable_pub, reason = "each binary uses its own part of it")]

use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use heirloom::handover::announcement::{AnnouncedSocket, Announcement};
use heirloom::handover::message::Message;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use socket2::SockRef;

/// The predecessor's end of a handover. Its descriptors are there for every process that is started while it lives:
/// only under `support::alone`.
#[derive(Debug)]
pub struct Predecessor {
    near: OwnedFd,
    far: OwnedFd,
    pidfd: OwnedFd,
    /// The process that the pidfd is of; without one it is the test's own.
    process: Option<Child>,
}

impl Predecessor {
    pub fn new() -> Predecessor {
        Predecessor::with(None)
    }

    /// One whose process can die.
    pub fn mortal() -> Predecessor {
        let mut cat = Command::new("cat");
        Predecessor::with(Some(cat.stdin(Stdio::piped()).spawn().expect("a process to kill")))
    }

    fn with(process: Option<Child>) -> Predecessor {
        let (near, far) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let id = process.as_ref().map_or(std::process::id(), Child::id);
        let pid = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
        hand_down(&far);
        hand_down(&pidfd);
        Predecessor { near, far, pidfd, process }
    }

    /// Announces no socket; everything in it is true.
    pub fn announcement(&self) -> Announcement {
        let channel = (self.far.as_raw_fd(), cookie(&self.far));
        let program = support::programs::example_path("hello").into();
        Announcement::new(2, std::process::id(), self.pidfd.as_raw_fd(), channel, program, "/".into())
    }

    /// The variable's value, with these sockets.
    pub fn announces(&self, sockets: Vec<AnnouncedSocket>) -> OsString {
        Announcement { sockets, ..self.announcement() }.encode().unwrap()
    }

    pub fn say(&self, message: &Message) {
        self.say_bytes(&message.encode());
    }

    pub fn say_bytes(&self, bytes: &[u8]) {
        let sent = send(self.near.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL);
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// Says it until nobody listens for a second, or `count` times.
    pub fn flood(&self, bytes: &[u8], count: usize) {
        for _ in 0..count {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            if !self.wait(PollFlags::POLLOUT, Duration::from_secs(1))
                || send(self.near.as_raw_fd(), bytes, flags).is_err()
            {
                return;
            }
        }
    }

    /// What the successor says next; `None` at the end.
    pub fn hear(&self) -> Option<Message> {
        assert!(self.wait(PollFlags::POLLIN, Duration::from_secs(30)), "the successor says nothing");
        let mut buffer = vec![0; 64 * 1024];
        match recv(self.near.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
            Ok(0) | Err(_) => None,
            Ok(length) => Message::decode(&buffer[..length]).expect("a message"),
        }
    }

    /// Closes the near end, and keeps the process.
    pub fn hang_up(&mut self) {
        let (other, _) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        self.near = other;
    }

    pub fn die(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn wait(&self, events: PollFlags, patience: Duration) -> bool {
        let patience = PollTimeout::try_from(patience).unwrap();
        poll(&mut [PollFd::new(self.near.as_fd(), events)], patience).unwrap() > 0
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        self.die();
    }
}

/// What is to be said of a listening socket at `fd`, all of it true for a TCP listener at `address`.
pub fn tcp(fd: &(impl AsFd + AsRawFd), address: impl ToString) -> AnnouncedSocket {
    let address = OsString::from(address.to_string());
    AnnouncedSocket {
        fd: fd.as_raw_fd(),
        cookie: cookie(fd),
        kind: "tcp".to_owned(),
        name: String::new(),
        requested: address.clone(),
        address,
        lock: None,
    }
}

/// Lets the descriptor through an exec, under its number.
pub fn hand_down(fd: &impl AsFd) {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
}

/// Zero for what is no socket.
pub fn cookie(fd: &impl AsFd) -> u64 {
    SockRef::from(fd).cookie().unwrap_or(0)
}
