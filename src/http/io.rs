//! A connection with bytes that were read before hyper got it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite};

use super::gate::Gate;
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
    way: Way<S>,
}

#[derive(Debug)]
enum Way<S> {
    Straight(Connection<S>),
    /// Through what can take the connection away from underneath.
    Gated(Passage<S>),
}

/// A gate whose connection ends with this, whoever else holds the gate.
#[derive(Debug)]
struct Passage<S>(Gate<S>);

impl<S> Drop for Passage<S> {
    fn drop(&mut self) {
        self.0.dropped();
    }
}

impl<S> Io<S> {
    pub(super) fn new(connection: Connection<S>, ahead: Bytes) -> Self {
        Io { way: Way::Straight(connection.with_received(ahead.into())) }
    }

    pub(super) fn gated(gate: Gate<S>) -> Self {
        Io { way: Way::Gated(Passage(gate)) }
    }

    /// The bytes that were read and not yet consumed, and the tracked connection. It can move no more as a
    /// [`Session`](super::Session).
    ///
    /// # Panics
    ///
    /// If the connection has moved to the successor.
    pub fn into_parts(self) -> (Bytes, Connection<S>) {
        self.take_apart().expect("the connection has moved to the successor")
    }

    /// As [`into_parts`](Self::into_parts), of what may have moved.
    pub(super) fn take_apart(self) -> Option<(Bytes, Connection<S>)> {
        match self.way {
            Way::Straight(mut connection) => Some((connection.take_received().into(), connection)),
            Way::Gated(passage) => {
                passage.0.take_apart().map(|(ahead, connection)| (ahead.into(), connection))
            }
        }
    }

    /// As [`take_apart`](Self::take_apart), where it is known that hyper was given all of every request and
    /// nothing of a next one: what it still holds is the rest of a body that nobody wants.
    pub(super) fn take_between_requests(self) -> Result<(Bytes, Connection<S>), Self> {
        match self.way {
            Way::Gated(ref passage) => {
                let taken = passage.0.take_between_requests();
                taken.map(|(ahead, connection)| (ahead.into(), connection)).ok_or(self)
            }
            Way::Straight(_) => Err(self),
        }
    }
}

impl<S: AsyncRead + Unpin> Read for Io<S> {
    #[inline(always)]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let connection = match &mut self.get_mut().way {
            Way::Straight(connection) => connection,
            Way::Gated(passage) => return read_gated(&passage.0, cx, buf),
        };
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

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Write for Io<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let connection = match &mut self.get_mut().way {
            Way::Straight(connection) => connection,
            Way::Gated(passage) => return write_gated(&passage.0, cx, &[IoSlice::new(buf)]),
        };
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
        match &mut self.get_mut().way {
            Way::Straight(connection) => write_vectored(connection, cx, bufs),
            Way::Gated(passage) => write_gated(&passage.0, cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.way {
            Way::Straight(connection) => connection.is_write_vectored(),
            Way::Gated(passage) => passage.0.is_write_vectored(),
        }
    }

    #[inline(always)]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Straight(connection) => flush(connection, cx),
            Way::Gated(passage) => flush_gated(&passage.0, cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Straight(connection) => shutdown(connection, cx),
            Way::Gated(passage) => passage.0.poll_shutdown(cx),
        }
    }
}

#[inline(always)]
pub(super) fn write_vectored<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if !turn::is_of(connection.entry()) {
        return write_tracked(connection, cx, bufs);
    }
    if turn::write_asked() {
        connection.check()?;
    }
    let polled = Pin::new(connection.stream_mut()).poll_write_vectored(cx, bufs);
    connection.written(cx, polled)
}

#[inline(always)]
pub(super) fn flush<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
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

pub(super) fn shutdown<S: AsyncRead + AsyncWrite + Unpin>(
    connection: &mut Connection<S>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if !turn::is_of(connection.entry()) {
        return Pin::new(connection).poll_shutdown(cx);
    }
    let entry = connection.entry().clone();
    turn::interrupted(&entry, || Pin::new(connection).poll_shutdown(cx))
}

// What goes through a gate stays out of line, so that what does not is inlined into hyper's code.

#[cold]
#[inline(never)]
fn write_gated<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    gate: &Gate<S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    gate.poll_write(cx, bufs)
}

#[cold]
#[inline(never)]
fn flush_gated<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    gate: &Gate<S>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    gate.poll_flush(cx)
}

#[cold]
#[inline(never)]
fn read_gated<S: AsyncRead + Unpin>(
    gate: &Gate<S>,
    cx: &mut Context<'_>,
    buf: ReadBufCursor<'_>,
) -> Poll<io::Result<()>> {
    let count = ready!(read_into(buf, |buf| gate.poll_read(cx, buf)))?;
    if count > 0 && gate.is_own_turn() {
        turn::bytes_read();
    }
    Poll::Ready(Ok(()))
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

/// What was written of these when `count` bytes were, part by part.
pub(super) fn first_bytes<'a>(bufs: &'a [IoSlice<'_>], count: usize) -> impl Iterator<Item = &'a [u8]> {
    let mut left = count;
    bufs.iter().map_while(move |buf| {
        let part = (left > 0).then(|| &buf[..left.min(buf.len())])?;
        left -= part.len();
        Some(part)
    })
}
