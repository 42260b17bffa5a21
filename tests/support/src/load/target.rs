//! Where a load goes, and a connection to it.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Type};

use super::wire::{self, Attempt, Socket, Trouble, Wire};

/// `127.0.0.1:80`, `[::1]:80`, `unix:/path` or `unix:@abstract`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    pub(crate) fn connect(&self, deadline: Instant) -> Result<Wire, Trouble> {
        let attempt = Attempt::new(deadline);
        let socket = self.socket(deadline).map_err(|error| attempt.failed(&error))?;
        Ok(attempt.over(socket))
    }

    /// Connects, and no read or write of it waits beyond the deadline. A full queue is waited for.
    pub(crate) fn socket(&self, deadline: Instant) -> io::Result<Box<dyn Socket>> {
        // A timeout of zero would be none.
        let patience = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let (domain, address) = match self {
            Target::Tcp(address) => (Domain::for_address(*address), SockAddr::from(*address)),
            Target::Unix(path) => (Domain::UNIX, SockAddr::unix(unix_path(path))?),
        };
        let socket = socket2::Socket::new(domain, Type::STREAM, None)?;
        socket.set_read_timeout(Some(patience))?;
        // How long it tries to connect, as well.
        socket.set_write_timeout(Some(patience))?;
        socket.connect(&address)?;
        if let Target::Tcp(_) = self {
            socket.set_tcp_nodelay(true)?;
        }
        Ok(Box::new(socket))
    }
}

/// A leading `@`, the abstract namespace, is a zero byte to the kernel.
fn unix_path(path: &Path) -> PathBuf {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => PathBuf::from(OsString::from_vec([b"\0", name].concat())),
        None => path.to_owned(),
    }
}

impl Socket for socket2::Socket {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        wire::read_now(self.as_fd(), bytes)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl FromStr for Target {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Target, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) => Ok(Target::Unix(path.into())),
            None => text.parse().map(Target::Tcp),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(f),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
