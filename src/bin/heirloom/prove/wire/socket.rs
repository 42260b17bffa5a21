//! What a client's bytes go through.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// A blocking socket, or what speaks over one.
pub(crate) trait Socket: Read + Write + Send + fmt::Debug {
    /// Of the socket itself.
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Nothing more will be sent.
    fn end_sending(&mut self) -> io::Result<()>;
}

impl Socket for TcpStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}
