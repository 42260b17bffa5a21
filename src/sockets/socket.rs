//! One listening socket, and for a Unix one the [path](place) that it owns.

mod place;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use place::Place;
pub(super) use place::{made_again, regain_place};

use super::listen_error::ListenError;
use super::listeners::Gate;
use crate::aside::{FILE, FILES};
use crate::drain::departure::Arrival;
use crate::handover::announcement::AnnouncedSocket;
use crate::handover::message::KeptSocket;
use crate::operate::service::Kept;
use crate::sockets::inherited::InheritedSocket;
use crate::sockets::listen::{Access, Listen};
use crate::sockets::stored_name::Stored;
use crate::sys::address::Address;
use crate::sys::lock::PathLock;
use crate::sys::socket::{self, Kind, TcpOptions, UdpOptions};

/// One listening socket of this process.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: Arc<OwnedFd>,
    pub(crate) kind: Kind,
    pub(crate) cookie: u64,
    pub(crate) name: String,
    pub(crate) requested: OsString,
    pub(crate) address: Address,
    /// `None` if it was handed to this process.
    #[cfg_attr(
        not(feature = "supervisor"),
        expect(dead_code, reason = "for a supervisor, which makes it again")
    )]
    asked: Option<Listen>,
    place: Option<Arc<Place>>,
    /// Whether it was handed to this process.
    inherited: bool,
    /// Whether the path is for another process to give up. Nothing else is published through it.
    surrendered: AtomicBool,
    /// Whether it was found blocking: another generation may wait in an accept(2) of its own, which would
    /// fail were O_NONBLOCK set, since the flag belongs to the open file description that all share.
    found_blocking: AtomicBool,
    /// Whether it came from a service manager, which accepts nothing itself.
    by_activation: bool,
    /// How many bytes an announcement of many needs for it.
    pub(super) announced_length: usize,
    pub(crate) gate: watch::Sender<Gate>,
    /// Leads to the accept loop, if that is ours: only then can it be told to empty the queue, and take what
    /// comes from the predecessor.
    pub(crate) arrivals: Mutex<Option<mpsc::UnboundedSender<Arrival>>>,
    /// Who reads datagrams from it by heirloom's rules, and has to be at rest when a gate has closed.
    #[cfg(feature = "udp")]
    pub(super) reader: Mutex<Option<std::sync::Weak<dyn Reader>>>,
}

/// What a socket's gate is told to at once, and not only when its task comes round to it: what this one has
/// read counts as this generation's, and the next one has to know.
#[cfg(feature = "udp")]
pub(crate) trait Reader: std::fmt::Debug + Send + Sync {
    fn gate(&self, gate: Gate);
}

impl Socket {
    pub(super) fn claim(inherited: InheritedSocket, listen: &Listen) -> Result<Socket, ListenError> {
        let InheritedSocket { fd, kind, name: _, requested, address, lock, stored: _ } = inherited;
        let failed = |source| ListenError::Bind { address: address.clone(), source };
        if kind != Kind::Udp {
            // On a listening socket this only sets the queue's new length.
            socket::listen(fd.as_fd(), backlog(listen)).map_err(failed)?;
        }
        let place = match (&address, lock) {
            (Address::UnixPath(path), Some(lock)) => Place::inherited(lock, path),
            _ => None,
        };
        // The listener's own: a socket unit's name for it, which nobody has to know here, would hide it from
        // a successor.
        let name = listen.name.clone();
        let by_activation = requested.is_empty();
        if by_activation && kind == Kind::Udp {
            // A service manager receives nothing itself, and a datagram socket of ours is non-blocking.
            socket::set_nonblocking(fd.as_fd()).map_err(failed)?;
        }
        let requested = if by_activation { listen.address.to_os_string() } else { requested };
        say!(debug: %address, name, "inherited a socket");
        let socket = Socket::new(fd, kind, name, requested, address.clone(), place).map_err(failed)?;
        let is_blocking = !socket::is_nonblocking(socket.as_fd()).map_err(failed)?;
        socket.found_blocking.store(is_blocking && kind != Kind::Udp, Ordering::Relaxed);
        Ok(Socket { inherited: true, by_activation, ..socket })
    }

