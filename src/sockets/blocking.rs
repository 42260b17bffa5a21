//! For programs without a runtime: a listener whose accept blocks the thread, and connections that do.
//!
//! Why not `std::net::TcpListener`: a thread that waits in accept(2) cannot be told to stop, and takes one
//! more connection after its process has handed over; and a listener that is switched to blocking is so in
//! every generation, since the flag belongs to the socket and not to the process. This one waits in epoll
//! instead.

use std::io::{self, PipeReader, Read, Write};
use std::mem;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::Socket;
use tokio::runtime::Runtime;

use crate::drain::departure::Verdict;
use crate::drain::{DrainSignal, Registration, Tracker};
use crate::handover::moving::Along;
use crate::sockets::accept::Listener;
use crate::sys::address::Address;

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
    bell: Arc<PipeReader>,
}

/// A blocking connection, which a drain waits for until it and its clones are dropped.
///
/// Nothing wakes a thread that waits in a read or a write, except its timeouts: one that waits in them for
/// ever holds the old process until the hammer, with which it ends. So a thread does not wait in a read for
/// the next request, but in [`wait`](Self::wait), which a drain wakes; and lets an idle connection [move
/// on](Self::move_on) then. Its client notices nothing.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io::{BufRead, BufReader, Write};
/// use std::time::Duration;
///
/// use heirloom::{BlockingConnection, Waited};
///
/// /// Answers line by line.
/// fn serve(connection: BlockingConnection) -> std::io::Result<()> {
///     let mut connection = BufReader::new(connection);
///     loop {
///         // What was read ahead is the next request already.
///         if connection.buffer().is_empty() && connection.get_ref().wait()? == Waited::Draining {
///             return match connection.into_inner().move_on(Vec::new(), None) {
///                 Ok(()) => Ok(()),
///                 // There is no successor: one more request, if it comes soon, and then close.
///                 Err(connection) => {
///                     connection.set_read_timeout(Some(Duration::from_secs(5)))?;
///                     answer(&mut BufReader::new(connection)).map(drop)
///                 }
///             };
///         }
///         if !answer(&mut connection)? {
///             return Ok(());
///         }
///     }
/// }
///
/// /// Whether there was a request.
/// fn answer(connection: &mut BufReader<BlockingConnection>) -> std::io::Result<bool> {
///     let mut line = String::new();
///     let length = connection.read_line(&mut line)?;
///     connection.get_mut().write_all(line.as_bytes())?;
///     Ok(length > 0)
/// }
/// # let _ = serve;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct BlockingConnection {
    shared: Arc<Shared>,
}

/// What all clones share.
#[derive(Debug)]
struct Shared {
    // Before `stream`: fields drop in this order, and an entry names its descriptor for as long as it is
    // registered.
    registration: Registration,
    stream: Socket,
    /// To be read before anything from the socket.
    received: Mutex<Vec<u8>>,
    state: Mutex<Option<Vec<u8>>>,
    bell: Arc<PipeReader>,
}

/// What a [`wait`](BlockingConnection::wait) was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Waited {
    /// A read would not block: there are bytes, the end, or an error.
    Readable,
    /// There is nothing to read, and the process drains.
    Draining,
}

impl Listener {
    /// For a thread that may block.
    ///
    /// # Errors
    ///
    /// The kernel refuses another epoll descriptor, or a pipe.
    pub fn into_blocking(self) -> io::Result<BlockingListener> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let bell = Tracker::bell(self.tracker())?;
        Ok(BlockingListener { listener: self, runtime, bell })
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
            let (received, state) = (connection.take_received(), connection.take_state());
            let (registration, stream) = connection.into_registered();
            match stream.into_fd().and_then(blocking) {
                Ok(stream) => {
                    let (received, state, bell) =
                        (Mutex::new(received), Mutex::new(state), self.bell.clone());
                    let shared = Shared { registration, stream, received, state, bell };
                    return Some(BlockingConnection { shared: Arc::new(shared) });
                }
                Err(error) => say_seldom!(warn: %error, "a connection cannot be made blocking"),
            }
        }
    }
}

impl BlockingConnection {
    /// Waits until there is something to read, or the process drains: what a thread does between two
    /// requests. What is there to be read counts first, so that a request which has arrived is never taken
    /// for an idle connection; once the drain has begun, this returns at once.
    ///
    /// # Errors
    ///
    /// [`TimedOut`](io::ErrorKind::TimedOut): the [read timeout](Self::set_read_timeout) has passed.
    pub fn wait(&self) -> io::Result<Waited> {
        if !self.received().is_empty() {
            return Ok(Waited::Readable);
        }
        let deadline = self.read_timeout()?.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let [stream, bell] = [self.shared.stream.as_fd(), self.shared.bell.as_fd()]
                .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            let mut polled = [stream, bell];
            match poll(&mut polled, left.map_or(PollTimeout::NONE, rounded_up)) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) if polled[0].any() != Some(false) => return Ok(Waited::Readable),
                Ok(_) => return Ok(Waited::Draining),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Moves the connection to the successor, with `unread`: bytes that were read from it and are not dealt
    /// with, and `state`: what the successor's [`take_state`](Self::take_state) is to give. The client
    /// notices nothing. See [`Connection::move_on`](crate::drain::Connection::move_on); this blocks until the
    /// successor has answered.
    ///
    /// # Errors
    ///
    /// The connection, with its unread bytes to be read again: it cannot go, or there is a
    /// [clone](Self::try_clone) of it, which may be reading. Close it in the way of your protocol.
    ///
    /// # Panics
    ///
    /// Within a tokio runtime.
    pub fn move_on(self, unread: Vec<u8>, state: Option<Vec<u8>>) -> Result<(), BlockingConnection> {
        let mut received = unread;
        received.append(&mut self.received());
        match Arc::try_unwrap(self.shared) {
            Ok(alone) => alone.move_on(received, state),
            Err(shared) => {
                let stays = BlockingConnection { shared };
                let mut read_meanwhile = mem::replace(&mut *stays.received(), received);
                stays.received().append(&mut read_meanwhile);
                Err(stays)
            }
        }
    }

