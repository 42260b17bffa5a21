//! The accept loop's side of a listening socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};

use crate::drain::departure::Arrival;
use crate::drain::stream::Stream;
use crate::drain::{Connection, Hold, Tracker};
use crate::handover::moving::Along;
use crate::sockets::listeners::{Gate, Listeners};
use crate::sockets::reserve;
use crate::sockets::socket::Socket;
use crate::sys::address::Address;
use crate::sys::socket::{self, Kind};
use crate::sys::watched::watch;

/// A stream listener that knows when to accept and when to leave the queue to another generation.
///
/// ```no_run
/// # async fn example(restarter: heirloom::Restarter) -> Result<(), Box<dyn std::error::Error>> {
/// let mut listener = restarter.listen("127.0.0.1:7000")?;
/// tokio::spawn(async move {
///     while let Some(connection) = listener.accept().await {
///         tokio::spawn(async move { /* read and write `connection` */ });
///     }
/// });
/// restarter.run().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Listener {
    address: Address,
    cookie: u64,
    /// `None` once this process accepts no more: the last holder closes it.
    socket: Option<Arc<Socket>>,
    listeners: Arc<Listeners>,
    tracker: Tracker,
    gate: watch::Receiver<Gate>,
    /// Connections that the predecessor had.
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    /// Registered with the runtime at the first accept, so that a listener can be made outside of one.
    registered: Option<AsyncFd<Arc<OwnedFd>>>,
}

/// One more connection, perhaps.
enum Next {
    Accepted(io::Result<(Stream, Hold)>),
    Arrived(Arrival),
}

/// A connection that is nobody's yet. The hold outlives its tracking's beginning: there is no moment at which
/// a drain could find that nothing is left while this is on its way.
struct Newcomer {
    stream: Stream,
    handed: Option<Along>,
    hold: Hold,
}

/// How long accept waits after an error that time alone can mend (no descriptors, no memory). Long enough not
/// to spin, short enough that a client at the head of the queue does not notice much.
const BACK_OFF: Duration = Duration::from_millis(50);

impl Listener {
    pub(crate) fn new(socket: Arc<Socket>, listeners: Arc<Listeners>, tracker: Tracker) -> Listener {
        let (way_in, arrivals) = mpsc::unbounded_channel();
        *socket.arrivals.lock().unwrap_or_else(PoisonError::into_inner) = Some(way_in);
        listeners.loop_begins(&socket);
        let (address, gate) = (socket.address.clone(), socket.gate.subscribe());
        Listener {
            address,
            cookie: socket.cookie,
            socket: Some(socket),
            listeners,
            tracker,
            gate,
            arrivals,
            registered: None,
        }
    }

    /// The address to which it is bound. If port 0 was asked for, this has the real port.
    pub fn local_addr(&self) -> &Address {
        &self.address
    }

    pub(crate) fn tracker(&self) -> &Tracker {
        &self.tracker
    }

