//! One worker's process.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use super::making::Manner;
use crate::handover::message::Message;
use crate::listeners::Socket;
use crate::restarter::peer::{Did, Peer};
use crate::sys::pidfd::Pidfd;

/// A worker that is alive.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) started: Instant,
    /// What it was handed, in the order of its announcement.
    pub(super) sockets: Vec<Arc<Socket>>,
    pub(super) manner: Manner,
    pub(super) peer: Peer,
}

impl Process {
    pub(super) fn tell(&self, message: &Message) {
        self.peer.send(message);
    }

    pub(super) fn tell_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.peer.send_with(message, fds)
    }

    pub(super) fn pidfd(&self) -> &Pidfd {
        self.peer.pidfd()
    }

    pub(super) fn kill(&self) {
        // ESRCH: it is dead already, and its death is on its way to us.
        let _ = self.pidfd().signal(libc::SIGKILL);
    }

    /// The sockets of these indexes.
    pub(super) fn named(&self, indexes: &[u16]) -> Vec<Arc<Socket>> {
        indexes.iter().filter_map(|index| self.sockets.get(usize::from(*index)).cloned()).collect()
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