    /// What its program in the predecessor said of it, if this connection was moved here with a state. Once;
    /// `None` for a connection that is as good as newly accepted.
    pub fn take_state(&self) -> Option<Vec<u8>> {
        lock(&self.shared.state).take()
    }

    /// The same connection once more, for a second thread (one reads, one writes). Shutdown and timeouts are
    /// common to both; a drain waits for the last. It never fails: a result as of
    /// [`std::net::TcpStream::try_clone`].
    pub fn try_clone(&self) -> io::Result<BlockingConnection> {
        Ok(BlockingConnection { shared: self.shared.clone() })
    }

    /// How long a read may wait, and a [`wait`](Self::wait); for ever by default.
    pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.stream.set_read_timeout(timeout)
    }

    /// How long a write may wait for the peer to read; for ever by default.
    pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.shared.stream.set_write_timeout(timeout)
    }

    /// See [`set_read_timeout`](Self::set_read_timeout).
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        self.shared.stream.read_timeout()
    }

    /// See [`set_write_timeout`](Self::set_write_timeout).
    pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
        self.shared.stream.write_timeout()
    }

    /// Whether the process drains: finish what is in flight, close as the protocol does, and drop this.
    pub fn is_draining(&self) -> bool {
        self.draining().is_raised()
    }

    /// Resolves once the process drains.
    pub fn draining(&self) -> DrainSignal {
        self.shared.registration.draining()
    }

    /// Who is at the other end; `None` once that is gone.
    pub fn peer_addr(&self) -> Option<Address> {
        crate::sys::socket::peer_of(self.as_fd())
    }

    /// Shuts down one direction, or both.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.shared.stream.shutdown(how)
    }

    fn received(&self) -> MutexGuard<'_, Vec<u8>> {
        lock(&self.shared.received)
    }
}

impl Shared {
    fn move_on(self, received: Vec<u8>, state: Option<Vec<u8>>) -> Result<(), BlockingConnection> {
        let state = state.or_else(|| lock(&self.state).take());
        let along = Along { received, state, session: None };
        let Some(route) = self.registration.route(&along) else {
            return Err(self.with(along.received, along.state));
        };
        let Shared { registration, stream, bell, .. } = self;
        // They belong to the socket and would go along, to a program that knows nothing of them.
        let timeouts = (stream.read_timeout().ok().flatten(), stream.write_timeout().ok().flatten());
        set_timeouts(&stream, (None, None));
        // A copy of both stays here for the case that it comes back.
        let verdict = route.depart(stream.into(), along.clone()).blocking_recv();
        let kept = match verdict {
            Ok(Verdict::Kept(fd)) => fd,
            Ok(Verdict::Taken(fd)) => {
                // In this order: an entry names its descriptor for as long as it is registered.
                drop(registration);
                drop(fd);
                return Ok(());
            }
            // The driver lives as long as the process.
            Err(_) => return Ok(()),
        };
        let stream = Socket::from(kept);
        set_timeouts(&stream, timeouts);
        let (empty, none) = (Mutex::default(), Mutex::default());
        Err(Shared { registration, stream, received: empty, state: none, bell }
            .with(along.received, along.state))
    }

    fn with(self, received: Vec<u8>, state: Option<Vec<u8>>) -> BlockingConnection {
        (*lock(&self.received), *lock(&self.state)) = (received, state);
        BlockingConnection { shared: Arc::new(self) }
    }
}

impl Read for &BlockingConnection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut received = self.received();
        if received.is_empty() {
            drop(received);
            return (&self.shared.stream).read(buf);
        }
        let length = buf.len().min(received.len());
        buf[..length].copy_from_slice(&received[..length]);
        received.drain(..length);
        Ok(length)
    }
}

impl Read for BlockingConnection {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }
}

impl Write for &BlockingConnection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&self.shared.stream).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for BlockingConnection {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (&*self).write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for BlockingConnection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.stream.as_fd()
    }
}

/// The flag is the connection's own: an accepted socket shares nothing with another process before it is
/// moved.
fn blocking(fd: OwnedFd) -> io::Result<Socket> {
    let stream = Socket::from(fd);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// They are what was set before, or nothing: the kernel has no reason to refuse.
fn set_timeouts(stream: &Socket, (read, write): (Option<Duration>, Option<Duration>)) {
    let _ = stream.set_read_timeout(read);
    let _ = stream.set_write_timeout(write);
}

/// To whole milliseconds, so that what is left of one is not asked for again and again.
fn rounded_up(left: Duration) -> PollTimeout {
    PollTimeout::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(PollTimeout::MAX)
}

/// Every update is whole before anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "blocking_tests.rs"]
mod tests;
