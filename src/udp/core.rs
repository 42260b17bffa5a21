//! One socket's flows in one generation: when it reads, and where what is read goes.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSockRef, UdpSocketState};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

use super::Meta;
use super::home::Home;
use super::inbox::Inbox;
use super::older::{Older, Word};
use super::protocol::Protocol;
use super::sorting::Sorting;
use super::status::{FlowsStatus, GenerationFlows};
use crate::drain::Hold;
use crate::sockets::listeners::Gate;
use crate::sockets::socket::{Reader, Socket};
use crate::sys::udp;
use crate::sys::watched::watch_for;

/// How long the generation that begins to read waits for the table of the one before. That one sends it
/// before anybody is told to read, so it is there. Only a supervisor tells two workers at a time; a worker
/// that is frozen must not keep its successor from reading.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Core {
    pub(super) socket: Arc<Socket>,
    generation: u64,
    home: Arc<dyn Home>,
    options: Options,
    /// Made with the first use: what it sets on the socket, an older generation may not be ready for.
    io: OnceLock<UdpSocketState>,
    writing: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    state: Mutex<State>,
}

/// What is set on the socket, and who else has a say.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) protocol: Option<Arc<dyn Protocol>>,
    /// Whether the kernel may send a datagram in fragments.
    pub(super) fragments: bool,
    /// Whether it may give several at once. Not to a generation before that does not know of it.
    pub(super) coalesces: bool,
}

