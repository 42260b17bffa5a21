//! The process at the other end of the handover channel, seen from either side.

use std::io;

use tokio::io::unix::AsyncFd;

use crate::handover::message::{Message, MessageError};
use crate::sys::channel::{Channel, Received};
use crate::sys::pidfd::Pidfd;
use crate::sys::watched::watch;

/// A channel, and a pidfd that says when the process behind it is gone.
#[derive(Debug)]
pub(crate) struct Peer {
    channel: AsyncFd<Channel>,
    pidfd: AsyncFd<Pidfd>,
    /// Whether the channel's other end is closed. That says nothing of the process, nor the other way round: a
    /// helper that a dead one left behind keeps the channel open.
    ended: bool,
}

/// What the peer did.
#[derive(Debug)]
pub(crate) enum Did {
    Say(Message),
    /// Sent what is not a message.
    Babble(MessageError),
    /// Is gone, and everything that it said before has been returned.
    Die,
}

impl Peer {
    /// Must be called on the driver's runtime.
    pub(crate) fn new(channel: Channel, pidfd: Pidfd) -> io::Result<Peer> {
        Ok(Peer { channel: watch(channel)?, pidfd: watch(pidfd)?, ended: false })
    }

    /// Sends at once, or not at all: the messages of one handover fit into a socket's buffer many times over, so a
    /// full one means a peer that has stopped reading. Its deadline ends that.
    pub(crate) fn send(&self, message: &Message) {
        let sent = self.channel.get_ref().send(&message.encode(), &[]);
        match sent {
            Ok(()) => tracing::debug!(?message, "sent"),
            Err(error) => tracing::debug!(?message, %error, "could not send"),
        }
    }

    pub(crate) fn pidfd(&self) -> &Pidfd {
        self.pidfd.get_ref()
    }

    /// What the peer does next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Did {
        loop {
            tokio::select! {
                biased;
                ready = self.channel.readable(), if !self.ended => {
                    let Ok(mut ready) = ready else { self.ended = true; continue };
                    match ready.try_io(|channel| channel.get_ref().recv()) {
                        Ok(received) => {
                            if let Some(did) = heard(received, &mut self.ended) { return did }
                        }
                        Err(_would_block) => {}
                    }
                }
                // A registered pidfd that cannot be waited for does not occur short of a broken reactor.
                Ok(_) = self.pidfd.readable() => {
                    // What it said last may be queued behind its death.
                    while !self.ended {
                        match self.channel.get_ref().recv() {
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                            received => if let Some(did) = heard(received, &mut self.ended) { return did },
                        }
                    }
                    return Did::Die;
                }
            }
        }
    }
}

fn heard(received: io::Result<Received>, ended: &mut bool) -> Option<Did> {
    match received {
        Ok(Received::Message { truncated: true, bytes, .. }) => {
            Some(Did::Babble(MessageError::TooLong { length: bytes.len() }))
        }
        Ok(Received::Message { bytes, fds, fds_lost, .. }) => {
            if !fds.is_empty() || fds_lost {
                // Dropped, and so closed; the message counts all the same.
                tracing::debug!(count = fds.len(), fds_lost, "descriptors that nobody asked for");
            }
            Message::decode(&bytes)
                .map_or_else(|error| Some(Did::Babble(error)), |message| message.map(Did::Say))
        }
        Ok(Received::End) | Err(_) => {
            *ended = true;
            None
        }
    }
}