    /// Keeps a socket for other processes, as it is; `requested` is empty for one that came by activation.
    #[cfg(feature = "supervisor")]
    pub(crate) fn keep(inherited: InheritedSocket) -> io::Result<Socket> {
        let InheritedSocket { fd, kind, name, requested, address, lock, stored: _ } = inherited;
        let place = match (&address, lock) {
            (Address::UnixPath(path), Some(lock)) => Place::inherited(lock, path),
            _ => None,
        };
        let socket = Socket::new(fd, kind, name, requested, address, place)?;
        Ok(Socket { inherited: true, ..socket })
    }

    pub(super) fn bind(listen: &Listen, kind: Kind) -> Result<Socket, ListenError> {
        let place = match &listen.address {
            Address::UnixPath(path) => Some(Place::taken(path, &listen.address)?),
            _ => None,
        };
        Socket::bind_at(listen, kind, place)
    }

    /// Binds a path again whose socket somebody has removed: nobody finds that one any more. `lock` is for
    /// [`made_again`].
    pub(super) fn bind_at_again(
        listen: &Listen,
        path: &Path,
        lock: PathLock,
        inherited: bool,
    ) -> Result<Socket, ListenError> {
        say!(warn: path = %path.display(), "somebody has removed the socket, making it again");
        Socket::bind_at(listen, Kind::UnixStream, Some(Place::again(lock, path, inherited)))
    }

    /// As [`bind_at_again`](Self::bind_at_again), with all that this one was asked to have.
    #[cfg(feature = "supervisor")]
    pub(super) fn bind_again(&self, path: &Path, lock: PathLock) -> Result<Socket, ListenError> {
        let plain = || Listen::new(self.address.clone()).name(self.name.clone());
        let listen = self.asked.clone().unwrap_or_else(plain);
        let socket = Socket::bind_at_again(&listen, path, lock, false)?;
        if !socket::is_nonblocking(self.as_fd()).unwrap_or(true) {
            let failed = |source| ListenError::Bind { address: self.address.clone(), source };
            socket::set_blocking(socket.as_fd()).map_err(failed)?;
        }
        Ok(socket)
    }

    fn bind_at(listen: &Listen, kind: Kind, mut place: Option<Place>) -> Result<Socket, ListenError> {
        let asked = &listen.address;
        if listen.access != Access::default() && place.is_none() {
            let source =
                io::Error::new(io::ErrorKind::InvalidInput, "only the path of a Unix socket has any");
            return Err(ListenError::Access { address: asked.clone(), source });
        }
        let bound = match (asked, kind) {
            (Address::Inet(address), Kind::Udp) => {
                let options = UdpOptions { reuse_port: listen.reuse_port, only_v6: listen.only_v6 };
                socket::bind_udp(*address, &options)
            }
            (Address::Inet(address), _) => {
                let (reuse_port, only_v6) = (listen.reuse_port, listen.only_v6);
                let options = TcpOptions { backlog: backlog(listen), reuse_port, only_v6 };
                socket::bind_tcp(*address, &options).and_then(|fd| {
                    // Accepted sockets have these from their listener: no calls for each connection.
                    socket::set_nodelay(fd.as_fd(), listen.nodelay)?;
                    socket::set_keepalive(fd.as_fd(), listen.keepalive)?;
                    Ok(fd)
                })
            }
            (Address::UnixPath(path), _) => socket::bind_unix(path),
            (Address::UnixAbstract(name), _) => socket::bind_unix_abstract(name, backlog(listen)),
            (Address::Unnamed, _) => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        };
        let fd = bound.map_err(|source| ListenError::of_bind(asked, source))?;
        if let Some(place) = &mut place {
            place.open(fd.as_fd(), listen)?;
        }
        let failed = |source| ListenError::Bind { address: asked.clone(), source };
        let address = socket::facts(fd.as_fd()).map_err(|error| failed(io::Error::other(error)))?.local;
        say!(debug: %address, name = listen.name, "bound a socket");
        let socket = Socket::new(fd, kind, listen.name.clone(), asked.to_os_string(), address, place);
        Ok(Socket { asked: Some(listen.clone()), ..socket.map_err(failed)? })
    }

