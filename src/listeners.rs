//! Inherit or bind: every listening socket of this process, and which of them were handed down and wait for somebody
//! to ask for them.

mod holder;
mod socket;
mod stored;

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::address::Address;
use crate::drain::Tracker;
use crate::handover::announcement::MAX_SOCKETS_LENGTH;
use crate::handover::message::MAX_SOCKETS;
use crate::inherited::InheritedSocket;
use crate::listen::Listen;
use crate::moving::Arrival;
use crate::operate::service::Service;
use crate::sys::socket::Kind;

pub use socket::ListenError;
pub(crate) use socket::Socket;
use stored::{bind_soon, stored_place};

/// All listening sockets of this process.
#[derive(Debug)]
pub(crate) struct Listeners {
    state: Mutex<State>,
    /// How many accept loops still serve what their queue holds.
    emptying: watch::Sender<usize>,
    /// Whether anybody has a listener in an accept loop.
    begun: watch::Sender<bool>,
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

/// What an accept loop may do with its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// Not now: before COMMIT, or while a successor is on probation. The queue waits in the kernel.
    Paused,
    /// Accept.
    Open,
    /// Accept what the queue holds, then close.
    Last,
    /// Close, and leave the queue to the process that holds the socket beside us.
    Closed,
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
        self.service.opened(&socket);
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

    /// A socket in the place of an inherited one that no client finds any more. That one is left to the predecessor, as one
    /// that nobody asks for: it serves what waits in the queue there.
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

