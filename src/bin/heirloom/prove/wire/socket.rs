//! What a client's bytes go through.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, recv};

/// A blocking socket, or what speaks over one.
pub(crate) trait Socket: Read + Write + Send + fmt::Debug {
    /// Of the socket itself.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Reads what is there already; that would block if it is nothing.
    fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Nothing more will be sent.
    fn end_sending(&mut self) -> io::Result<()>;
}

/// As [`Socket::read_now`].
pub(crate) fn read_now(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<usize> {
    Ok(recv(socket.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT)?)
}

impl Socket for TcpStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        read_now(self.as_fd(), bytes)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
