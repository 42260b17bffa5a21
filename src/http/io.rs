//! A connection with bytes that were read before hyper got it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite};

use super::turn;
use crate::drain::Connection;
use crate::sys::reading::read_into;

/// What hyper reads from and writes to: first the bytes that were read to find out the version, then
/// the connection.
///
/// Public for those who take an upgraded connection apart: it is
/// `upgraded.downcast::<Io<S>>()`.
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

impl<S: AsyncRead + Unpin> Read for Io<S> {
    #[inline(always)]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let connection = &mut self.get_mut().connection;
        if !turn::is_of(connection.entry()) || connection.has_received() {
            return read_tracked(connection, cx, buf);
        }
        let count = ready!(read_into(buf, |buf| Pin::new(connection.stream_mut()).poll_read(cx, buf)))?;
        if count > 0 {
            turn::bytes_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Io<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let connection = &mut self.get_mut().connection;
        if !turn::is_of(connection.entry()) {
            return Pin::new(connection).poll_write(cx, buf);
        }
        if turn::write_asked() {
            connection.check()?;
        }
        let polled = Pin::new(connection.stream_mut()).poll_write(cx, buf);
        connection.written(cx, polled)
    }

    #[inline(always)]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let connection = &mut self.get_mut().connection;
        if !turn::is_of(connection.entry()) {
            return write_tracked(connection, cx, bufs);
        }
        if turn::write_asked() {
            connection.check()?;
        }
        let polled = Pin::new(connection.stream_mut()).poll_write_vectored(cx, bufs);
        connection.written(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = &mut self.get_mut().connection;
        if !turn::is_of(connection.entry()) {
            return Pin::new(connection).poll_flush(cx);
        }
        let polled = Pin::new(connection.stream_mut()).poll_flush(cx);
        if let Poll::Ready(Ok(())) = polled
            && turn::flushed(connection.entry())
        {
            // hyper, for which a client may end its own direction, would not notice meanwhile that one has gone.
            connection.poll_presence(cx)?;
        }
        polled
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = &mut self.get_mut().connection;
        if !turn::is_of(connection.entry()) {
            return Pin::new(connection).poll_shutdown(cx);
        }
        let entry = connection.entry().clone();
        turn::interrupted(&entry, || Pin::new(connection).poll_shutdown(cx))
    }
}

/// Out of its turn, or with bytes that came with it.
#[cold]
#[inline(never)]
fn read_tracked<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
    buf: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    let count = ready!(read_into(buf, |buf| Pin::new(&mut *connection).poll_read(cx, buf)))?;
    if count > 0 && turn::is_of(connection.entry()) {
        turn::bytes_read();
    }
    Poll::Ready(Ok(()))
}

#[cold]
#[inline(never)]
fn write_tracked<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    Pin::new(connection).poll_write_vectored(cx, bufs)
}
