//! A connection with bytes that were read before hyper got it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
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
    connection: Connection<S>,
}

impl<S> Io<S> {
    pub(super) fn new(connection: Connection<S>, ahead: Bytes) -> Self {
        Io { connection: connection.with_received(ahead.into()) }
    }

    /// The bytes that were read and not yet consumed, and the tracked connection.
    pub fn into_parts(mut self) -> (Bytes, Connection<S>) {
        (self.connection.take_received().into(), self.connection)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Io<S> {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
        let flushed = Pin::new(&mut self.connection).poll_flush(cx);
        if flushed.is_ready() {
            turn::tell_flushed(self.connection.entry());
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        turn::tell_flushed(self.connection.entry());
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}
