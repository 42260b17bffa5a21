//! The datagram socket that the service manager reads.

use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

/// A way to the service manager. Sending blocks while its queue is full, for [`PATIENCE`] at most.
#[derive(Debug)]
pub(super) struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    /// `name` as NOTIFY_SOCKET has it: a path, or an abstract name after an `@`.
    pub(super) fn at(name: &OsStr) -> io::Result<Manager> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', rest @ ..] if !rest.is_empty() => SocketAddr::from_abstract_name(rest)?,
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Manager { socket, address })
    }

    /// Sends one message with these descriptors.
    pub(super) fn send(&self, message: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        match self.try_send(message, fds) {
            // Not yet connected, or to a socket that a new manager has put another one in place of.
            Err(Errno::ENOTCONN | Errno::ECONNREFUSED | Errno::ECONNRESET) => {
                self.socket.connect_addr(&self.address)?;
                self.try_send(message, fds).map_err(io::Error::from)
            }
            sent => sent.map_err(io::Error::from),
        }
    }

    /// Waits until the manager has acted on everything that was sent before; an error when `patience` is
    /// over.
    pub(super) fn barrier(&self, patience: Duration) -> io::Result<()> {
        let (ours, theirs) = io::pipe()?;
        self.send("BARRIER=1", &[theirs.as_fd()])?;
        // The manager closes the last copy when it comes to this message.
        drop(theirs);
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(ours.as_fd(), PollFlags::POLLIN)], timeout) {
                Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn try_send(&self, message: &str, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let numbers: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if fds.is_empty() { &[][..] } else { &rights[..] };
        let bytes = [IoSlice::new(message.as_bytes())];
        loop {
            match sendmsg::<()>(self.socket.as_raw_fd(), &bytes, control, MsgFlags::MSG_NOSIGNAL, None) {
                Err(Errno::EINTR) => {}
                sent => return sent.map(drop),
            }
        }
    }
}

/// How long a full queue is waited for. A manager that does not read for so long is hung, and what it is not
/// told matters less than the orders that wait behind.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_place_are_refused() {
        for name in ["", "@", "relative", "vsock:2:1234"] {
            assert!(Manager::at(OsStr::new(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_barrier_that_nobody_reads_ends() {
        let name = format!("heirloom-barrier-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let _silent = UnixDatagram::bind_addr(&address).unwrap();
        let manager = Manager::at(OsStr::new(&format!("@{name}"))).unwrap();
        let error = manager.barrier(Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
