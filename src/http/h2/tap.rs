//! Between the socket and hyper: follows the frames of both directions, and lets a connection leave or
//! arrive.
//!
//! One task polls hyper, and through it this. So in steady state all belongs to the tap, and no lock is
//! taken. While a connection leaves or arrives, the tap has lent all that to the [`Lever`], by which the same
//! task gets at it from above hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::arriving::Progress;
use super::calm::Calm;
use super::carried::Carried;
use super::detour::{Detour, Given};
use super::follower::Follower;
use super::frame::{ENHANCE_YOUR_CALM, goaway};
use super::ledger::Ledger;
use crate::drain::Connection;
use crate::sys::reading::read_into;

/// What hyper reads from and writes to.
pub(in crate::http) struct Tap<S> {
    /// `None` while it is lent.
    own: Option<Line<S>>,
    /// `None` where nothing moves.
    lever: Option<Arc<Lever<S>>>,
}

/// Gets at a connection below hyper, where hyper gives no way to.
pub(in crate::http) struct Lever<S> {
    is_wanted: AtomicBool,
    lent: Mutex<Option<Line<S>>>,
}

/// A connection and all that is known of it.
pub(in crate::http) struct Line<S> {
    connection: Connection<S>,
    followed: Followed,
    /// What is left to say to a client that floods.
    rebuke: Option<Bytes>,
    detour: Option<Box<Detour>>,
    /// The client's end has been read.
    is_ended: bool,
}

/// What the frames of both directions say.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) reading: Follower,
    pub(super) writing: Follower,
    pub(super) ledger: Ledger,
    calm: Calm,
}

impl<S> Tap<S> {
    /// Of a connection that begins, with its preface read ahead. With a lever if it may move.
    pub(in crate::http) fn new(connection: Connection<S>, ahead: Bytes, moves: bool) -> Tap<S> {
        let followed = Followed {
            reading: Follower::from_preface(),
            writing: Follower::default(),
            ledger: Ledger::new(),
            calm: Calm::new(),
        };
        let line = Line::new(connection.with_received(ahead.into()), followed, None);
        Tap { own: Some(line), lever: moves.then(|| Arc::new(Lever::new(None))) }
    }

    /// Of one that a predecessor has begun.
    pub(in crate::http) fn resumed(connection: Connection<S>, carried: &Carried) -> Tap<S> {
        let followed = Followed::resumed(carried);
        let line = Line::new(connection, followed, Some(Detour::arriving(carried)));
        Tap { own: None, lever: Some(Arc::new(Lever::new(Some(line)))) }
    }

    pub(in crate::http) fn lever(&self) -> Option<Arc<Lever<S>>> {
        self.lever.clone()
    }
}

impl<S> Lever<S> {
    fn new(lent: Option<Line<S>>) -> Self {
        Lever { is_wanted: AtomicBool::new(false), lent: Mutex::new(lent) }
    }

    /// Whether the connection is to be lent, from hyper's next turn on.
    pub(in crate::http) fn wants(&self, on: bool) {
        self.is_wanted.store(on, Relaxed);
    }

    /// What is done with the connection, if it is lent.
    pub(in crate::http) fn with<T>(&self, act: impl FnOnce(&mut Line<S>) -> T) -> Option<T> {
        self.lent().as_mut().map(act)
    }

    /// From now on hyper writes into nothing, and reads nothing.
    pub(in crate::http) fn take(&self) -> Option<Line<S>> {
        self.lent().take()
    }