    /// The next connection, tracked; `None` when this process accepts no more.
    ///
    /// Waits while it is not this process's turn: before the predecessor has committed, and while a successor
    /// is on probation. It skips errors of single connections. When descriptors or memory run out, it waits
    /// and tries again, with a warning. It leaves the last 64 descriptors (or the last quarter, of fewer than
    /// 256) to operators and restarts, so that clients cannot lock those out. After `None` the socket is
    /// closed here.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost when the future is dropped.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime.
    pub async fn accept(&mut self) -> Option<Connection<Stream>> {
        loop {
            match self.accept_once().await? {
                Ok(newcomer) => return Some(self.track(newcomer)),
                Err(error) if is_about_one_connection(&error) => {}
                Err(error) => {
                    say_seldom!(warn: %error, address = %self.address, "cannot accept, trying again");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn track(&self, newcomer: Newcomer) -> Connection<Stream> {
        let Newcomer { stream, handed, hold } = newcomer;
        let connection = self.tracker.track_from(self.cookie, stream, handed);
        drop(hold);
        connection
    }

    async fn accept_once(&mut self) -> Option<io::Result<Newcomer>> {
        loop {
            match self.next().await? {
                Next::Accepted(accepted) => {
                    return Some(accepted.map(|(stream, hold)| Newcomer { stream, handed: None, hold }));
                }
                Next::Arrived(arrival) => {
                    if let Some(arrived) = arrived(arrival, &self.address) {
                        return Some(Ok(arrived));
                    }
                }
            }
        }
    }

    /// What has arrived goes first: it has waited before.
    async fn next(&mut self) -> Option<Next> {
        loop {
            if let Ok(arrival) = self.arrivals.try_recv() {
                return Some(Next::Arrived(arrival));
            }
            let socket = self.socket.as_ref()?;
            let gate = *self.gate.borrow_and_update();
            if gate == Gate::Paused {
                self.listeners.mark_begun();
            }
            let accepted = match gate {
                Gate::Paused => tokio::select! {
                    // No error to look at: the sender lives in the socket that we hold.
                    _ = self.gate.changed() => continue,
                    Some(arrival) = self.arrivals.recv() => return Some(Next::Arrived(arrival)),
                },
                Gate::Open => tokio::select! {
                    biased;
                    _ = self.gate.changed() => continue,
                    Some(arrival) = self.arrivals.recv() => return Some(Next::Arrived(arrival)),
                    accepted = accept_next(socket, &self.tracker, &mut self.registered) => accepted,
                },
                Gate::Last => match take_next(socket, &self.tracker, gate) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.end();
                        continue;
                    }
                    accepted => accepted,
                },
                Gate::Closed => {
                    self.end();
                    continue;
                }
            };
            let accepted = match accepted {
                // The gate has moved.
                Ok(None) => continue,
                Ok(Some((fd, hold))) => Stream::from_fd(fd, socket.kind).map(|stream| (stream, hold)),
                Err(error) => Err(error),
            };
            return Some(Next::Accepted(accepted));
        }
    }

    /// The socket for an accept loop that is not ours (axum's or hyper's own, actix-web): a duplicate that
    /// shares everything with this one, non-blocking.
    ///
    /// All generations share O_NONBLOCK too. If a predecessor has made the socket blocking (for a thread that
    /// waits in accept(2)), heirloom leaves it so, because that thread's accept would fail otherwise, even if
    /// this process then never gets ready. So a program that wants the flag to differ from its predecessor's
    /// changes it after [`Restarter::ready`](crate::Restarter::ready) at the earliest. For threads,
    /// [`into_blocking`](Self::into_blocking) avoids all of this.
    ///
    /// Run the loop in [`Restarter::run_with`](crate::Restarter::run_with), which gives it its shutdown
    /// signal. Or keep a [`Restarter::hold`](crate::Restarter::hold) until it is done, so that its requests
    /// in flight are not cut off.
    ///
    /// heirloom cannot pause such a loop: this process then accepts beside its successor until probation is
    /// over. Nor can heirloom control how such a loop closes its connections: most of them close idle ones,
    /// and each of those closes can cost a request. `http::serve` does not, and `into_incoming` lends a
    /// framework connections of which nothing is lost.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        match self.address {
            Address::Inet(_) => self.leave_loop(false).map(Into::into),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a Unix listener: use into_std_unix")),
        }
    }

    /// As [`into_std`](Self::into_std), but registered with the current tokio runtime, and always
    /// non-blocking.
    pub fn into_tokio(self) -> io::Result<tokio::net::TcpListener> {
        match self.address {
            Address::Inet(_) => {
                self.leave_loop(true).and_then(|fd| tokio::net::TcpListener::from_std(fd.into()))
            }
            _ => self.into_std().and_then(tokio::net::TcpListener::from_std),
        }
    }

