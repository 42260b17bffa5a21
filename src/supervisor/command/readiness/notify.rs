//! The socket in `NOTIFY_SOCKET`, as one worker uses it.

use std::collections::VecDeque;
use std::io;

use tokio::io::unix::AsyncFd;

use super::family::belongs;
use super::notice::{Notice, parse};
use crate::sys::notify::NotifySocket;
use crate::sys::watched::watch;

/// What one worker says. Each worker has a socket of its own, so that what an old one says late is never taken for a
/// new one's word.
#[derive(Debug)]
pub(super) struct Notify {
    socket: AsyncFd<NotifySocket>,
    worker: i32,
    heard: VecDeque<Notice>,
    was_ready: bool,
}

impl Notify {
    pub(super) fn new(socket: NotifySocket, worker: i32) -> io::Result<Notify> {
        Ok(Notify { socket: watch(socket)?, worker, heard: VecDeque::new(), was_ready: false })
    }

    /// The next thing that it says. Cancel safe.
    pub(super) async fn next(&mut self) -> io::Result<Notice> {
        loop {
            if let Some(notice) = self.heard.pop_front() {
                return Ok(notice);
            }
            let told = loop {
                let mut guard = self.socket.readable().await?;
                if let Ok(told) = guard.try_io(|socket| socket.get_ref().recv()) {
                    break told?;
                }
            };
            // Asked before the barrier is answered: after that, systemd-notify ends.
            match told.sender {
                Some(sender) if belongs(sender, self.worker) => {
                    let worker = self.worker;
                    let is_credible = |notice: &Notice| match notice {
                        Notice::MainPid(pid) => belongs(*pid, worker),
                        _ => true,
                    };
                    self.heard.extend(parse(&told.bytes).into_iter().filter(is_credible));
                }
                sender => {
                    say_seldom!(warn: ?sender, worker = self.worker, "a stranger's notification was ignored")
                }
            }
            // What it asked to be kept is not, and what it asked to be waited for has been heard.
            drop(told.fds);
        }
    }

    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// Whether this is the first time that it is called ready.
    pub(super) fn first_ready(&mut self) -> bool {
        !std::mem::replace(&mut self.was_ready, true)
    }
}
