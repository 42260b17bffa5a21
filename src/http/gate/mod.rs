//! A layer below hyper that knows where messages end, and so can take the connection away from underneath,
//! whatever library reads from it.
//!
//! It is there only where [`Config::move_websockets`](super::Config::move_websockets) or
//! [`move_streams`](super::Config::move_streams) asks for it. What it knows is [`following`]'s; here it meets
//! the socket. Three rules make a move possible:
//!
//! * hyper and the libraries above it are given whole heads and whole frames, one at a time, and nothing
//!   behind the head of a request that may become a session: so nothing is left in their buffers when the
//!   connection goes;
//! * an answer to a ping that a library still owes is given here before the connection goes;
//! * in the successor the request is played again to the service, and the head of its response is kept from
//!   the client, who has had it: the connection then goes on below a library that believes it has just met
//!   the client.

mod following;
mod frames;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod going;
mod head;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

pub(super) use following::{Begins, RequestBody};
pub(super) use going::{PATIENCE, say_goodbye};

use super::carried::{Carried, SessionKind};
use super::{io as plain, turn};
use crate::drain::{Base, Connection, Entry};
use following::Following;

/// Clones are of the same connection.
pub(super) struct Gate<S> {
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    entry: Arc<Entry>,
    inner: Mutex<Inner<S>>,
    /// Whether the handler has looked at what came with a session. Without, it would begin it anew.
    is_known: AtomicBool,
}

struct Inner<S> {
    /// `None` once it has gone, or on its way.
    connection: Option<Connection<S>>,
    /// It may come back.
    is_on_its_way: bool,
    /// hyper, or whoever it gave the connection to, has let go of it.
    is_dropped: bool,
    /// Read and not given out.
    ahead: BytesMut,
    /// The client's end has been read.
    is_ended: bool,
    following: Following,
    /// As its entry knows it.
    is_in_body: bool,
    /// To be written before anything else.
    injected: BytesMut,
    /// How often hyper has had all that it had written.
    flushes: u64,
    is_flushed: bool,
    /// While it lasts, no further message is given out.
    hold: Option<Pin<Box<Sleep>>>,
    /// When a session that is to go and is not between two messages is given up.
    deadline: Option<Instant>,
    /// It cannot go, and is not asked to again.
    stays: bool,
    /// What the handler in the predecessor gave along, for the request that is played again.
    state: Option<Vec<u8>>,
    /// Who waits to read.
    reader: Option<Waker>,
    /// Who waits for the session to be between two messages.
    watchers: Vec<Waker>,
}

impl<S> Gate<S> {
    /// Of a connection that is about to speak HTTP.
    pub(super) fn new(connection: Connection<S>) -> Self {
        Gate::with(connection, BytesMut::new(), Following::new(), true)
    }

    /// Of one that has come from a predecessor in the middle of a session.
    pub(super) fn resumed(connection: Connection<S>, carried: &Carried) -> Self {
        // What the client had sent and nobody had read comes behind it, when it has been answered.
        let ahead = BytesMut::from(&carried.request[..]);
        let gate = Gate::with(connection, ahead, Following::resumed(carried), carried.state.is_empty());
        gate.with_inner(|inner| inner.state = Some(carried.state.clone()));
        gate
    }

    fn with(connection: Connection<S>, ahead: BytesMut, following: Following, is_known: bool) -> Self {
        let entry = connection.entry().clone();
        let inner = Inner {
            connection: Some(connection),
            is_on_its_way: false,
            is_dropped: false,
            ahead,
            is_ended: false,
            following,
            is_in_body: false,
            injected: BytesMut::new(),
            flushes: 0,
            is_flushed: true,
            hold: None,
            deadline: None,
            stays: false,
            state: None,
            reader: None,
            watchers: Vec::new(),
        };
        let shared = Shared { entry, inner: Mutex::new(inner), is_known: AtomicBool::new(is_known) };
        Gate { shared: Arc::new(shared) }
    }

    /// What was read and not given out, and the connection, if it is still here.
    pub(super) fn take_apart(&self) -> Option<(Vec<u8>, Connection<S>)> {
        self.with_inner(Inner::take_apart)
    }

    /// As [`take_apart`](Self::take_apart), if all of every request was given out, and nothing of a next one.
    pub(super) fn take_between_requests(&self) -> Option<(Vec<u8>, Connection<S>)> {
        self.with_inner(|inner| inner.following.is_between_requests().then(|| inner.take_apart())?)
    }

    /// Nobody reads from it or writes to it any more, through hyper: so nobody does.
    pub(super) fn dropped(&self) {
        let connection = self.with_inner(|inner| {
            inner.is_dropped = true;
            inner.wake_all();
            inner.connection.take()
        });
        drop(connection);
    }

