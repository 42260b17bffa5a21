//! The way to one older generation: its end of a channel, which whoever reads the socket inherits.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Meta;
use super::frame::{self, LEFT};
use super::outbound::Outbound;
use super::protocol::MOST_LEFT;
use super::table::MAX_LENGTH;
use crate::sys::channel::{Channel, Received};
use crate::sys::memfd::Mapped;
use crate::sys::watched::watch_for;

#[derive(Debug)]
pub(super) struct Older {
    pub(super) generation: u64,
    /// Under which the channel is handed down.
    pub(super) name: String,
    channel: Arc<Channel>,
    /// Registered by the task that receives: a socket can be made outside of a runtime.
    watched: Option<AsyncFd<Arc<Channel>>>,
    pub(super) outbound: Outbound,
    /// What it has said of how many conversations it has, if it has.
    conversations: Option<u64>,
}

/// What an older generation has to say.
#[derive(Debug)]
pub(super) enum Word {
    /// Nothing yet.
    None,
    /// It has stopped reading, and this is what it knows; `None` if that cannot be read.
    Table {
        table: Option<Mapped>,
        /// What its protocol has left.
        left: Option<Mapped>,
    },
    /// It is gone.
    Gone,
}

impl Older {
    pub(super) fn new(generation: u64, name: String, fd: OwnedFd) -> io::Result<Older> {
        let channel = Arc::new(Channel::from_fd(fd)?);
        let outbound = Outbound::default();
        Ok(Older { generation, name, channel, watched: None, outbound, conversations: None })
    }

    pub(super) fn push(&mut self, meta: &Meta, bytes: &[u8]) {
        self.outbound.push(meta, bytes);
    }

    /// Sends what can be sent; the rest waits. False if nobody is there any more.
    pub(super) fn flush(&mut self) -> bool {
        while let Some(frame) = self.outbound.next() {
            match self.channel.send(frame, &[]) {
                Ok(()) => self.outbound.sent(),
                Err(error) if is_for_later(&error) => break,
                Err(_) => return false,
            }
        }
        true
    }

    /// Registers for what comes next, and sends what has waited for room. False if nobody is there any more.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        loop {
            if matches!(self.poll_word(cx)?, Poll::Ready(Word::Gone)) {
                return Ok(false);
            }
            if self.outbound.next().is_none() {
                return Ok(true);
            }
            let Poll::Ready(ready) = self.watched()?.poll_write_ready(cx) else { return Ok(true) };
            let mut guard = ready?;
            guard.clear_ready();
            if !self.flush() {
                return Ok(false);
            }
        }
    }

    /// How many conversations it has said that it has.
    pub(super) fn counted(&self) -> Option<usize> {
        Some(usize::try_from(self.conversations?).unwrap_or(usize::MAX))
    }

    /// What it says next.
    pub(super) fn poll_word(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<Word>> {
        let (channel, mut counted) = (Arc::clone(&self.channel), None);
        let word = loop {
            let Poll::Ready(ready) = self.watched()?.poll_read_ready(cx) else { break Poll::Pending };
            let mut guard = ready?;
            match word(&channel, &mut counted) {
                Word::None => guard.clear_ready(),
                word => break Poll::Ready(word),
            }
        };
        self.conversations = counted.or(self.conversations);
        Ok(word)
    }

    /// What it has said by now.
    pub(super) fn word(&mut self) -> Word {
        word(&self.channel, &mut self.conversations)
    }

    fn watched(&mut self) -> io::Result<&AsyncFd<Arc<Channel>>> {
        if self.watched.is_none() {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.watched = Some(watch_for(Arc::clone(&self.channel), both)?);
        }
        Ok(self.watched.as_ref().expect("set above"))
    }
}

/// The last table that was sent: one may be of an earlier restart, whose successor died before it read it.
/// What was left comes before its table, and so is there as soon as that is. `counted` is changed if it says
/// how many conversations it has, which is no word to act on.
fn word(channel: &Channel, counted: &mut Option<u64>) -> Word {
    let (mut last, mut before) = (Word::None, None);
    for _ in 0..MOST_WORDS {
        match channel.recv() {
            Ok(Received::Message { bytes, fds, .. }) => {
                *counted = frame::counted(&bytes).or(*counted);
                let Some((kind, length)) = frame::announced(&bytes) else { continue };
                let is_short = length <= if kind == LEFT { MOST_LEFT } else { MAX_LENGTH };
                let file = fds.into_iter().next().filter(|_| is_short);
                let announced = file.and_then(|file| Mapped::sealed(file, length).ok());
                if kind == LEFT {
                    before = announced;
                } else {
                    last = Word::Table { table: announced, left: before.take() };
                }
            }
            // A word that is there is the word, and its end is found next.
            Ok(Received::End) if matches!(last, Word::None) => return Word::Gone,
            Ok(Received::End) => return last,
            Err(_) => return last,
        }
    }
    // Listening to it for ever would keep the newest from its own.
    Word::Gone
}

/// The most that is there at once: two for each restart, of which all but the last were taken back, and one
/// that counts.
const MOST_WORDS: usize = 32;

fn is_for_later(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM))
}
