//! Sockets: what one is, and making listeners.
//!
//! Listeners are non-blocking from their first bind, and stay so: the flag belongs to the open file
//! description, so switching it later would switch it for the other generation as well. One that is inherited
//! without the flag keeps it so until this process alone serves it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{SockFlag, accept4};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::sys::address::Address;

/// What can be learnt about a socket without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Family and type in one.
    pub(crate) kind: Kind,
    /// Whether it accepts connections.
    pub(crate) listening: bool,
    /// What it is bound to.
    pub(crate) local: Address,
}

/// The kinds of socket that can be served, and the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
    UnixSeqpacket,
    Other,
}

/// Why nothing was learnt about a descriptor.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum FactsError {
    /// It is open, but is something else.
    #[error("fd {fd} is not a socket")]
    NotASocket { fd: RawFd },
    /// The system refused.
    #[error("fd {fd} cannot be inspected")]
    Other { fd: RawFd, source: io::Error },
}

/// How a TCP listener is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TcpOptions {
    /// How many connections may wait; the kernel caps it at net.core.somaxconn.
    pub(crate) backlog: i32,
    /// Whether other sockets may listen on the same address beside this one.
    pub(crate) reuse_port: bool,
    /// Whether `[::]` leaves IPv4 alone; `None` is the system's setting (net.ipv6.bindv6only).
    pub(crate) only_v6: Option<bool>,
}

/// How a UDP socket is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UdpOptions {
    /// Whether other sockets may receive on the same address beside this one.
    pub(crate) reuse_port: bool,
    /// As for TCP.
    pub(crate) only_v6: Option<bool>,
}

/// What somaxconn has been by default since Linux 5.4: a restart queues what arrives in its gap, so less
/// would only refuse clients.
pub(crate) const BACKLOG: i32 = 4096;

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions { backlog: BACKLOG, reuse_port: false, only_v6: None }
    }
}

/// The number that the kernel gives a socket for its whole life, the same through every copy of the
/// descriptor.
pub(crate) fn cookie(fd: BorrowedFd<'_>) -> io::Result<u64> {
    SockRef::from(&fd).cookie()
}

/// What this descriptor is.
pub(crate) fn facts(fd: BorrowedFd<'_>) -> Result<Facts, FactsError> {
    inspect(fd).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOTSOCK) => FactsError::NotASocket { fd: fd.as_raw_fd() },
        _ => FactsError::Other { fd: fd.as_raw_fd(), source },
    })
}

/// Where the other side of a connection is; `None` when there is none (any more).
pub(crate) fn peer_of(fd: BorrowedFd<'_>) -> Option<Address> {
    SockRef::from(&fd).peer_addr().ok().map(address)
}

