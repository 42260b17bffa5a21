//! What newer generations forward to this one.

use std::io::{self, IoSliceMut, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::Meta;
use super::frame::{self, LEFT, MAX_FRAME, TABLE};
use crate::sys::channel::{Channel, Received};
use crate::sys::memfd::{self, Mapped};
use crate::sys::watched::watch_for;

#[derive(Debug)]
pub(super) struct Inbox {
    near: Arc<Channel>,
    /// The end that is handed down, to take back from it what no successor has read.
    far: Channel,
    watched: Option<AsyncFd<Arc<Channel>>>,
    /// The last frame, and where its next record begins.
    buffer: Vec<u8>,
    frame: usize,
    at: usize,
    /// Frames that could not be understood.
    pub(super) garbled: u64,
}

impl Inbox {
    /// An inbox, and the end that is for newer generations.
    pub(super) fn new() -> io::Result<(Inbox, OwnedFd)> {
        let (near, far) = Channel::pair()?;
        let down = far.try_clone()?;
        let far = Channel::from_fd(far)?;
        far.widen();
        let (near, buffer) = (Arc::new(near), Vec::new());
        Ok((Inbox { near, far, watched: None, buffer, frame: 0, at: 0, garbled: 0 }, down))
    }

    /// Fills the buffers with what has come: one record each, of which `arrived` is told.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [Meta],
        mut arrived: impl FnMut(&Meta),
    ) -> io::Result<Poll<usize>> {
        let most = buffers.len().min(metas.len());
        let mut count = 0;
        while count < most {
            if let Some(meta) = self.next(&mut buffers[count]) {
                arrived(&meta);
                metas[count] = meta;
                count += 1;
                continue;
            }
            match self.poll_frame(cx)? {
                Poll::Ready(()) => {}
                Poll::Pending if count == 0 => return Ok(Poll::Pending),
                Poll::Pending => break,
            }
        }
        Ok(Poll::Ready(count))
    }

    fn next(&mut self, buffer: &mut [u8]) -> Option<Meta> {
        let mut rest = &self.buffer[self.at..self.frame];
        match frame::next(&mut rest) {
            Ok(Some((meta, bytes))) => {
                self.at = self.frame - rest.len();
                Some(fill(buffer, meta, bytes))
            }
            Ok(None) => None,
            Err(error) => {
                self.at = self.frame;
                self.garbled += 1;
                say_seldom!(debug: %error, "a frame from a newer generation cannot be understood");
                None
            }
        }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if self.watched.is_none() {
            self.watched = Some(watch_for(Arc::clone(&self.near), Interest::READABLE)?);
        }
        let watched = self.watched.as_ref().expect("set above");
        loop {
            let Poll::Ready(ready) = watched.poll_read_ready(cx) else { return Ok(Poll::Pending) };
            let mut guard = ready?;
            // Not before something has come: most generations are never an older one.
            self.buffer.resize(MAX_FRAME, 0);
            if let Ok(received) = guard.try_io(|_| self.near.recv_into(&mut self.buffer)) {
                let length = received?;
                let head = length - frame::records(&self.buffer[..length]).len();
                (self.at, self.frame) = (head, length);
                return Ok(Poll::Ready(()));
            }
        }
    }

    /// Tells the generation that is to read what this one knows; what is left to it is sent before.
    pub(super) fn tell(&self, table: &[u8]) -> io::Result<()> {
        self.send(TABLE, table)
    }

    /// Leaves to it what the protocol has.
    pub(super) fn leave(&self, left: &[u8]) -> io::Result<()> {
        self.send(LEFT, left)
    }

    /// Tells whoever reads now how many conversations there are here. Not while what was said before has not
    /// been read: without a reader it would pile up.
    #[cfg(feature = "quic")]
    pub(super) fn count(&self, conversations: u64) -> io::Result<()> {
        if self.far.is_readable() {
            return Ok(());
        }
        self.near.send(&frame::count(conversations), &[])
    }

    fn send(&self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        let mut file = memfd::create("heirloom-flows")?;
        file.write_all(bytes)?;
        memfd::seal(&file)?;
        self.near.send(&frame::announce(kind, bytes.len() as u64), &[file.as_fd()])
    }

    /// What was told is not true any more. Returns what nobody has read of what the protocol has left.
    pub(super) fn take_back(&self) -> Option<Mapped> {
        let mut left = None;
        while let Ok(Received::Message { bytes, fds, .. }) = self.far.recv() {
            if let Some((LEFT, length)) = frame::announced(&bytes) {
                left = fds.into_iter().next().and_then(|file| Mapped::sealed(file, length).ok());
            }
        }
        left
    }
}

/// What is longer than the buffer is cut, at the end of a datagram if one fits.
fn fill(buffer: &mut [u8], meta: Meta, bytes: &[u8]) -> Meta {
    let fits = match bytes.len() <= buffer.len() {
        true => bytes.len(),
        false if meta.segment <= buffer.len() => buffer.len() - buffer.len() % meta.segment.max(1),
        false => buffer.len(),
    };
    buffer[..fits].copy_from_slice(&bytes[..fits]);
    Meta { length: fits, segment: meta.segment.min(fits), ..meta }
}
