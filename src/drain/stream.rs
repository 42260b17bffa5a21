//! What a listener hands out: one connection, over TCP or a Unix socket, and who is at its other end.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::sys::address::Address;
use crate::sys::socket::{self, Kind};

/// An accepted connection of either family, so that one server can listen on both.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// A TCP connection, IPv4 or IPv6.
    Tcp(TcpStream),
    /// A connection to a Unix stream socket.
    Unix(UnixStream),
}

impl Stream {
    /// What accept gave. Must be called within a tokio runtime.
    pub(crate) fn from_fd(fd: OwnedFd, kind: Kind) -> io::Result<Stream> {
        match kind {
            Kind::Tcp => TcpStream::from_std(fd.into()).map(Stream::Tcp),
            _ => UnixStream::from_std(fd.into()).map(Stream::Unix),
        }
    }

    /// Deregistered from the runtime, and not closed.
    pub(crate) fn into_fd(self) -> io::Result<OwnedFd> {
        match self {
            Stream::Tcp(stream) => stream.into_std().map(OwnedFd::from),
            Stream::Unix(stream) => stream.into_std().map(OwnedFd::from),
        }
    }

    /// Who is at the other end, asked of the kernel. `None` once the peer is gone (ENOTCONN).
    pub fn peer_addr(&self) -> Option<Address> {
        socket::peer_of(self.as_fd())
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Stream::Tcp(stream)
    }
}

impl From<UnixStream> for Stream {
    fn from(stream: UnixStream) -> Self {
        Stream::Unix(stream)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of ours: what was written is the kernel's.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
