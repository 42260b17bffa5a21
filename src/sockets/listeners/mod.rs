//! Inherit or bind: every listening socket of this process, and which of them were handed down and wait for
//! somebody to ask for them.

mod gate;
mod stored;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

pub(crate) use self::gate::Gate;
use self::stored::{bind_soon, stored_place};
use super::listen_error::ListenError;
use super::socket::{self, Socket};
use crate::drain::departure::Arrival;
use crate::handover::announcement::MAX_SOCKETS_LENGTH;
use crate::handover::message::MAX_SOCKETS;
use crate::operate::service::{Kept, Service};
use crate::sockets::inherited::InheritedSocket;
use crate::sockets::listen::Listen;
use crate::sys::address::Address;
use crate::sys::socket::Kind;

/// All listening sockets of this process.
#[derive(Debug)]
pub(crate) struct Listeners {
    state: Mutex<State>,
    /// How many accept loops still serve what their queue holds.
    emptying: watch::Sender<usize>,
    /// Whether anybody has a listener in an accept loop.
    begun: watch::Sender<bool>,
    /// One is not heirloom's.
    left: AtomicBool,
    service: Arc<Service>,
}

#[derive(Debug)]
struct State {
    open: Vec<Arc<Socket>>,
    inherited: Vec<Option<InheritedSocket>>,
    /// What another worker has bound since this one was started, until somebody asks for it.
    offered: Vec<InheritedSocket>,
    /// What a socket that is claimed or bound from now on may do.
    gate: Gate,
    /// Whether this process is the service, and no other generation accepts.
    settled: bool,
}

impl Listeners {
    /// `service` is told which sockets there are.
    pub(crate) fn new(inherited: Vec<Option<InheritedSocket>>, service: Arc<Service>) -> Listeners {
        let state =
            State { open: Vec::new(), inherited, offered: Vec::new(), gate: Gate::Paused, settled: false };
        Listeners {
            state: Mutex::new(state),
            emptying: watch::Sender::new(0),
            begun: watch::Sender::new(false),
            left: AtomicBool::new(false),
            service,
        }
    }

    /// The inherited socket that `listen` means, or a new one.
    pub(crate) fn inherit_or_bind(&self, listen: &Listen, kind: Kind) -> Result<Arc<Socket>, ListenError> {
        let mut state = self.lock();
        if state.gate == Gate::Closed || state.gate == Gate::Last {
            return Err(ListenError::Draining { address: listen.address.clone() });
        }
        let socket = match self.bind_again(&mut state, listen, kind)? {
            Some(again) => again,
            None => match listen.choices().find_map(|choice| self.claim(&mut state, &choice, kind)) {
                Some(claimed) => claimed?,
                None => self.bind_first(&mut state, listen, kind)?,
            },
        };
        let socket = state.fitting(socket)?;
        self.service.opened(&socket.kept());
        state.open_gate(&socket);
        state.open.push(Arc::clone(&socket));
        Ok(socket)
    }

    /// An inherited one, if there is.
    fn claim(&self, state: &mut State, listen: &Listen, kind: Kind) -> Option<Result<Socket, ListenError>> {
        let is_meant = |socket: &InheritedSocket| is_meant(socket, listen, kind);
        let announced = state.inherited.iter_mut().find_map(|slot| slot.take_if(|socket| is_meant(socket)));
        let claimed = announced.or_else(|| {
            let index = state.offered.iter().position(is_meant)?;
            Some(state.offered.remove(index))
        });
        let reachable = claimed.and_then(|inherited| self.if_reachable(inherited))?;
        Some(Socket::claim(reachable, listen))
    }

    /// At the first of a name's addresses that this machine has. The error is of the first of them all.
    fn bind_first(&self, state: &mut State, listen: &Listen, kind: Kind) -> Result<Socket, ListenError> {
        let first = match self.bind(state, listen, kind) {
            Err(error) if error.is_not_of_this_host() => error,
            bound => return bound,
        };
        for other in listen.choices().skip(1) {
            match self.bind(state, &other, kind) {
                Err(error) if error.is_not_of_this_host() => {}
                bound => return bound,
            }
        }
        Err(first)
    }

    fn bind(&self, state: &mut State, listen: &Listen, kind: Kind) -> Result<Socket, ListenError> {
        match Socket::bind(listen, kind) {
            Err(ListenError::InUse { .. }) if self.make_room(state, listen) => {
                bind_soon(listen, kind).map_err(|error| error.explained(kind))
            }
            bound => bound.map_err(|error| error.explained(kind)),
        }
    }

    /// A socket in the place of an inherited one that no client finds any more. That one is left to the
    /// predecessor, as one that nobody asks for: it serves what waits in the queue there.
    fn bind_again(
        &self,
        state: &mut State,
        listen: &Listen,
        kind: Kind,
    ) -> Result<Option<Socket>, ListenError> {
        let inherited = state.inherited.iter().flatten();
        let Some(meant) = inherited.into_iter().find(|socket| is_meant(socket, listen, kind)) else {
            return Ok(None);
        };
        let (Address::UnixPath(path), Some(lock)) = (&meant.address, &meant.lock) else { return Ok(None) };
        let Some(lock) = socket::made_again(path, lock.as_fd()) else { return Ok(None) };
        Socket::bind_at_again(listen, path, lock, true).map(Some)
    }