    /// In a supervisor, before it starts a worker: sockets that no client finds any more are replaced, with the flag that
    /// workers expect. Returns the old cookies with the new.
    #[cfg(feature = "supervisor")]
    pub(crate) fn make_lost_again(&self) -> Vec<(u64, u64)> {
        let mut state = self.lock();
        let mut replaced = Vec::new();
        for old in &mut state.open {
            let Some((path, lock)) = old.lost_place() else { continue };
            match old.bind_again(path, lock) {
                Ok(new) => {
                    replaced.push((old.cookie, new.cookie));
                    self.service.dropped(old);
                    *old = Arc::new(new);
                    self.service.opened(old);
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
        self.service.opened(&socket);
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

    /// Indexes of the inherited sockets that nobody has claimed, which are closed here: the predecessor has them.
    pub(crate) fn close_unclaimed(&self) -> Vec<u16> {
        let mut state = self.lock();
        let unclaimed = state.inherited.iter_mut().enumerate().filter_map(|(index, slot)| {
            let socket = slot.take()?;
            if let Some(stored) = stored_place(&socket) {
                self.service.unwanted(stored);
            }
            say!(info: address = %socket.address, name = socket.name, "closing an inherited socket that nobody asked for");
            u16::try_from(index).ok()
        });
        unclaimed.collect()
    }

    /// Lets every accept loop run; those of sockets that were found blocking when this process has
    /// [settled](Self::settled). The predecessor's loop there is its program's own, and goes on until then.
    pub(crate) fn accept(&self) {
        let mut state = self.lock();
        state.gate = Gate::Open;
        state.open.iter().for_each(|socket| state.open_gate(socket));
    }

    /// This process is the service now.
    pub(crate) fn settled(&self) {
        let mut state = self.lock();
        state.settled = true;
        state.open.iter().for_each(|socket| state.open_gate(socket));
    }

    /// Stops every accept loop but those of `sockets`' indexes `unclaimed`; everything stays open.
    pub(crate) fn pause(&self, sockets: &[Arc<Socket>], unclaimed: &[u16]) {
        let mut state = self.lock();
        state.gate = Gate::Paused;
        for (index, socket) in sockets.iter().enumerate() {
            if !names(unclaimed, index) {
                socket.set(Gate::Paused);
            }
        }
    }

    /// Closes what was handed down without emptying it; the queues of the `unclaimed` are served first.
    pub(crate) fn hand_over(&self, sockets: &[Arc<Socket>], unclaimed: &[u16]) {
        let mut state = self.lock();
        state.gate = Gate::Closed;
        state.offered.clear();
        for socket in state.open.drain(..) {
            let index = sockets.iter().position(|handed| Arc::ptr_eq(handed, &socket));
            // What was bound after the spawn was never announced: the successor does not have it either.
            let is_ours_alone = index.is_none_or(|index| names(unclaimed, index));
            if is_ours_alone {
                socket.give_up_place();
            }
            self.finish(&socket, if is_ours_alone { Gate::Last } else { Gate::Closed });
        }
    }

    /// Serves what the queues hold, then closes; and gives up the paths.
    pub(crate) fn serve_backlog(&self) {
        let mut state = self.lock();
        state.gate = Gate::Last;
        state.inherited.clear();
        state.offered.clear();
        for socket in state.open.drain(..) {
            // The path first: who connects from now on is told at once that nobody is there.
            self.give_up_place(&socket);
            self.finish(&socket, Gate::Last);
        }
    }

    /// Closes everything, as a process that has taken nothing: what its predecessor handed down is in use there.
    pub(crate) fn leave(&self) {
        self.close_all(|socket| match socket.has_inherited_place() {
            true => socket.give_back_place(),
            false => socket.give_up_place(),
        });
    }

    /// Closes everything, whatever is queued.
    pub(crate) fn close(&self) {
        self.close_all(|socket| self.give_up_place(socket));
        self.emptying.send_replace(0);
    }

    /// Waits until no accept loop serves a queue any more. Cancel safe.
    pub(crate) async fn emptied(&self) {
        let mut emptying = self.emptying.subscribe();
        let _ = emptying.wait_for(|loops| *loops == 0).await;
    }

    /// Waits until no connection is left, nor (until `queues`) one in a queue that this process alone serves: an accept loop
    /// that has not come round to it yet holds nothing that could be counted. In this order: what a loop has accepted is
    /// tracked before the loop ends. Cancel safe.
    pub(crate) async fn drained(&self, tracker: &Tracker, queues: Instant) {
        let _ = tokio::time::timeout_at(queues.into(), self.emptied()).await;
        tracker.emptied().await;
    }

    /// An accept loop of ours is to serve it.
    pub(crate) fn loop_begins(&self, socket: &Socket) {
        let state = self.lock();
        // Else it has its word already: it was handed over before its loop began.
        if state.gate == Gate::Open {
            state.open_gate(socket);
        }
    }

    /// An accept loop begins: ours or a framework's.
    pub(crate) fn mark_begun(&self) {
        self.begun.send_replace(true);
    }

    /// Turns true when the first one has begun.
    pub(crate) fn loops_begun(&self) -> watch::Receiver<bool> {
        self.begun.subscribe()
    }

    /// An accept loop has come to its end, but for what has arrived already.
    pub(crate) fn loop_ended(&self, socket: &Socket) {
        // Held throughout: a gate that moves in between would have this loop counted by one of the two alone.
        let mut way_in = lock(&socket.arrivals);
        let was_looped = way_in.take().is_some();
        if was_looped && *socket.gate.borrow() == Gate::Last {
            self.emptying.send_modify(|loops| *loops = loops.saturating_sub(1));
        }
    }

    /// Gives connections from the predecessor to the accept loop of the listener that they came from. `tell` is called
    /// when it is certain that they get there, and before anybody can read from them.
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
        self.service.dropped(socket);
        self.lock().open.retain(|open| !Arc::ptr_eq(open, socket));
    }

    fn close_all(&self, give_up_place: impl Fn(&Socket)) {
        let mut state = self.lock();
        state.gate = Gate::Closed;
        state.inherited.clear();
        state.offered.clear();
        for socket in state.open.drain(..) {
            give_up_place(&socket);
            socket.set(Gate::Closed);
        }
    }

    fn finish(&self, socket: &Socket, gate: Gate) {
        let way_in = lock(&socket.arrivals);
        if gate == Gate::Last && way_in.is_some() {
            socket.stop_blocking();
            self.emptying.send_modify(|loops| *loops += 1);
        }
        socket.set(gate);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// The socket, if a successor can be handed it along with those that there are. Found out here, where somebody is
    /// looking, and not at the first restart.
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

    /// Lets this socket's accept loop do what all may. One that is not ours is its program's business, and so is the flag.
    fn open_gate(&self, socket: &Socket) {
        if self.settled && lock(&socket.arrivals).is_some() {
            socket.stop_blocking();
        }
        if !(self.gate == Gate::Open && socket.is_found_blocking()) {
            socket.set(self.gate);
        }
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

fn names(indexes: &[u16], index: usize) -> bool {
    indexes.iter().any(|named| usize::from(*named) == index)
}

/// Every update is whole before anything that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