struct State {
    gate: Gate,
    reading: Option<AsyncFd<Arc<OwnedFd>>>,
    /// The table of the generation before is still to come, until then.
    table: Option<Option<Pin<Box<Sleep>>>>,
    sorting: Sorting,
    inbox: Inbox,
    /// Oldest first.
    older: Vec<Older>,
    /// Those that are gone, for the status.
    gone: Vec<GenerationFlows>,
    /// What was forwarded to those, and dropped.
    gone_totals: (u64, u64),
    received: u64,
    arrived: u64,
    /// Keeps the drain until the flows of this generation are idle.
    hold: Option<Hold>,
    idle: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl Core {
    pub(super) fn new(
        socket: Arc<Socket>,
        generation: u64,
        home: Arc<dyn Home>,
        options: Options,
        sorting: Sorting,
        (inbox, older): (Inbox, Vec<Older>),
    ) -> Core {
        let table = (!older.is_empty()).then_some(None);
        let state = State {
            gate: Gate::Paused,
            reading: None,
            table,
            sorting,
            inbox,
            older,
            gone: Vec::new(),
            gone_totals: (0, 0),
            received: 0,
            arrived: 0,
            hold: None,
            idle: None,
            waker: None,
        };
        let (io, writing) = (OnceLock::new(), OnceLock::new());
        Core { socket, generation, home, options, io, writing, state: Mutex::new(state) }
    }

    /// What is there for this generation; `None` once nothing more can come.
    pub(super) fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [Meta],
    ) -> Poll<io::Result<Option<usize>>> {
        let mut state = self.lock();
        let state = &mut *state;
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        let (sorting, now) = (&mut state.sorting, Instant::now());
        let mut arrived = 0;
        let forwarded = state.inbox.poll(cx, buffers, metas, |meta| {
            arrived += meta.datagrams();
            sorting.arrived(now, meta);
        })?;
        state.arrived += arrived;
        if let Poll::Ready(count) = forwarded {
            return Poll::Ready(Ok(Some(count)));
        }
        if matches!(state.gate, Gate::Open | Gate::Last) {
            loop {
                match self.poll_shared(state, cx, buffers, metas) {
                    // All of it was for others.
                    Poll::Ready(Ok(0)) => {}
                    Poll::Ready(read) => return Poll::Ready(read.map(Some)),
                    Poll::Pending => break,
                }
            }
            // Not before: it would take the table for a word that says nothing.
            if state.table.is_none() {
                self.poll_older(state, cx)?;
            }
        }
        match self.poll_over(state, cx) {
            Poll::Ready(()) => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_shared(
        &self,
        state: &mut State,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [Meta],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_table(state, cx))?;
        let io = self.io()?;
        if state.reading.is_none() {
            state.reading = Some(watch_for(Arc::clone(&self.socket.fd), Interest::READABLE)?);
        }
        let reading = state.reading.as_ref().expect("set above");
        let mut received = [RecvMeta::default(); BATCH_SIZE];
        let most = buffers.len().min(metas.len());
        let count = loop {
            let mut guard = ready!(reading.poll_read_ready(cx))?;
            let read = guard
                .try_io(|fd| io.recv(UdpSockRef::from(&**fd.get_ref()), &mut buffers[..most], &mut received));
            match read {
                Ok(count) => break count?,
                Err(_would_block) => {}
            }
        };
        for (meta, received) in metas.iter_mut().zip(&received[..count]) {
            *meta = Meta::of(received);
            state.received += meta.datagrams();
        }
        let State { sorting, older, .. } = state;
        let kept = sorting.sort(Instant::now(), buffers, metas, count, |generation, meta, bytes| {
            if let Some(older) = older.iter_mut().find(|older| older.generation == generation) {
                older.push(meta, bytes);
            }
        });
        self.drop_gone(state, Older::flush);
        Poll::Ready(Ok(kept))
    }

    /// Waits for what the generation before knows.
    fn poll_table(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(patience) = &mut state.table {
            let patience = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            // The youngest of them was the one that read.
            let Some(before) = state.older.last_mut() else {
                state.table = None;
                break;
            };
            let word = match before.word() {
                // Registered only then: the runtime would need one more turn for what is there already.
                Word::None => before.poll_word(cx)?,
                word => Poll::Ready(word),
            };
            match word {
                Poll::Ready(Word::Table { table, left }) => {
                    if let (Some(protocol), Some(left)) = (&self.options.protocol, left) {
                        protocol.arrive(&left);
                    }
                    let adopted = table.map(|table| state.sorting.adopt(Instant::now(), &table));
                    if !matches!(adopted, Some(Ok(()))) {
                        say!(warn: address = %self.socket.address, "the table of flows from the generation before cannot be read: those are begun anew");
                    }
                    state.table = None;
                }
                Poll::Ready(Word::Gone) => {
                    let generation = before.generation;
                    self.drop_gone(state, |older| older.generation != generation);
                }
                Poll::Ready(Word::None) => {}
                Poll::Pending => {
                    ready!(patience.as_mut().poll(cx));
                    say!(warn: address = %self.socket.address, "the generation before does not say which flows it has: reading without");
                    state.table = None;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_older(&self, state: &mut State, cx: &mut Context<'_>) -> io::Result<()> {
        let mut failed = None;
        self.drop_gone(state, |older| {
            older.poll(cx).unwrap_or_else(|error| {
                failed = Some(error);
                true
            })
        });
        failed.map_or(Ok(()), Err)
    }

    /// Those that are gone have no flows, and no generation after this one is to try to reach them.
    fn drop_gone(&self, state: &mut State, mut is_there: impl FnMut(&mut Older) -> bool) {
        let State { older, sorting, gone, gone_totals, .. } = state;
        older.retain_mut(|older| {
            if is_there(older) {
                return true;
            }
            older.outbound.drop_all();
            let status = GenerationFlows::of(older, sorting);
            sorting.forget(older.generation);
            self.home.withhold(&older.name);
            self.home.gone(self.socket.address.clone(), &status);
            gone_totals.0 += status.forwarded;
            gone_totals.1 += status.dropped;
            gone.push(GenerationFlows { flows: Some(0), ..status });
            // A status is for people; the sums have all of them.
            if gone.len() > GONE {
                gone.remove(0);
            }
            false
        });
    }

    /// Whether this generation has nothing left: another one reads, and nothing is known that it could
    /// forward.
    fn poll_over(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<()> {
        if !matches!(state.gate, Gate::Closed | Gate::Last) {
            return Poll::Pending;
        }
        loop {
            if state.sorting.knows_of_none() {
                state.hold = None;
                return match state.gate {
                    Gate::Closed => Poll::Ready(()),
                    // Nobody else reads: what comes is answered until the end.
                    _ => Poll::Pending,
                };
            }
            let Some(idle_at) = state.sorting.idle_at() else { return Poll::Pending };
            let idle = state.idle.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(idle_at.into())));
            ready!(idle.as_mut().poll(cx));
            state.idle = None;
            state.sorting.sweep(Instant::now());
            if state.sorting.idle_at().is_some_and(|idle_at| idle_at <= Instant::now()) {
                // Idle to the millisecond: so it goes with the next look.
                state.sorting.sweep(Instant::now() + Duration::from_millis(2));
            }
        }
    }

    pub(super) fn try_send(&self, transmit: &quinn_udp::Transmit<'_>) -> io::Result<()> {
        let io = self.io()?;
        let fd = &*self.socket.fd;
        self.writing()?.try_io(Interest::WRITABLE, |_| io.try_send(UdpSockRef::from(fd), transmit))
    }

    pub(super) async fn writable(&self) -> io::Result<()> {
        self.writing()?.writable().await.map(drop)
    }

    pub(super) fn max_segments(&self) -> (usize, usize) {
        self.io().map_or((1, 1), |io| (io.max_gso_segments(), io.gro_segments()))
    }

    pub(super) fn may_fragment(&self) -> bool {
        self.options.fragments || self.io().is_ok_and(UdpSocketState::may_fragment)
    }

    /// Whether the socket is another generation's by now, or nobody's.
    pub(super) fn has_left(&self) -> bool {
        matches!(self.lock().gate, Gate::Closed | Gate::Last)
    }

    pub(super) fn status(&self) -> FlowsStatus {
        // Not under the lock: a protocol receives under its own.
        let conversations = self.options.protocol.as_ref().and_then(|protocol| protocol.conversations());
        let state = self.lock();
        let own = GenerationFlows {
            generation: self.generation,
            flows: state.sorting.flows(self.generation).or(conversations),
            forwarded: state.arrived,
            dropped: state.inbox.garbled,
        };
        let sum = |of: fn(&Older) -> u64| state.older.iter().map(of).sum::<u64>();
        let forwarded = state.gone_totals.0 + sum(|older| older.outbound.forwarded);
        let dropped = state.gone_totals.1 + sum(|older| older.outbound.dropped);
        let older = state.older.iter().map(|older| GenerationFlows::of(older, &state.sorting));
        FlowsStatus {
            forwarded,
            dropped,
            address: self.socket.address.clone(),
            reads: matches!(state.gate, Gate::Open | Gate::Last),
            received: state.received,
            unknown: state.sorting.unknown,
            own,
            older: state.gone.iter().cloned().chain(older).collect(),
        }
    }

    /// Says to the generation that reads how many conversations there are here, where no table has them.
    #[cfg(feature = "quic")]
    pub(super) fn tell_count(&self, conversations: usize) {
        let told = self.lock().inbox.count(conversations as u64);
        if let Err(error) = told {
            say_seldom!(debug: %error, address = %self.socket.address, "the newest generation cannot be told how many conversations there are");
        }
    }

    /// All that the generation which reads next is to know.
    fn tell_next(&self, state: &State) -> io::Result<()> {
        drop(state.inbox.take_back());
        let mut told = Ok(());
        if let Some(protocol) = &self.options.protocol {
            protocol.leave(&mut |left| told = state.inbox.leave(left));
        }
        told.and(state.inbox.tell(&state.sorting.encode(Instant::now())))
    }

    fn io(&self) -> io::Result<&UdpSocketState> {
        if let Some(io) = self.io.get() {
            return Ok(io);
        }
        let fd = &*self.socket.fd;
        let io = UdpSocketState::new(UdpSockRef::from(fd))?;
        udp::widen(fd);
        if self.options.fragments {
            let is_v6 = self.socket.address.inet().is_some_and(|address| address.is_ipv6());
            udp::allow_fragments(fd, is_v6)?;
        }
        if !self.options.coalesces {
            udp::never_coalesce(fd)?;
        }
        Ok(self.io.get_or_init(|| io))
    }

    fn writing(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(writing) = self.writing.get() {
            return Ok(writing);
        }
        // A number of its own: the kernel registers one but once, and this one is not for reading.
        let fd = Arc::new(self.socket.fd.try_clone()?);
        let writing = watch_for(fd, Interest::WRITABLE)?;
        Ok(self.writing.get_or_init(|| writing))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A classifier that panics leaves one batch half sorted, and no more.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many generations that are gone a status has.
const GONE: usize = 8;

impl Reader for Core {
    fn gate(&self, gate: Gate) {
        let mut state = self.lock();
        let before = std::mem::replace(&mut state.gate, gate);
        let reads = |gate| matches!(gate, Gate::Open | Gate::Last);
        if reads(before) && !reads(gate) {
            // From here on nothing is read, so nothing can begin that the table does not have.
            state.reading = None;
            if let Err(error) = self.tell_next(&state) {
                say!(warn: %error, address = %self.socket.address, "the successor cannot be told which flows there are: it will begin them anew");
            }
        } else if !reads(before) && reads(gate) {
            let left = state.inbox.take_back();
            if let Some(protocol) = &self.options.protocol {
                protocol.arrive(left.as_deref().unwrap_or_default());
            }
        }
        let ends = matches!(gate, Gate::Closed | Gate::Last);
        if ends && !state.sorting.knows_of_none() && state.sorting.idle_at().is_some() && state.hold.is_none()
        {
            state.hold = Some(self.home.hold());
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Core { socket, generation, .. } = self;
        f.debug_struct("Core").field("address", &socket.address).field("generation", generation).finish()
    }
}
