//! A connection with bytes that were read before hyper got it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::turn;
use crate::drain::Connection;

/// What hyper reads from and writes to: first the bytes that were read to find out the version, then
/// the connection.
///
/// Public for those who take an upgraded connection apart: it is
/// `upgraded.downcast::<hyper_util::rt::TokioIo<Io<S>>>()`.
#[derive(Debug)]
pub struct Io<S> {
    // Boxed: nearly every connection lives nearly all its time without.
    ahead: Option<Box<Bytes>>,
    connection: Connection<S>,
}

impl<S> Io<S> {
    pub(super) fn new(connection: Connection<S>, ahead: Bytes) -> Self {
        Io { ahead: (!ahead.is_empty()).then(|| Box::new(ahead)), connection }
    }

    /// The bytes that were read and not yet consumed, and the tracked connection.
    pub fn into_parts(self) -> (Bytes, Connection<S>) {
        (self.ahead.map_or_else(Bytes::new, |ahead| *ahead), self.connection)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_some() {
            self.read_ahead(cx, buf);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.connection).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Io<S> {
    #[inline]
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(cx, buf)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    #[inline]
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // By now hyper has all of a response that it could be given, and all of that is written.
        turn::tell(self.connection.entry());
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        turn::tell(self.connection.entry());
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> Io<S> {
    #[cold]
    fn read_ahead(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) {
        let Some(ahead) = &mut self.ahead else { return };
        let length = ahead.len().min(buf.remaining());
        buf.put_slice(&ahead[..length]);
        ahead.advance(length);
        if ahead.is_empty() {
            self.ahead = None;
            // What follows belongs in the same read: after a short one hyper doubles its buffer, and
            // keeps it for the life of the connection. An end or an error comes again with the next read.
            let _ = Pin::new(&mut self.connection).poll_read(cx, buf);
        }
    }
}