    fn with_inner<T>(&self, act: impl FnOnce(&mut Inner<S>) -> T) -> T {
        // A panic in hyper or a waker leaves it as it stands, and the connection ends with its task.
        act(&mut self.shared.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<S: AsyncRead + Unpin> Gate<S> {
    pub(super) fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let is_own = turn::is_of(&self.shared.entry);
        self.with_inner(|inner| inner.poll_read(cx, buf, is_own))
    }

    /// Whether this is the turn of its connection.
    pub(super) fn is_own_turn(&self) -> bool {
        turn::is_of(&self.shared.entry)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Gate<S> {
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let is_known = self.shared.is_known.load(Relaxed);
        let polled = self.with_inner(|inner| inner.poll_write(cx, bufs, is_known));
        if let Poll::Ready(Err(error)) = &polled
            && is_moved_on(error)
            && let Some((connection, kind)) = self.wrong()
        {
            say!(warn: connection = connection.id(), ?kind, "a session that has come here was not gone on with");
            // A stream is cut: its client sees that there should have been more.
            if kind == Some(SessionKind::WebSocket) {
                // Not in hyper's time, which hears that its connection has gone.
                tokio::spawn(say_goodbye(connection, REPLAYED_OTHERWISE));
            }
        }
        polled
    }

    /// The connection, if what was played again has led to something else.
    fn wrong(&self) -> Option<(Connection<S>, Option<SessionKind>)> {
        self.with_inner(|inner| {
            let connection = inner.connection.take_if(|_| inner.following.is_wrong())?;
            Some((connection, inner.following.kind()))
        })
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        self.with_inner(|inner| inner.connection.as_ref().is_some_and(AsyncWrite::is_write_vectored))
    }

    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_inner(|inner| {
            ready!(inner.poll_injected(cx))?;
            let Some(connection) = &mut inner.connection else { return Poll::Ready(Ok(())) };
            ready!(plain::flush(connection, cx))?;
            inner.flushes += 1;
            inner.is_flushed = true;
            inner.wake_watchers();
            Poll::Ready(Ok(()))
        })
    }

    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.with_inner(|inner| {
            ready!(inner.poll_injected(cx))?;
            let Some(connection) = &mut inner.connection else { return Poll::Ready(Ok(())) };
            if inner.following.is_between_requests() && connection.entry().stage().base == Base::Finishing {
                // hyper has been told to end it, and has read to its end what was answered before that. It is
                // taken out, and the client hears of the end with its next answer, or not at all.
                return Poll::Ready(Ok(()));
            }
            plain::shutdown(connection, cx)
        })
    }
}

impl<S: AsyncRead + Unpin> Inner<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        is_own: bool,
    ) -> Poll<io::Result<()>> {
        if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
        loop {
            if self.is_on_its_way {
                return Poll::Pending;
            }
            let Some(connection) = &mut self.connection else { return Poll::Ready(Err(moved_on())) };
            if !is_own && connection.entry().is_hammered_or_kept_open() {
                return Pin::new(connection).poll_read(cx, buf);
            }
            let is_plain = self.ahead.is_empty() && !connection.has_received();
            if is_plain && self.following.passes() >= buf.remaining() as u64 {
                let before = buf.filled().len();
                ready!(Pin::new(reader(connection, is_own)).poll_read(cx, buf))?;
                self.following.given(&buf.filled()[before..]);
                self.look_at_body();
                self.wake_watchers();
                return Poll::Ready(Ok(()));
            }
            let is_held_back = self.poll_hold(cx).is_pending();
            let count = self.following.may_give(&self.ahead, is_held_back);
            if count > 0 {
                self.give(count, buf);
                return Poll::Ready(Ok(()));
            }
            if self.is_ended {
                return self.give_end(buf, is_held_back);
            }
            if is_held_back && self.following.may_give(&self.ahead, false) > 0
                || self.ahead.len() >= LONGEST_AHEAD
            {
                // Whoever changes that wakes the reader.
                return Poll::Pending;
            }
            ready!(self.poll_ahead(cx, is_own))?;
        }
    }

    fn give(&mut self, count: usize, buf: &mut ReadBuf<'_>) {
        let count = count.min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.following.given(&self.ahead[..count]);
        self.ahead.advance(count);
        self.look_at_body();
        self.wake_watchers();
    }

    /// What is left belongs to a message that will never be whole; or it waits for its turn, and the end
    /// behind it.
    fn give_end(&mut self, buf: &mut ReadBuf<'_>, is_held_back: bool) -> Poll<io::Result<()>> {
        let waits = self.following.is_held() || is_held_back;
        if waits && !self.ahead.is_empty() {
            return Poll::Pending;
        }
        let count = self.ahead.len().min(buf.remaining());
        buf.put_slice(&self.ahead[..count]);
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>, is_own: bool) -> Poll<io::Result<()>> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(moved_on())) };
        // What came with it, or one byte that was read to see whether the client is there. What follows
        // belongs in the same read: a body would come byte by byte otherwise.
        let received = connection.take_received();
        self.ahead.extend_from_slice(&received);
        self.ahead.reserve(AT_ONCE);
        let mut space = (&mut self.ahead).limit(AT_ONCE.saturating_sub(received.len()));
        let reader = reader(connection, is_own);
        let polled = pin!(reader.read_buf(&mut space)).poll(cx);
        // Otherwise an end or an error comes again with the next read.
        if received.is_empty() {
            self.is_ended = ready!(polled)? == 0;
        }
        self.wake_watchers();
        Poll::Ready(Ok(()))
    }

    /// Pending while nothing more is to be given out.
    fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(hold) = &mut self.hold {
            ready!(hold.as_mut().poll(cx));
            self.hold = None;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
        is_known: bool,
    ) -> Poll<io::Result<usize>> {
        self.is_flushed = false;
        if self.following.swallows() {
            let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else { return Poll::Ready(Ok(0)) };
            let count = self.following.swallow(first);
            self.wake_all();
            return Poll::Ready(Ok(count));
        }
        if self.following.is_resumed() && !is_known {
            self.following.goes_wrong();
        }
        if self.following.is_wrong() {
            return Poll::Ready(Err(moved_on()));
        }
        if self.is_on_its_way {
            self.watch(cx);
            return Poll::Pending;
        }
        ready!(self.poll_injected(cx))?;
        let Some(connection) = &mut self.connection else { return Poll::Ready(Err(moved_on())) };
        let count = ready!(plain::write_vectored(connection, cx, bufs))?;
        let mut opens = false;
        for part in plain::first_bytes(bufs, count) {
            opens |= self.following.written(part);
        }
        if opens {
            self.wake_reader();
        }
        self.wake_watchers();
        Poll::Ready(Ok(count))
    }

    fn poll_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.injected.is_empty() {
            let Some(connection) = &mut self.connection else { return Poll::Ready(Err(moved_on())) };
            let count = ready!(plain::write_vectored(connection, cx, &[IoSlice::new(&self.injected)]))?;
            self.injected.advance(count);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Inner<S> {
    fn take_apart(&mut self) -> Option<(Vec<u8>, Connection<S>)> {
        let mut connection = self.connection.take()?;
        let mut ahead = std::mem::take(&mut self.ahead).to_vec();
        ahead.extend(connection.take_received());
        Some((ahead, connection))
    }

    /// A connection whose upload goes on is not idle, whether it is answered or not.
    fn look_at_body(&mut self) {
        let is_in_body = self.following.is_in_body();
        if is_in_body != self.is_in_body
            && let Some(connection) = &self.connection
        {
            connection.entry().uploads(is_in_body);
            self.is_in_body = is_in_body;
        }
    }

    fn watch(&mut self, cx: &Context<'_>) {
        if !self.watchers.iter().any(|watcher| watcher.will_wake(cx.waker())) {
            self.watchers.push(cx.waker().clone());
        }
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn wake_watchers(&mut self) {
        self.watchers.drain(..).for_each(Waker::wake);
    }

    fn wake_all(&mut self) {
        self.wake_reader();
        self.wake_watchers();
    }
}

/// What the connection is read from: in its own turn past what is tracked.
fn reader<S: AsyncRead + Unpin>(
    connection: &mut Connection<S>,
    is_own: bool,
) -> &mut (dyn AsyncRead + Unpin) {
    if is_own { connection.stream_mut() } else { connection }
}

/// What whoever still holds a connection hears that is the successor's.
#[derive(Debug, thiserror::Error)]
#[error("the connection has gone to the successor, or was told to come again")]
struct MovedOn;

fn moved_on() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, MovedOn)
}

pub(super) fn is_moved_on(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<MovedOn>())
}

/// To a client whose session the successor's service does not go on with.
pub(super) const REPLAYED_OTHERWISE: &str = "the new version cannot go on with this session";

/// In bytes, of what is read and not given out: it goes along with the connection. A frame that is given out
/// whole fits.
const LONGEST_AHEAD: usize = following::LONGEST_WHOLE;

/// In bytes: what is read from the socket in one go.
const AT_ONCE: usize = 8 * 1024;

impl<S> Clone for Gate<S> {
    fn clone(&self) -> Self {
        Gate { shared: self.shared.clone() }
    }
}

impl<S> fmt::Debug for Gate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("connection", &self.shared.entry.id()).finish_non_exhaustive()
    }
}
