//! What a listener hands out: one connection, over TCP or a Unix socket, and who is at its other end.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

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
    /// Who is at the other end, asked of the kernel. `None` once the peer is gone (ENOTCONN).
    pub fn peer_addr(&self) -> Option<Address> {
        Address::of_peer(self.as_fd().as_raw_fd())
    }
}

/// The address of a socket. Unix clients rarely have one: theirs is [`Address::Unnamed`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A Unix socket bound to a path.
    UnixPath(PathBuf),
    /// A Unix socket bound to a name without a file; the bytes after the leading zero.
    UnixAbstract(Vec<u8>),
    /// A Unix socket that was never bound.
    Unnamed,
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            _ => None,
        }
    }

    /// The caller vouches that `fd` is open for the length of the call.
    pub(crate) fn of_peer(fd: RawFd) -> Option<Address> {
        let raw: SockaddrStorage = getpeername(fd).ok()?;
        if let Some(inet) = raw.as_sockaddr_in() {
            return Some(Address::Inet(SocketAddr::V4((*inet).into())));
        }
        if let Some(inet) = raw.as_sockaddr_in6() {
            return Some(Address::Inet(SocketAddr::V6((*inet).into())));
        }
        if raw.family() == Some(nix::sys::socket::AddressFamily::Unix) {
            let unix = raw.as_unix_addr();
            return Some(match (unix.and_then(|u| u.path()), unix.and_then(|u| u.as_abstract())) {
                (Some(path), _) => Address::UnixPath(path.to_owned()),
                (None, Some(name)) => Address::UnixAbstract(name.to_owned()),
                (None, None) => Address::Unnamed,
            });
        }
        None
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Address::Inet(address)
    }
}

impl From<std::os::unix::net::SocketAddr> for Address {
    fn from(address: std::os::unix::net::SocketAddr) -> Self {
        match (address.as_pathname(), address.as_abstract_name()) {
            (Some(path), _) => Address::UnixPath(path.to_owned()),
            (None, Some(name)) => Address::UnixAbstract(name.to_owned()),
            (None, None) => Address::Unnamed,
        }
    }
}

/// As a command line takes it: `127.0.0.1:80`, `[::1]:80`, `unix:/run/x`, `unix:@name`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            Address::UnixPath(path) => write!(f, "unix:{}", path.display()),
            Address::UnixAbstract(name) => write!(f, "unix:@{}", OsStr::from_bytes(name).display()),
            Address::Unnamed => f.write_str("unix:unnamed"),
        }
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