    /// As [`into_std`](Self::into_std), for a Unix socket.
    pub fn into_std_unix(self) -> io::Result<std::os::unix::net::UnixListener> {
        match self.address {
            Address::Inet(_) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a TCP listener: use into_std"))
            }
            _ => self.leave_loop(false).map(Into::into),
        }
    }

    /// `for_runtime`: an accept that blocks would hold up one of its threads, and what that serves.
    fn leave_loop(mut self, for_runtime: bool) -> io::Result<OwnedFd> {
        self.listeners.mark_left();
        let duplicate = match &self.socket {
            Some(socket) => {
                if for_runtime || socket.came_by_activation() {
                    socket.stop_blocking();
                }
                socket.as_fd().try_clone_to_owned()
            }
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "this process accepts no more")),
        };
        self.end();
        duplicate
    }

    /// Deregisters before the descriptor can close: epoll goes on firing for a closed one while a duplicate
    /// lives.
    fn end(&mut self) {
        self.registered = None;
        if let Some(socket) = self.socket.take() {
            self.listeners.loop_ended(&socket);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.clone() {
            // Nobody accepts from it any more in this process; a successor that wants it binds it anew.
            self.end();
            self.listeners.forget(&socket);
        }
    }
}

/// What the predecessor sent, if it is a connection. Nothing is waited for if it is not, and nothing given
/// back: the predecessor has closed its own by now.
fn arrived(arrival: Arrival, address: &Address) -> Option<Newcomer> {
    let kind = match address {
        Address::Inet(_) => Kind::Tcp,
        _ => Kind::UnixStream,
    };
    let stream = socket::expect_stream(arrival.fd.as_fd()).and_then(|()| Stream::from_fd(arrival.fd, kind));
    match stream {
        Ok(stream) => Some(Newcomer { stream, handed: Some(arrival.handed), hold: arrival.hold }),
        Err(error) => {
            say_seldom!(warn: %error, %address, "what the predecessor moved here cannot be served");
            None
        }
    }
}

async fn accept_next(
    socket: &Arc<Socket>,
    tracker: &Tracker,
    registered: &mut Option<AsyncFd<Arc<OwnedFd>>>,
) -> io::Result<Option<(OwnedFd, Hold)>> {
    if registered.is_none() {
        *registered = Some(watch(Arc::clone(&socket.fd))?);
    }
    let registered = registered.as_ref().expect("it was registered just now");
    loop {
        let mut ready = registered.readable().await?;
        if let Ok(taken) = ready.try_io(|_| take_next(socket, tracker, Gate::Open)) {
            return taken;
        }
    }
}

/// The next connection of the queue; `None` if the gate is not what it was.
fn take_next(socket: &Socket, tracker: &Tracker, gate: Gate) -> io::Result<Option<(OwnedFd, Hold)>> {
    hold_and_take(tracker, || *socket.gate.borrow() == gate, || accept(socket.as_fd()))
}

/// Holds the drain, looks whether this process may still take, and takes: in this order. The driver closes
/// the gate first and counts afterwards. So either this sees the closed gate, or the driver sees the hold;
/// were the connection counted only once it is there, a thread that loses its processor in between would let
/// the process end with it.
fn hold_and_take<T>(
    tracker: &Tracker,
    may_take: impl FnOnce() -> bool,
    take: impl FnOnce() -> io::Result<T>,
) -> io::Result<Option<(T, Hold)>> {
    let hold = tracker.hold();
    if !may_take() {
        return Ok(None);
    }
    take().map(|taken| Some((taken, hold)))
}

/// Unless the descriptor would be one of those that are not for clients.
fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    reserve::admit(listener)?;
    let connection = socket::accept(listener)?;
    reserve::accepted(&connection);
    Ok(connection)
}

/// Errors of a connection that was gone before it was accepted, and of the network that accept(2) passes on.
fn is_about_one_connection(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(
            Errno::ECONNABORTED
                | Errno::EINTR
                | Errno::EPROTO
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH
                | Errno::EPERM
        )
    )
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