/// As [`peer_of`], for a connection that somebody else holds open: asked of one that is not, it may tell of
/// another.
pub(crate) fn peer_of_number(fd: RawFd) -> Option<Address> {
    if fd < 0 {
        return None;
    }
    // SAFETY: the borrow ends with this call, which only reads; a number that is not open is an error of
    // getpeername, and one that has come to mean something else gives that one's peer.
    peer_of(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// Whether a connection that somebody else holds open is over in both directions: reset, or (a Unix socket)
/// closed by its peer. A TCP peer that has closed its socket looks as one that only sends no more.
pub(crate) fn is_hung_up(fd: RawFd) -> bool {
    if fd < 0 {
        return false;
    }
    // SAFETY: as above, of poll.
    let mut watched = [PollFd::new(unsafe { BorrowedFd::borrow_raw(fd) }, PollFlags::empty())];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|found| found > 0)
}

/// Listens on a TCP address, port 0 being any free one.
pub(crate) fn bind_tcp(address: SocketAddr, options: &TcpOptions) -> io::Result<OwnedFd> {
    let socket = open(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Else a port whose last connections are in TIME_WAIT could not be bound for a minute. Two that *listen*
    // are refused all the same.
    socket.set_reuse_address(true)?;
    prepare(&socket, address, options.reuse_port, options.only_v6)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Binds a UDP address. SO_REUSEADDR stays off: for UDP it lets a second socket take the datagrams away.
pub(crate) fn bind_udp(address: SocketAddr, options: &UdpOptions) -> io::Result<OwnedFd> {
    let socket = open(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    prepare(&socket, address, options.reuse_port, options.only_v6)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Makes a Unix stream socket at a path, which must be free: whose it was is for `lock` to tell. Nobody can
/// connect before it [listens](listen).
pub(crate) fn bind_unix(path: &Path) -> io::Result<OwnedFd> {
    bound_unix(&SockAddr::unix(path)?).map(OwnedFd::from)
}

/// Listens on a Unix stream socket in the abstract namespace (the name without its leading NUL byte).
pub(crate) fn bind_unix_abstract(name: &[u8], backlog: i32) -> io::Result<OwnedFd> {
    // Checks the length; an empty name would make the kernel choose one.
    std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    if name.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let path = [b"\0", name].concat();
    let socket = bound_unix(&SockAddr::unix(std::ffi::OsStr::from_bytes(&path))?)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// Whether an accept or a read returns at once where there is nothing.
pub(crate) fn is_nonblocking(fd: BorrowedFd<'_>) -> io::Result<bool> {
    SockRef::from(&fd).nonblocking()
}

/// Makes the open file description non-blocking, in every process that shares it.
pub(crate) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_nonblocking(true)
}

/// Makes the open file description blocking, in every process that shares it: for sockets that a foreign
/// program is to find as systemd hands them down, and only before there is such a process.
#[cfg(feature = "supervisor")]
pub(crate) fn set_blocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&fd).set_nonblocking(false)
}

/// Turns a bound socket into a listener, or changes the backlog of one.
pub(crate) fn listen(fd: BorrowedFd<'_>, backlog: i32) -> io::Result<()> {
    SockRef::from(&fd).listen(backlog)
}

/// Takes the next connection from the queue, close-on-exec and non-blocking.
pub(crate) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes sure that a descriptor which another process calls a connection is a stream socket, and
/// non-blocking: anything else would hold up a thread of the runtime.
pub(crate) fn expect_stream(fd: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    if socket.r#type()? != Type::STREAM {
        return Err(Errno::EPROTOTYPE.into());
    }
    socket.set_nonblocking(true)
}

/// Whether small writes go out at once. A listener passes it on to what it accepts.
pub(crate) fn set_nodelay(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    SockRef::from(&fd).set_tcp_nodelay(on)
}

/// After how long without a sign of life the peer is asked for one; `None` is never. A listener passes it on
/// to what it accepts.
pub(crate) fn set_keepalive(fd: BorrowedFd<'_>, silence: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(&fd);
    let Some(silence) = silence else { return socket.set_keepalive(false) };
    let keepalive = TcpKeepalive::new().with_time(silence.max(KEEPALIVE_LEAST));
    socket.set_tcp_keepalive(&keepalive.with_interval(KEEPALIVE_AGAIN).with_retries(KEEPALIVE_TRIES))
}

const KEEPALIVE_LEAST: Duration = Duration::from_secs(1);
/// With four of them 5 s apart, and after 30 s, 20,000 of 100,000 idle connections over loopback were cut,
/// whose questions the kernel had dropped together each time.
const KEEPALIVE_AGAIN: Duration = Duration::from_secs(10);
/// Linux's own number.
const KEEPALIVE_TRIES: u32 = 9;

impl Kind {
    /// The word for it in an announcement.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "tcp",
            Kind::Udp => "udp",
            Kind::UnixStream => "unix",
            Kind::UnixDatagram => "unix-datagram",
            Kind::UnixSeqpacket => "unix-seqpacket",
            Kind::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Tcp => "TCP",
            Kind::Udp => "UDP",
            Kind::UnixStream => "Unix stream",
            Kind::UnixDatagram => "Unix datagram",
            Kind::UnixSeqpacket => "Unix seqpacket",
            Kind::Other => "other",
        })
    }
}

fn inspect(fd: BorrowedFd<'_>) -> io::Result<Facts> {
    let socket = SockRef::from(&fd);
    let (domain, kind, protocol) = (socket.domain()?, socket.r#type()?, socket.protocol()?);
    let inet = domain == Domain::IPV4 || domain == Domain::IPV6;
    let unix = domain == Domain::UNIX;
    let kind = match (kind, protocol) {
        // Multipath TCP is accepted and served as TCP is.
        (Type::STREAM, Some(Protocol::TCP | Protocol::MPTCP)) if inet => Kind::Tcp,
        (Type::DGRAM, Some(Protocol::UDP)) if inet => Kind::Udp,
        (Type::STREAM, _) if unix => Kind::UnixStream,
        (Type::DGRAM, _) if unix => Kind::UnixDatagram,
        (Type::SEQPACKET, _) if unix => Kind::UnixSeqpacket,
        _ => Kind::Other,
    };
    Ok(Facts { kind, listening: socket.is_listener()?, local: address(socket.local_addr()?) })
}

fn address(raw: SockAddr) -> Address {
    if let Some(inet) = raw.as_socket() {
        Address::Inet(inet)
    } else if let Some(path) = raw.as_pathname() {
        Address::UnixPath(path.to_path_buf())
    } else if let Some(name) = raw.as_abstract_namespace() {
        Address::UnixAbstract(name.to_vec())
    } else {
        Address::Unnamed
    }
}

/// Close-on-exec and non-blocking from the start: no other thread's exec carries it away.
fn open(domain: Domain, kind: Type, protocol: Option<Protocol>) -> io::Result<Socket> {
    Socket::new(domain, kind.nonblocking(), protocol)
}

fn prepare(socket: &Socket, address: SocketAddr, reuse_port: bool, only_v6: Option<bool>) -> io::Result<()> {
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    match only_v6 {
        Some(only) if address.is_ipv6() => socket.set_only_v6(only),
        _ => Ok(()),
    }
}

fn bound_unix(address: &SockAddr) -> io::Result<Socket> {
    let socket = open(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
