//! A tracked I/O object: counted until it is dropped, and deaf once the hammer fell.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::entry::{Base, Direction, Entry, WANTED};
use super::limits::CLOSING_LIMIT;
use super::signal::DrainSignal;
use super::status::{Kind, Phase};
#[cfg(feature = "http")]
use crate::handover::message::Private;
use crate::handover::moving::Along;

/// A connection that its [`Tracker`](super::Tracker) counts until this is dropped.
///
/// Reads and writes go through to `S`. After [`Tracker::hammer`](super::Tracker::hammer) they all fail
/// with [`io::ErrorKind::ConnectionAborted`], and a task that waits in one is woken to see that.
#[derive(Debug)]
pub struct Connection<S> {
    // Before `stream`: fields drop in this order, and the entry must leave the registry while its fd is open.
    registration: Registration,
    pub(super) stream: S,
    pub(super) waiting: Waiting,
    farewell: Farewell,
    /// What a predecessor sent along. Rare, and so behind a pointer.
    pub(super) handed: Option<Box<Along>>,
}

/// What the connection waits for its peer for, or may wait in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    /// A write waits for the peer to read.
    pub(super) write_blocked: bool,
    /// The peer has ended its own direction.
    pub(super) half_closed: bool,
}

/// How far a shutdown has come.
#[derive(Clone, Copy, Debug)]
enum Farewell {
    Unsaid,
    /// Our direction is shut; reading on until the peer's is too.
    Said {
        discarded: u32,
    },
    Done,
}

/// Takes the entry out of the registry when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(super) entry: Arc<Entry>,
}

impl<S> Connection<S> {
    pub(super) fn new(entry: Arc<Entry>, stream: S, handed: Option<Along>) -> Self {
        Connection {
            registration: Registration { entry },
            stream,
            waiting: Waiting::default(),
            farewell: Farewell::Unsaid,
            handed: handed.map(Box::new),
        }
    }

    /// What its program in the predecessor said of it, if this connection was moved here with a state: see
    /// [`move_on`](Connection::move_on). Once; `None` for a connection that is as good as newly accepted.
    pub fn take_state(&mut self) -> Option<Vec<u8>> {
        self.handed.as_mut()?.state.take()
    }

    /// What the HTTP layer in the predecessor said of it, if it is in the middle of a session.
    #[cfg(feature = "http")]
    pub(crate) fn take_session(&mut self) -> Option<Private> {
        self.handed.as_mut()?.session.take()
    }

    #[cfg(feature = "http")]
    pub(crate) fn with_session(mut self, session: Option<Private>) -> Self {
        if session.is_some() {
            self.handed.get_or_insert_with(Box::default).session = session;
        }
        self
    }

    /// The bytes that are to be read before anything from the socket.
    pub(crate) fn take_received(&mut self) -> Vec<u8> {
        self.handed.as_mut().map(|handed| std::mem::take(&mut handed.received)).unwrap_or_default()
    }

    pub(crate) fn with_state(mut self, state: Option<Vec<u8>>) -> Self {
        if state.is_some() {
            self.handed.get_or_insert_with(Box::default).state = state;
        }
        self
    }

    /// With bytes that are to be read before what it is to give already.
    pub(crate) fn with_received(mut self, mut received: Vec<u8>) -> Self {
        if !received.is_empty() {
            let handed = self.handed.get_or_insert_with(Box::default);
            received.append(&mut handed.received);
            handed.received = received;
        }
        self
    }

    #[inline]
    pub(crate) fn has_received(&self) -> bool {
        self.handed.as_ref().is_some_and(|handed| !handed.received.is_empty())
    }

    /// The connection itself, past what is tracked.
    #[inline]
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    #[cold]
    #[inline(never)]
    fn read_received(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>)
    where
        S: AsyncRead + Unpin,
    {
        let Some(handed) = &mut self.handed else { return };
        let length = handed.received.len().min(buf.remaining());
        buf.put_slice(&handed.received[..length]);
        handed.received.drain(..length);
        if handed.received.is_empty() {
            if handed.state.is_none() && handed.session.is_none() {
                self.handed = None;
            }
            // What follows belongs in the same read: after a short one hyper doubles its buffer, and keeps it
            // for the life of the connection. An end or an error comes again with the next read.
            let _ = Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        self.entry().bytes_read();
    }

    /// Its number in the tracker, as in [`ConnectionStatus::id`](super::ConnectionStatus::id).
    pub fn id(&self) -> u64 {
        self.entry().id
    }

    /// What is spoken on it.
    pub fn kind(&self) -> Kind {
        self.entry().kind()
    }

    /// Resolves once the tracker begins to drain. Owned: it can be awaited while the connection is used.
    pub fn draining(&self) -> DrainSignal {
        self.registration.draining()
    }

    /// Resolves once the hammer has fallen.
    pub fn hammered(&self) -> DrainSignal {
        DrainSignal::new(self.entry().shared.clone(), Phase::Hammered)
    }

    /// What is tracked.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Ends the tracking, not the connection.
    pub fn into_inner(self) -> S {
        self.stream
    }

    pub(crate) fn into_registered(self) -> (Registration, S) {
        (self.registration, self.stream)
    }

    pub(crate) fn from_registered(registration: Registration, stream: S, received: Vec<u8>) -> Self {
        let handed = (!received.is_empty()).then(|| Box::new(Along { received, ..Along::default() }));
        Connection { registration, stream, waiting: Waiting::default(), farewell: Farewell::Unsaid, handed }
    }

    #[inline]
    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.registration.entry
    }