    fn lent(&self) -> MutexGuard<'_, Option<Line<S>>> {
        // A panic in hyper ends the connection with its task.
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Tap<S> {
    /// The connection where it is this one's alone, which is nearly always.
    #[inline]
    fn own(&mut self) -> Option<&mut Line<S>> {
        let wanted = self.lever.as_ref().is_some_and(|lever| lever.is_wanted.load(Relaxed));
        if wanted { None } else { self.own.as_mut() }
    }

    /// The connection, lent; `None` if it has gone. It comes back once nobody wants it.
    fn with_lent<T>(&mut self, act: impl FnOnce(&mut Line<S>) -> T) -> Option<T> {
        let lever = self.lever.as_ref()?;
        let mut lent = lever.lent();
        if let Some(own) = self.own.take() {
            *lent = Some(own);
        }
        let done = act(lent.as_mut()?);
        if !lever.is_wanted.load(Relaxed) && lent.as_ref().is_some_and(|line| line.detour.is_none()) {
            self.own = lent.take();
        }
        Some(done)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Tap<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match this.own() {
            Some(line) => read_into(buf, |buf| line.poll_read(cx, buf)),
            None => this.poll_read_lent(cx, buf),
        };
        polled.map_ok(|_| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tap<S> {
    #[cold]
    fn poll_read_lent(&mut self, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        self.with_lent(|line| read_into(buf, |buf| line.poll_read(cx, buf))).unwrap_or(Poll::Pending)
    }

    #[cold]
    fn poll_write_lent(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        self.with_lent(|line| line.poll_write(cx, bufs)).unwrap_or(Poll::Ready(Ok(all)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => line.poll_write(cx, bufs),
            None => this.poll_write_lent(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // What is not, is given the parts one by one.
        self.own.as_ref().is_none_or(|line| line.connection.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => Pin::new(&mut line.connection).poll_flush(cx),
            None => this
                .with_lent(|line| Pin::new(&mut line.connection).poll_flush(cx))
                .unwrap_or(Poll::Ready(Ok(()))),
        }
    }

    /// hyper has written all that it had to: this is between two frames.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => line.poll_shutdown(cx),
            None => this.with_lent(|line| line.poll_shutdown(cx)).unwrap_or(Poll::Ready(Ok(()))),
        }
    }
}

impl<S> Line<S> {
    fn new(connection: Connection<S>, followed: Followed, detour: Option<Detour>) -> Self {
        Line { connection, followed, rebuke: None, detour: detour.map(Box::new), is_ended: false }
    }

    pub(in crate::http) fn into_connection(self) -> Connection<S> {
        self.connection
    }

    /// It can leave neither now nor later.
    pub(in crate::http) fn is_ending(&self) -> bool {
        self.followed.ledger.is_ending() || self.rebuke.is_some() || self.is_ended
    }

    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.is_leaving())
    }

    pub(in crate::http) fn is_holding(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.is_holding())
    }

    pub(in crate::http) fn last_stream(&self) -> u32 {
        self.followed.ledger.last_stream()
    }

    /// Whether it can begin to leave: the handshake is over, and none of these streams is open that were
    /// waited for in vain, or for long.
    pub(in crate::http) fn may_begin_to_leave(&self, not_below: u32, not_since: u64) -> bool {
        let ledger = &self.followed.ledger;
        self.detour.is_none()
            && ledger.is_settled()
            && !ledger.is_open_below(not_below)
            && !ledger.is_open_since(not_since)
    }

    pub(in crate::http) fn begin_to_leave(&mut self) {
        // What was reset before has to be heard of before it goes, as ever.
        self.detour = Some(Box::new(Detour::leaving()));
        self.followed.ledger.takes_late();
    }

    pub(in crate::http) fn give_up(&mut self) {
        if let Some(detour) = self.detour.as_mut().filter(|detour| detour.is_leaving()) {
            detour.give_up(&self.followed);
        }
    }

    /// How far hyper is with knowing a connection that has come.
    pub(in crate::http) fn arrives(&mut self) -> Progress {
        let Some(detour) = &mut self.detour else { return Progress::Waits };
        detour.progress(&mut self.followed)
    }

    /// What goes along with a connection that has left.
    pub(in crate::http) fn depart(mut self) -> (Connection<S>, Carried, Vec<u8>) {
        let carried = self.followed.ledger.carried();
        let unread = self.detour.take().map(|detour| detour.into_unread()).unwrap_or_default();
        (self.connection, carried, unread)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Whether the connection can be taken from hyper, which waits.
    pub(in crate::http) fn poll_quiet(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_injected(cx))?;
        let Some(detour) = self.detour.as_mut().filter(|detour| detour.is_quiet(&self.followed)) else {
            return Poll::Pending;
        };
        if self.followed.ledger.takes_late() {
            detour.repeat_barrier();
            ready!(self.poll_injected(cx))?;
            return Poll::Pending;
        }
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    /// Writes what is to be written between two frames of hyper's, if this is there.
    fn poll_injected(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(detour) = &mut self.detour else { return Poll::Ready(Ok(())) };
        if detour.is_arriving() || !self.followed.writing.is_between() || detour.injected().is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !detour.injected().is_empty() {
            let count = ready!(Pin::new(&mut self.connection).poll_write(cx, detour.injected()))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            detour.wrote_injected(count, &mut self.followed);
        }
        // Below TLS it may not be on its way yet.
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.detour.is_some() || self.rebuke.is_some() {
            return self.poll_read_closely(cx, buf);
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, buf))?;
        let now = self.connection.entry().tick();
        if !self.followed.read(&buf.filled()[before..], now) {
            self.floods();
        }
        Poll::Ready(Ok(()))
    }

    #[cold]
    fn poll_read_closely(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.rebuke.is_some() {
            return self.poll_rest(cx, buf);
        }
        // hyper may have nothing to write, and waits here.
        if let Poll::Ready(Err(error)) = self.poll_injected(cx) {
            return Poll::Ready(Err(error));
        }
        loop {
            let Some(detour) = &mut self.detour else { return self.poll_read(cx, buf) };
            match detour.give(&mut self.followed, self.connection.entry().tick(), buf) {
                Given::Some => return Poll::Ready(Ok(())),
                Given::TooMuch => {
                    self.floods();
                    return Poll::Ready(Ok(()));
                }
                // The story goes on when it is asked for.
                Given::Nothing if detour.is_arriving() => return Poll::Pending,
                Given::Nothing => {}
            }
            if detour.is_leaving() && (self.is_ended || detour.is_full()) {
                detour.give_up(&self.followed);
                continue;
            }
            if self.is_ended {
                detour.give_rest(buf);
                return Poll::Ready(Ok(()));
            }
            if detour.is_over(&self.followed) {
                self.detour = None;
                continue;
            }
            let mut piece = [0; AT_ONCE];
            let mut piece = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.connection).poll_read(cx, &mut piece))?;
            self.is_ended = piece.filled().is_empty();
            detour.read(piece.filled());
        }
    }

