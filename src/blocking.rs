//! For programs without a runtime: a listener whose accept blocks the thread, and connections that do.
//!
//! Why not `std::net::TcpListener`: a thread that waits in accept(2) cannot be told to stop, and takes one more
//! connection after its process has handed over; and a listener that is switched to blocking is so in every generation,
//! since the flag belongs to the socket and not to the process. This one waits in epoll instead.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use socket2::Socket;
use tokio::runtime::Runtime;

use crate::address::Address;
use crate::drain::{DrainSignal, Registration};
use crate::listener::Listener;

/// A [`Listener`] for a thread that may block; from [`Listener::into_blocking`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::{Read, Write};
///
/// let restarter = heirloom::Restarter::new()?;
/// let mut listener = restarter.listen("127.0.0.1:7000")?.into_blocking()?;
/// std::thread::spawn(move || {
///     while let Some(mut connection) = listener.accept() {
///         std::thread::spawn(move || connection.write_all(b"hello\n"));
///     }
/// });
/// restarter.run_blocking()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BlockingListener {
    listener: Listener,
    runtime: Runtime,
}

/// A blocking connection, which a drain waits for until it is dropped.
///
/// Nothing wakes a thread that waits in a read or write: set timeouts, or look at
/// [`is_draining`](Self::is_draining) between requests. One that still waits when the hammer falls ends with the
/// process.
#[derive(Debug)]
pub struct BlockingConnection {
    // Before `stream`: fields drop in this order, and an entry names its descriptor for as long as it is registered.
    registration: Registration,
    stream: Socket,
    received: Vec<u8>,
}

impl Listener {
    /// For a thread that may block.
    ///
    /// # Errors
    ///
    /// The kernel refuses another epoll descriptor.
    pub fn into_blocking(self) -> io::Result<BlockingListener> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(BlockingListener { listener: self, runtime })
    }
}

impl BlockingListener {
    /// The address that it has; with a port, where port 0 was asked for.
    pub fn local_addr(&self) -> &Address {
        self.listener.local_addr()
    }

    /// The next connection; `None` when this process accepts no more. See [`Listener::accept`].
    ///
    /// # Panics
    ///
    /// Within a tokio runtime: block a thread of your own.
    pub fn accept(&mut self) -> Option<BlockingConnection> {
        loop {
            let mut connection = self.runtime.block_on(self.listener.accept())?;
            let received = connection.take_received();
            let (registration, stream) = connection.into_registered();
            match stream.into_fd().and_then(blocking) {
                Ok(stream) => return Some(BlockingConnection { registration, stream, received }),
                Err(error) => say_seldom!(warn: %error, "a connection cannot be made blocking"),
            }
        }
    }
}

impl BlockingConnection {
    /// Whether the process drains: finish what is in flight, say goodbye, and drop this.
    pub fn is_draining(&self) -> bool {
        self.draining().is_raised()
    }

    /// Resolves once the process drains.
    pub fn draining(&self) -> DrainSignal {
        self.registration.draining()
    }

    /// Who is at the other end; `None` once that is gone.
    pub fn peer_addr(&self) -> Option<Address> {
        crate::sys::socket::peer_of(self.stream.as_fd())
    }

    /// Shuts down one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.stream.shutdown(how)
    }
}

impl Read for BlockingConnection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.received.is_empty() {
            return (&self.stream).read(buf);
        }
        let length = buf.len().min(self.received.len());
        buf[..length].copy_from_slice(&self.received[..length]);
        self.received.drain(..length);
        Ok(length)
    }
}

impl Write for BlockingConnection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.stream).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for BlockingConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The flag is the connection's own: an accepted socket shares nothing with another process before it is moved.
fn blocking(fd: OwnedFd) -> io::Result<Socket> {
    let stream = Socket::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}