    /// In a supervisor, before it starts a worker: sockets that no client finds any more are replaced, with
    /// the flag that workers expect. Returns the old cookies with the new.
    #[cfg(feature = "supervisor")]
    pub(crate) fn make_lost_again(&self) -> Vec<(u64, u64)> {
        let mut state = self.lock();
        let mut replaced = Vec::new();
        for old in &mut state.open {
            let Some((path, lock)) = old.lost_place() else { continue };
            match old.bind_again(path, lock) {
                Ok(new) => {
                    replaced.push((old.cookie, new.cookie));
                    self.service.dropped(&old.kept());
                    *old = Arc::new(new);
                    self.service.opened(&old.kept());
                }
                Err(error) => say!(warn: %error, "nobody can connect there"),
            }
        }
        replaced
    }

    /// One more that is kept for others.
    #[cfg(feature = "supervisor")]
    pub(crate) fn add(&self, socket: Socket) -> Arc<Socket> {
        let socket = Arc::new(socket);
        self.service.opened(&socket.kept());
        self.lock().open.push(Arc::clone(&socket));
        socket
    }

    /// One that this process was not handed at its start, for when somebody asks for it.
    pub(crate) fn offer(&self, socket: InheritedSocket) {
        let mut state = self.lock();
        if matches!(state.gate, Gate::Paused | Gate::Open) {
            say!(debug: address = %socket.address, name = socket.name, "offered a socket");
            state.offered.push(socket);
        }
    }

    /// The sockets to hand down, in order.
    pub(crate) fn open(&self) -> Vec<Arc<Socket>> {
        self.lock().open.clone()
    }

    /// Those, as the service manager keeps them.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.lock().open.iter().map(|socket| socket.kept()).collect()
    }

    /// Indexes of the inherited sockets that nobody has claimed, which are closed here: the predecessor has
    /// them.
    pub(crate) fn close_unclaimed(&self) -> Vec<u16> {
        let mut state = self.lock();
        let unclaimed = state.inherited.iter_mut().enumerate().filter_map(|(index, slot)| {
            let socket = slot.take()?;
            if let Some(stored) = stored_place(&socket) {
                self.service.unwanted(stored.encode());
            }
            say!(info: address = %socket.address, name = socket.name, "closing an inherited socket that nobody asked for");
            u16::try_from(index).ok()
        });
        unclaimed.collect()
    }

    /// Gives connections from the predecessor to the accept loop of the listener that they came from. `tell`
    /// is called when it is certain that they get there, and before anybody can read from them.
    ///
    /// # Errors
    ///
    /// Gives them back if there is no such loop (any more), or if `tell` fails.
    pub(crate) fn arrive(
        &self,
        listener: u64,
        arrivals: Vec<Arrival>,
        tell: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), (Vec<Arrival>, Option<io::Error>)> {
        let socket = self.lock().open.iter().find(|socket| socket.cookie == listener).cloned();
        let Some(socket) = socket else { return Err((arrivals, None)) };
        // Held throughout: a loop that ends takes the way in away under this lock, and then empties it.
        let way_in = lock(&socket.arrivals);
        let Some(way_in) = &*way_in else { return Err((arrivals, None)) };
        if let Err(error) = tell() {
            return Err((arrivals, Some(error)));
        }
        for arrival in arrivals {
            // It fails when the loop was dropped with its runtime: then this process is ending.
            let _ = way_in.send(arrival);
        }
        Ok(())
    }

    /// Nobody accepts from this socket any more, and nobody is to inherit it.
    pub(crate) fn forget(&self, socket: &Arc<Socket>) {
        self.service.dropped(&socket.kept());
        self.lock().open.retain(|open| !Arc::ptr_eq(open, socket));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The socket, if a successor can be handed it along with those that there are. Found out here, where
    /// somebody is looking, and not at the first restart.
    fn fitting(&self, socket: Socket) -> Result<Arc<Socket>, ListenError> {
        let length: usize = self.open.iter().map(|open| open.announced_length).sum();
        let fits = self.open.len() < MAX_SOCKETS && length + socket.announced_length <= MAX_SOCKETS_LENGTH;
        if fits {
            return Ok(Arc::new(socket));
        }
        if !socket.was_inherited() {
            socket.give_up_place();
        }
        Err(ListenError::TooMany { address: socket.address.clone(), listeners: self.open.len() })
    }
}

/// Whether it is this inherited socket that `listen` means.
fn is_meant(socket: &InheritedSocket, listen: &Listen, kind: Kind) -> bool {
    let activated = socket.requested.is_empty();
    let same_name = socket.name == listen.name;
    let same_address =
        socket.address == listen.address || !activated && socket.requested == listen.address.to_os_string();
    socket.kind == kind
        && if activated {
            // By name the unit file alone says where; by address the unit's name for it does not matter.
            (same_name && !listen.name.is_empty()) || same_address
        } else {
            same_name && same_address
        }
}

/// Every update is whole before anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
