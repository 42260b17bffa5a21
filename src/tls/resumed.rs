//! A connection that another process has shaken hands on, as bytes in both directions.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::{Fault, Records};
use crate::drain::stream::Stream;

/// Has no `Debug`: it holds the keys.
pub(super) struct Resumed {
    stream: Stream,
    records: Records,
    /// Sealed, and not written.
    out: BytesMut,
    /// The peer has been told that this side says no more.
    is_closed: bool,
    /// The socket is at its end.
    is_cut: bool,
}

impl Resumed {
    pub(super) fn new(stream: Stream, records: Records) -> Resumed {
        Resumed { stream, records, out: BytesMut::new(), is_closed: false, is_cut: false }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// What was decrypted and not read, if the connection can go: nothing is left to write, and neither
    /// side has said goodbye.
    pub(super) fn prepare_to_go(&mut self, plain: &mut Vec<u8>) -> bool {
        let mut left = vec![0; self.records.readable()];
        self.records.read(&mut left);
        plain.append(&mut left);
        let is_over = self.is_closed || self.is_cut || self.records.is_ended();
        !is_over && self.records.fault().is_none() && self.out.is_empty()
    }

    pub(super) fn into_parts(self) -> (Stream, Records) {
        (self.stream, self.records)
    }

    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.records.readable() > 0 {
                let count = self.records.read(buf.initialize_unfilled());
                buf.advance(count);
                return Poll::Ready(Ok(()));
            }
            if let Some(fault) = self.records.fault() {
                return Poll::Ready(Err(broken(fault)));
            }
            if self.records.is_ended() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); AT_ONCE];
        let mut buf = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        if buf.filled().is_empty() {
            self.is_cut = true;
            // A peer that ends without goodbye may have been cut by somebody else.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        if let Err(fault) = self.records.receive(buf.filled()) {
            // The peer may hear why; nobody waits for that.
            self.records.alert(fault, &mut self.out);
            self.is_closed = true;
            let _ = self.poll_out(cx);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_out(cx))?;
        let mut count = 0;
        for buf in bufs {
            let part = &buf[..buf.len().min(AT_ONCE - count)];
            self.records.write(part, &mut self.out).map_err(broken)?;
            count += part.len();
        }
        // What the socket does not take now goes with the next write, or the flush.
        match self.poll_out(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closed {
            self.is_closed = true;
            self.records.close(&mut self.out);
        }
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(count);
        }
        // An idle connection holds no memory for what it may send.
        self.out = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

fn broken(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

/// One record of the longest, more or less; on the stack of whoever polls.
const AT_ONCE: usize = 16 << 10;