    #[cold]
    fn floods(&mut self) {
        tracing::debug!(connection = self.connection.id(), "an HTTP/2 client floods with empty frames");
        // It is read on for a while after the shutdown, so that it hears why.
        self.connection.entry().say_goodbye();
        self.rebuke = Some(goaway(self.followed.ledger.last_stream(), ENHANCE_YOUR_CALM).into());
    }

    /// What is left of the frame that was begun, and then the end: hyper takes one amid a frame for a
    /// failure, and would drop the connection without notice.
    fn poll_rest(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = self.followed.reading.left();
        if left == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut piece = [0; PIECE];
        let mut part = ReadBuf::new(&mut piece[..left.min(PIECE).min(buf.remaining())]);
        match &mut self.detour {
            Some(detour) if detour.has_raw() => detour.give_raw(&mut part),
            _ => ready!(Pin::new(&mut self.connection).poll_read(cx, &mut part))?,
        }
        let now = self.connection.entry().tick();
        self.followed.read(part.filled(), now);
        buf.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.detour.is_some() {
            return self.poll_write_closely(cx, bufs);
        }
        let count = ready!(Pin::new(&mut self.connection).poll_write_vectored(cx, bufs))?;
        self.followed.wrote(bufs, count);
        Poll::Ready(Ok(count))
    }

    #[cold]
    fn poll_write_closely(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) else { return Poll::Ready(Ok(0)) };
        let Some(detour) = &mut self.detour else { return Poll::Ready(Ok(0)) };
        if detour.is_arriving() {
            detour.swallow(first);
            return Poll::Ready(Ok(first.len()));
        }
        ready!(self.poll_injected(cx))?;
        let is_due = self.detour.as_ref().is_some_and(|detour| !detour.injected().is_empty());
        let left = self.followed.writing.left();
        let count = if is_due && left > 0 {
            // To the end of what has begun, and no further.
            let part = &first[..first.len().min(left)];
            ready!(Pin::new(&mut self.connection).poll_write(cx, part))?
        } else if is_due {
            // Amid a block: the head of its next part.
            let part = &first[..first.len().min(super::frame::HEAD)];
            ready!(Pin::new(&mut self.connection).poll_write(cx, part))?
        } else {
            ready!(Pin::new(&mut self.connection).poll_write_vectored(cx, bufs))?
        };
        self.followed.wrote(bufs, count);
        Poll::Ready(Ok(count))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Line { connection, rebuke, .. } = self;
        while let Some(left) = rebuke.as_mut().filter(|left| !left.is_empty()) {
            let count = ready!(Pin::new(&mut *connection).poll_write(cx, left))?;
            drop(left.split_to(count));
        }
        ready!(Pin::new(&mut *connection).poll_flush(cx))?;
        Pin::new(connection).poll_shutdown(cx)
    }
}

impl Followed {
    /// Of a connection that a predecessor has begun.
    pub(super) fn resumed(carried: &Carried) -> Followed {
        let (reading, writing) = (Follower::default(), Follower::default());
        Followed { reading, writing, ledger: Ledger::resumed(carried), calm: Calm::new() }
    }

    /// Whether that is still bearable.
    #[inline]
    pub(super) fn read(&mut self, bytes: &[u8], now: u64) -> bool {
        let Followed { reading, ledger, calm, .. } = self;
        let mut bearable = true;
        reading.follow(bytes, |head, payload| {
            ledger.read(head, payload, now);
            bearable &= calm.read(head);
        });
        bearable
    }

    /// The first `count` bytes of these.
    #[inline]
    fn wrote(&mut self, bufs: &[IoSlice<'_>], count: usize) {
        let Followed { writing, ledger, calm, .. } = self;
        calm.wrote(count);
        let mut left = count;
        for buf in bufs {
            let part = &buf[..left.min(buf.len())];
            writing.follow(part, |head, payload| ledger.wrote(head, payload));
            left -= part.len();
            if left == 0 {
                break;
            }
        }
    }
}

/// On the stack, while a connection leaves or has just come: a frame of the longest.
const AT_ONCE: usize = 16 << 10;

/// On the stack, and enough for the rest of most frames of a flood.
const PIECE: usize = 64;
