//! The process at the other end of the handover channel, seen from either side.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;

use crate::handover::message::{Message, MessageError, Private};
use crate::sys::channel::{Channel, Received};
use crate::sys::pidfd::Pidfd;
use crate::sys::spawn::kill_and_try_to_reap;
use crate::sys::watched::watch;

/// A channel, and a pidfd that says when the process behind it is gone.
#[derive(Debug)]
pub(crate) struct Peer {
    channel: AsyncFd<Channel>,
    pidfd: AsyncFd<Pidfd>,
    /// Whether the channel's other end is closed. That says nothing of the process, nor the other way round:
    /// a helper that a dead one left behind keeps the channel open.
    ended: bool,
    /// How much it has said that led to nothing.
    in_vain: usize,
    /// What it is to be told next, in order, while the channel is full.
    unsent: RefCell<VecDeque<Message>>,
}

/// How much a peer may say in vain before it is not heard any more. A release that is not understood says a
/// message or two of that kind; one that goes on would fill the log, and keep the driver from its other work.
const IN_VAIN: usize = 32;

/// More messages than a channel buffers (a few hundred): what a dead peer left is read to its end, and one
/// that writes faster than we read does not hold us for ever.
const QUEUED: usize = 1024;

/// How much a peer may say before others are heard again. A handover is six messages; more is babble.
pub(crate) const MESSAGES_AT_ONCE: usize = 64;

/// How much may wait for a peer to read: more than a handover has messages.
const UNSENT: usize = 64;

/// What the peer did.
#[derive(Debug)]
pub(crate) enum Did {
    /// With the descriptors that came along, in order: fewer than were sent where this process is at its
    /// limit.
    Say(Message, Vec<OwnedFd>),
    /// Sent what is not a message.
    Babble(MessageError),
    /// Is gone, and everything that it said before has been returned.
    Die,
}

/// Ends a child that cannot be watched. It looks now and then, which takes neither a thread nor a descriptor.
pub(crate) async fn kill_unwatched(pid: i32) {
    while !kill_and_try_to_reap(pid) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A killed process is gone in milliseconds; one that hangs in the kernel may stay for hours.
const LOOK: Duration = Duration::from_millis(100);

impl Peer {
    /// Must be called on the driver's runtime.
    pub(crate) fn new(channel: Channel, pidfd: Pidfd) -> io::Result<Peer> {
        Ok(Peer {
            channel: watch(channel)?,
            pidfd: watch(pidfd)?,
            ended: false,
            in_vain: 0,
            unsent: RefCell::default(),
        })
    }

    /// Sends with descriptors. `WouldBlock` and ETOOMANYREFS mean later.
    pub(crate) fn send_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if self.is_stuck() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.channel.get_ref().send(&Private::from(message.encode()), fds)
    }

    /// Sends, now or when there is room again. The messages of one handover fit into a socket's buffer many
    /// times over: a full one means a peer that has stopped reading, whose deadline ends that, or somebody in
    /// this process who writes there too.
    pub(crate) fn send(&self, message: &Message) {
        if self.unsent.borrow().len() < UNSENT {
            self.unsent.borrow_mut().push_back(message.clone());
        } else {
            say!(debug: ?message, "could not send: too much waits already");
        }
        self.send_unsent();
    }

    /// To be called now and then while [stuck](Self::is_stuck).
    pub(crate) fn send_unsent(&self) {
        let mut unsent = self.unsent.borrow_mut();
        while let Some(message) = unsent.front() {
            match self.channel.get_ref().send(&message.encode(), &[]) {
                Ok(()) => say!(debug: ?message, "sent"),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => say!(debug: ?message, %error, "could not send"),
            }
            unsent.pop_front();
        }
    }

    pub(crate) fn is_stuck(&self) -> bool {
        !self.unsent.borrow().is_empty()
    }

    /// What it said last led to nothing. Past the limit it is watched for its end alone.
    pub(crate) fn spoke_in_vain(&mut self) {
        self.in_vain += 1;
        if self.in_vain == IN_VAIN {
            say!(warn: "the other side of the handover goes on about nothing, and is not heard any more");
            self.ended = true;
        }
    }

    /// Whether anything that it says still arrives.
    pub(crate) fn is_heard(&self) -> bool {
        !self.ended
    }

    pub(crate) fn pidfd(&self) -> &Pidfd {
        self.pidfd.get_ref()
    }

    /// Goes on with another process in the place of the one that has ended, and returns what held that.
    #[cfg(feature = "supervisor")]
    pub(crate) fn follow(&mut self, pidfd: Pidfd) -> io::Result<Pidfd> {
        Ok(std::mem::replace(&mut self.pidfd, watch(pidfd)?).into_inner())
    }

    /// What the peer does next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Did {
        loop {
            tokio::select! {
                biased;
                ready = self.channel.readable(), if !self.ended => {
                    let Ok(mut ready) = ready else { self.ended = true; continue };
                    // On WouldBlock the readiness is cleared, and we wait again.
                    let received = ready.try_io(|channel| channel.get_ref().recv());
                    if let Ok(received) = received
                        && let Some(did) = self.heard(received)
                    {
                        return did;
                    }
                }
                // A registered pidfd that cannot be waited for does not occur short of a broken reactor.
                // What it said last may be queued behind its death.
                Ok(_) = self.pidfd.readable() => return self.said().unwrap_or(Did::Die),
            }
        }
    }

    /// What the peer has done by now, asked of the kernel: the runtime may not have noticed yet.
    pub(crate) fn so_far(&mut self) -> Option<Did> {
        // Looked at first, and reported last: a word that came between the two looks is read with the others.
        let dead = self.pidfd().has_exited().unwrap_or(false);
        self.said().or_else(|| dead.then_some(Did::Die))
    }

    fn said(&mut self) -> Option<Did> {
        for _ in 0..QUEUED {
            if self.ended {
                break;
            }
            match self.channel.get_ref().recv() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                received => {
                    if let Some(did) = self.heard(received) {
                        return Some(did);
                    }
                }
            }
        }
        None
    }

    fn heard(&mut self, received: io::Result<Received>) -> Option<Did> {
        let decoded = match received {
            Ok(Received::Message { truncated: true, bytes, .. }) => {
                Err(MessageError::TooLong { length: bytes.len() })
            }
            Ok(Received::Message { bytes, fds, fds_lost, .. }) => {
                if fds_lost {
                    say_seldom!(warn:
                        received = fds.len(),
                        "out of descriptors: some of those sent along are lost"
                    );
                }
                Message::decode(&Private::from(bytes)).map(|message| message.map(|message| (message, fds)))
            }
            Ok(Received::End) | Err(_) => {
                self.ended = true;
                return None;
            }
        };
        match decoded {
            Ok(message) => message.map(|(message, fds)| Did::Say(message, fds)),
            Err(error) => {
                self.spoke_in_vain();
                Some(Did::Babble(error))
            }
        }
    }
}

/// At the deadline, if there is one.
pub(crate) async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}