    fn new(
        fd: OwnedFd,
        kind: Kind,
        name: String,
        requested: OsString,
        address: Address,
        place: Option<Place>,
    ) -> io::Result<Socket> {
        let cookie = socket::cookie(fd.as_fd())?;
        let announced = AnnouncedSocket {
            fd: LONGEST,
            cookie,
            kind: kind.name().to_owned(),
            name: name.clone(),
            requested: requested.clone(),
            address: address.to_os_string(),
            lock: place.as_ref().map(|_| LONGEST),
        };
        let gate = watch::Sender::new(Gate::Paused);
        Ok(Socket {
            fd: Arc::new(fd),
            kind,
            cookie,
            name,
            requested,
            address,
            asked: None,
            place: place.map(Arc::new),
            inherited: false,
            surrendered: AtomicBool::new(false),
            found_blocking: AtomicBool::new(false),
            by_activation: false,
            announced_length: announced.length(),
            gate,
            arrivals: Mutex::new(None),
            #[cfg(feature = "udp")]
            reader: Mutex::new(None),
        })
    }

    /// The lock that goes with it to a successor.
    pub(crate) fn lock_fd(&self) -> Option<BorrowedFd<'_>> {
        self.place.as_ref().map(|place| place.lock())
    }

    /// What another process is told that is to have it, too.
    pub(crate) fn described(&self) -> KeptSocket {
        let (kind, name, requested) =
            (self.kind.name().to_owned(), self.name.clone(), self.requested.clone());
        KeptSocket { kind, name, requested }
    }

    /// As the service manager keeps it.
    pub(crate) fn kept(&self) -> Kept {
        let Socket { cookie, name, requested, .. } = self;
        let stored = Stored { cookie: *cookie, name: name.clone(), requested: requested.clone() };
        Kept { name: stored.encode(), fd: Arc::clone(&self.fd) }
    }

    pub(super) fn set(&self, gate: Gate) {
        #[cfg(feature = "udp")]
        if let Some(reader) = &*self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
            && let Some(reader) = reader.upgrade()
        {
            reader.gate(gate);
        }
        self.gate.send_replace(gate);
    }

    pub(crate) fn came_by_activation(&self) -> bool {
        self.by_activation
    }

    /// Whether a loop of ours must leave it alone until no other generation accepts from it: an accept of
    /// ours would block.
    pub(super) fn is_found_blocking(&self) -> bool {
        self.found_blocking.load(Ordering::Relaxed)
    }

    /// Nobody else accepts from it any more, or has to bear it: from now on an accept does not block.
    pub(crate) fn stop_blocking(&self) {
        if self.found_blocking.swap(false, Ordering::Relaxed)
            && let Err(error) = socket::set_nonblocking(self.as_fd())
        {
            say_seldom!(warn: %error, address = %self.address, "an accept may block here");
        }
    }

    /// Whether the path, if it has one, is a predecessor's.
    pub(super) fn has_inherited_place(&self) -> bool {
        self.place.as_ref().is_some_and(|place| place.is_inherited())
    }

    /// What this process has made at the predecessor's path goes, and its lock stays.
    pub(super) fn give_back_place(&self) {
        if let Some(place) = &self.place {
            place.give_back();
        }
    }

    /// The lock to make its path again with, if that leads here no more.
    #[cfg(feature = "supervisor")]
    pub(crate) fn lost_place(&self) -> Option<(&Path, PathLock)> {
        self.place.as_ref()?.lost()
    }

    pub(crate) fn was_inherited(&self) -> bool {
        self.inherited
    }

    /// From now on the holder of the handed-on lock has to give up the path.
    pub(crate) fn surrender_place(&self) {
        self.surrendered.store(true, Ordering::Relaxed);
    }

    /// Waits for the file system, but not for long.
    pub(crate) fn give_up_place(&self) {
        let Some(place) = &self.place else { return };
        if self.surrendered.load(Ordering::Relaxed) {
            return;
        }
        let place = Arc::clone(place);
        if FILES.ask(FILE, move || place.give_up()).is_none() {
            say!(warn: address = %self.address, "the file system hangs: going on before the socket's path is removed");
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// No descriptor's number takes more digits: the kernel's highest limit, by default, is 1,048,576.
const LONGEST: RawFd = 1_048_575;

fn backlog(listen: &Listen) -> i32 {
    i32::try_from(listen.backlog).unwrap_or(i32::MAX)
}
