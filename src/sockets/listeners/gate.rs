//! When the accept loops of this process may take connections: not before it is told to, not while a
//! successor is on probation, and after a handover only what nobody else can.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::watch;

use super::{Listeners, State, lock};
use crate::drain::Tracker;
use crate::sockets::socket::Socket;

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

    /// Closes everything, as a process that has taken nothing: what its predecessor handed down is in use
    /// there.
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

    /// Waits until no connection is left, nor (until `queues`) one in a queue that this process alone serves:
    /// an accept loop that has not come round to it yet holds nothing that could be counted. In this order:
    /// what a loop has accepted is tracked before the loop ends. Cancel safe.
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

    /// From now on this reader follows the gate of its socket, and is told where it stands.
    #[cfg(feature = "udp")]
    pub(crate) fn reader_begins(
        &self,
        socket: &Socket,
        reader: std::sync::Weak<dyn crate::sockets::socket::Reader>,
    ) {
        // Held throughout: a gate that moves in between would be told in the wrong order.
        let _state = self.lock();
        *lock(&socket.reader) = Some(reader);
        let now = *socket.gate.borrow();
        socket.set(now);
    }

    /// An accept loop begins: ours or a framework's.
    pub(crate) fn mark_begun(&self) {
        self.begun.send_replace(true);
    }

    /// An accept loop begins that heirloom does not see.
    pub(crate) fn mark_left(&self) {
        self.left.store(true, Ordering::Relaxed);
        self.mark_begun();
    }

    pub(crate) fn has_left_one(&self) -> bool {
        self.left.load(Ordering::Relaxed)
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
}

impl State {
    /// Lets this socket's accept loop do what all may. One that is not ours is its program's business, and so
    /// is the flag.
    pub(super) fn open_gate(&self, socket: &Socket) {
        if self.settled && lock(&socket.arrivals).is_some() {
            socket.stop_blocking();
        }
        if !(self.gate == Gate::Open && socket.is_found_blocking()) {
            socket.set(self.gate);
        }
    }
}

fn names(indexes: &[u16], index: usize) -> bool {
    indexes.iter().any(|named| usize::from(*named) == index)
}