    /// To be called when `poll` is pending; an error if the hammer fell meanwhile.
    #[inline]
    pub(super) fn wait(&self, direction: Direction, cx: &Context<'_>) -> io::Result<()> {
        if self.entry().is_driven() { Ok(()) } else { self.register(direction, cx) }
    }

    /// Has the task woken for whatever ends the wait, where its socket is not to be read from.
    #[cfg(feature = "http")]
    pub(crate) fn wait_without_reading(&self, cx: &Context<'_>) -> io::Result<()> {
        self.wait(Direction::Read, cx)
    }

    #[inline(never)]
    fn register(&self, direction: Direction, cx: &Context<'_>) -> io::Result<()> {
        self.entry().register(direction, cx.waker());
        // Again, after the waker is known: the hammer may have fallen before it was.
        self.check()
    }

    #[inline]
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.entry().is_hammered() { Err(aborted()) } else { Ok(()) }
    }

    /// Of a connection that is kept open nothing is read. Nobody is woken either: it is polled again at once.
    #[cold]
    fn hold_back<T>(&self) -> Poll<io::Result<T>> {
        self.check()?;
        self.entry().raise(WANTED);
        Poll::Pending
    }

    /// What became of a write.
    #[inline]
    pub(crate) fn written(
        &mut self,
        cx: &Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if poll.is_pending() || self.waiting != Waiting::default() {
            self.waits(cx, poll.is_pending())?;
        }
        poll
    }

    #[cold]
    fn waits(&mut self, cx: &Context<'_>, blocked: bool) -> io::Result<()> {
        let before = self.waiting;
        self.waiting.write_blocked = blocked;
        // A write to a peer that may have gone has a new time with each one taken: it is what tells.
        if self.waiting != before || !blocked {
            self.entry().waits(self.waiting);
        }
        if blocked { self.wait(Direction::Write, cx) } else { Ok(()) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Closes so that the peer receives everything that was written: shuts our direction, then reads and
    /// discards until the peer has shut its own, within bounds of bytes and time.
    ///
    /// Without that, input that nobody read turns into a reset, which can take the last answer with it.
    pub async fn close(mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_close(cx, true)).await
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, linger: bool) -> Poll<io::Result<()>> {
        if let Farewell::Unsaid = self.farewell {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.farewell = if linger { Farewell::Said { discarded: 0 } } else { Farewell::Done };
            self.entry().enter(Base::Closing);
            if linger {
                self.entry().shared.watch(CLOSING_LIMIT);
            }
        }
        let Farewell::Said { discarded } = &mut self.farewell else { return Poll::Ready(Ok(())) };
        loop {
            let mut scrap = [MaybeUninit::uninit(); DISCARD_AT_ONCE];
            let mut buf = ReadBuf::uninit(&mut scrap);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                    // At most `DISCARD_AT_ONCE`.
                    *discarded += buf.filled().len() as u32;
                    if *discarded < DISCARD_IN_ALL {
                        continue;
                    }
                }
                // The peer is gone, politely or not: either way it has what it will get.
                Poll::Ready(_) => {}
                Poll::Pending if self.registration.entry.is_overdue() => {}
                Poll::Pending => {
                    self.wait(Direction::Write, cx)?;
                    if !self.entry().is_overdue() {
                        return Poll::Pending;
                    }
                }
            }
            self.farewell = Farewell::Done;
            return Poll::Ready(Ok(()));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.entry().is_hammered_or_kept_open() {
            return this.hold_back();
        }
        if this.has_received() {
            this.read_received(cx, buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.remaining();
        match Pin::new(&mut this.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                if buf.remaining() < before {
                    this.entry().bytes_read();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                this.wait(Direction::Read, cx)?;
                Poll::Pending
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        this.entry().write_asked();
        let poll = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.written(cx, poll)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        this.entry().write_asked();
        let poll = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        match Pin::new(&mut this.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                this.entry().flushed();
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                this.wait(Direction::Write, cx)?;
                Poll::Pending
            }
        }
    }

    /// Shuts our direction. An HTTP connection also waits for the peer to close, as
    /// [`close`](Connection::close) does, where the end is not what the peer asked for.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        if this.entry().keeps_open() {
            return Poll::Ready(Ok(()));
        }
        match this.farewell {
            Farewell::Done => Poll::Ready(Ok(())),
            Farewell::Unsaid => this.poll_close(cx, this.entry().lingers()),
            Farewell::Said { .. } => this.poll_close(cx, true),
        }
    }
}

impl Registration {
    pub(crate) fn draining(&self) -> DrainSignal {
        DrainSignal::new(self.entry.shared.clone(), Phase::Draining)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.entry.shared.remove(&self.entry);
    }
}

fn aborted() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// On the stack of the polling task, so small.
const DISCARD_AT_ONCE: usize = 4096;

/// An upload that was refused has at most this much more read for it: enough for what was under way on a
/// fast, long link; past it the peer is not listening.
const DISCARD_IN_ALL: u32 = 1 << 20;
