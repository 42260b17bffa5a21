//! One worker's process.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::making::{Addressee, Ask, Manner};
use crate::handdown::peer::{Did, Peer};
use crate::handover::message::Message;
use crate::sockets::socket::Socket;
use crate::sys::arrivals::Arrival;
use crate::sys::pidfd::{Exit, Pidfd};

/// A worker that is alive.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) started: Instant,
    /// The SO_COOKIE of each socket that it was handed, in the order of its announcement.
    pub(super) sockets: Vec<u64>,
    pub(super) manner: Manner,
    pub(super) addressee: Addressee,
    pub(super) asker: Option<Arc<dyn Ask>>,
    pub(super) peer: Peer,
    /// The process that was started, once it has ended and another one goes on in its place. It is not reaped
    /// before that one: its number is the group's, and nobody else's as long as it is a zombie.
    pub(super) starter: Option<Pidfd>,
}

impl Process {
    pub(super) fn tell(&self, message: &Message) {
        self.peer.send(message);
    }

    pub(super) fn tell_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.peer.send_with(message, fds)
    }

    /// Gives it a socket that it was not handed at its start. A foreign program could not take it.
    pub(super) fn offer(&self, socket: &Socket) {
        if self.manner != Manner::Told {
            return;
        }
        if let Err(error) = self.tell_with(&Message::Keep(socket.described()), &[socket.as_fd()]) {
            say!(warn: pid = self.pid, address = %socket.address, %error, "a worker does not get a socket before the next restart");
        }
    }

    pub(super) fn pidfd(&self) -> &Pidfd {
        self.peer.pidfd()
    }

    /// Its process, and the main process that it has named.
    pub(super) fn numbers(&self) -> impl Iterator<Item = i32> + use<> {
        let main = self.addressee.main().map(|main| main.pid);
        i32::try_from(self.pid).ok().into_iter().chain(main)
    }

    /// ESRCH: it is dead already, and its death is on its way to us.
    pub(super) fn signal(&self, signal: i32) {
        self.send(|pidfd| pidfd.signal(signal));
    }

    /// Sends what this process was sent, with the value that came along.
    pub(super) fn pass_on(&self, arrival: &Arrival) {
        self.send(|pidfd| match arrival.queued() {
            Some(queued) => pidfd.pass_on(queued),
            None => pidfd.signal(arrival.signal()),
        });
    }

    fn send(&self, send: impl Fn(&Pidfd) -> io::Result<()>) {
        if !self.addressee.send(&send) {
            let _ = send(self.pidfd());
        }
    }

    pub(super) fn kill(&self) {
        match self.manner {
            Manner::Told => drop(self.pidfd().signal(libc::SIGKILL)),
            Manner::Signalled { .. } => {
                // It may have left the group.
                self.addressee.send(|main| main.signal(libc::SIGKILL));
                self.kill_group();
            }
        }
    }

    /// Whether the worker goes on although the process that was watched has ended: in the main process that
    /// it has named, which is watched from now on. Its number.
    pub(super) fn goes_on(&mut self) -> Option<i32> {
        let main = self.addressee.main()?;
        let ended = self.peer.follow(main.alive()?).ok()?;
        self.starter.get_or_insert(ended);
        Some(main.pid)
    }

    /// Collects the status of a worker that has ended. What a foreign one leaves in its process group is
    /// killed first: it would go on accepting, old code and unobserved.
    pub(super) fn reap(&self) -> Option<Exit> {
        if matches!(self.manner, Manner::Signalled { .. }) {
            self.kill_group();
        }
        if let Some(starter) = &self.starter {
            let _ = starter.reap();
        }
        self.pidfd().reap().ok().flatten()
    }

    /// A foreign worker leads a process group, and its number is the group's until it is reaped.
    fn kill_group(&self) {
        if let Ok(pid) = i32::try_from(self.pid) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// The sockets of these indexes.
    pub(super) fn named(&self, indexes: &[u16]) -> Vec<u64> {
        indexes.iter().filter_map(|index| self.sockets.get(usize::from(*index)).copied()).collect()
    }

    /// A descriptor of the process, for another one.
    pub(super) fn duplicate_pidfd(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.pidfd().as_fd().try_clone_to_owned()
    }
}

/// What any of the workers does next. Cancel safe.
pub(super) async fn next_of<K: Copy>(workers: impl Iterator<Item = (K, &mut Process)>) -> (K, Did) {
    let mut waits: Vec<_> = workers.map(|(key, worker)| (key, Box::pin(worker.peer.next()))).collect();
    poll_fn(|cx| {
        for (key, wait) in &mut waits {
            if let Poll::Ready(did) = Pin::new(wait).poll(cx) {
                return Poll::Ready((*key, did));
            }
        }
        Poll::Pending
    })
    .await
}
