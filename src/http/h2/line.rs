//! A connection below hyper, and what the frames of both directions say of it: its bytes go straight through,
//! or take a detour while it leaves or arrives.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::arriving::{Ghost, Progress};
use super::calm::Calm;
use super::carried::Carried;
use super::detour::{Detour, Given};
use super::follower::Follower;
use super::frame::{ENHANCE_YOUR_CALM, goaway};
use super::ledger::Ledger;
use crate::drain::Connection;
use crate::http::io::first_bytes;

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

impl<S> Line<S> {
    /// That begins: this much of its preface has been given out, and the rest was read ahead.
    pub(in crate::http) fn begun(connection: Connection<S>, given: &[u8], ahead: Bytes) -> Self {
        let mut followed = Followed::begun();
        followed.read(given, 0);
        Line::new(connection.with_received(ahead.into()), followed, None)
    }

    /// That a predecessor has begun.
    pub(in crate::http) fn resumed(connection: Connection<S>, carried: &Carried, ghost: Ghost) -> Self {
        Line::new(connection, Followed::resumed(carried), Some(Detour::arriving(carried, ghost)))
    }

    fn new(connection: Connection<S>, followed: Followed, detour: Option<Detour>) -> Self {
        Line { connection, followed, rebuke: None, detour: detour.map(Box::new), is_ended: false }
    }

    pub(super) fn is_on_detour(&self) -> bool {
        self.detour.is_some()
    }

    pub(in crate::http) fn into_connection(self) -> Connection<S> {
        self.connection
    }

    /// It can leave neither now nor later.
    pub(in crate::http) fn is_ending(&self) -> bool {
        self.followed.ledger.is_ending() || self.rebuke.is_some()
    }

    /// The client ends it by itself, once it has its answers.
    pub(in crate::http) fn client_goes(&self) -> bool {
        self.followed.ledger.client_goes()
    }

    /// The client has ended its side.
    pub(in crate::http) fn is_ended(&self) -> bool {
        self.is_ended
    }

    pub(in crate::http) fn is_leaving(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.is_leaving())
    }

    pub(in crate::http) fn is_holding(&self) -> bool {
        self.detour.as_ref().is_some_and(|detour| detour.is_holding())
    }

    /// How long the oldest of the streams has been open by now, in the ticks of the clock.
    pub(in crate::http) fn oldest(&self, now: u64) -> Option<u64> {
        self.followed.ledger.oldest_since().map(|since| now.saturating_sub(since))
    }

    /// Answers wait for the client, which does not take them as fast as it is given them. To be asked when
    /// hyper waits.
    pub(in crate::http) fn waits_for_client(&self) -> bool {
        let ledger = &self.followed.ledger;
        ledger.open_streams() > 0 && (ledger.windows.is_out() || self.connection.entry().is_waiting())
    }

    pub(in crate::http) fn open_streams(&self) -> usize {
        self.followed.ledger.open_streams()
    }

    /// Whether it can go to a server that is not heirloom's: its client lets us send no less than at the
    /// beginning.
    pub(in crate::http) fn is_large_enough(&self) -> bool {
        self.followed.ledger.windows.is_large_enough()
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

    /// So many bytes may be held back, which go along.
    pub(in crate::http) fn begin_to_leave(&mut self, room: usize) {
        // What was reset before has to be heard of before it goes, as ever.
        self.detour = Some(Box::new(Detour::leaving(room)));
        self.followed.ledger.takes_late();
    }

    pub(in crate::http) fn give_up(&mut self) {
        if let Some(detour) = self.detour.as_mut().filter(|detour| detour.is_leaving()) {
            detour.give_up(&self.followed);
        }
    }

    /// Tells the client to ask elsewhere what it has not asked yet, where whoever serves it does not. `false`
    /// if it is too early to speak.
    pub(in crate::http) fn say_goodbye(&mut self) -> bool {
        let may_speak = self.followed.ledger.is_settled();
        if may_speak {
            self.detour.get_or_insert_with(|| Box::new(Detour::aside())).inject_goodbye();
        }
        may_speak
    }

    /// The client is not amid a frame.
    pub(in crate::http) fn has_written_all(&self) -> bool {
        let injected = self.detour.as_ref().map_or(0, |detour| detour.injected().len());
        self.followed.writing.is_between() && injected == 0
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
        if let Some(detour) = &mut self.detour {
            detour.credit(&mut self.followed);
        }
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

    pub(in crate::http) fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    pub(in crate::http) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    #[inline]
    pub(in crate::http) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.detour.is_some() || self.rebuke.is_some() {
            ready!(self.poll_read_closely(cx, buf))?;
        } else {
            ready!(self.poll_read_straight(cx, buf))?;
        }
        self.tell();
        Poll::Ready(Ok(()))
    }

    /// How many requests are in flight. One whose head is not whole is none yet.
    #[inline]
    fn tell(&self) {
        let Followed { ledger, reading, .. } = &self.followed;
        let streams = ledger.open_streams().saturating_sub(reading.is_in_block().into());
        // They are followed no further than to a few thousand.
        self.connection.entry().has_streams(streams as u32);
    }

    #[inline]
    fn poll_read_straight(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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
            let Some(detour) = &mut self.detour else { return self.poll_read_straight(cx, buf) };
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
    pub(in crate::http) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let count = if self.detour.is_some() {
            ready!(self.poll_write_closely(cx, bufs))?
        } else {
            let count = ready!(Pin::new(&mut self.connection).poll_write_vectored(cx, bufs))?;
            self.followed.wrote(bufs, count);
            count
        };
        self.tell();
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
        let Line { detour: Some(detour), followed, .. } = self else { return Poll::Ready(Ok(0)) };
        let collects = detour.collects(followed);
        if collects
            && followed.writing.is_between()
            && let Some(count) = detour.collect(first, followed)
        {
            // hyper bears more now, and has read what there was before it wrote.
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(count));
        }
        let is_due = collects || !detour.injected().is_empty();
        let left = self.followed.writing.left();
        let count = if is_due && left > 0 {
            // To the end of what has begun, and no further.
            let part = &first[..first.len().min(left)];
            ready!(Pin::new(&mut self.connection).poll_write(cx, part))?
        } else if is_due {
            // Amid a block, or what is to be looked at: the head of what is next.
            let part = &first[..first.len().min(super::frame::HEAD)];
            ready!(Pin::new(&mut self.connection).poll_write(cx, part))?
        } else {
            ready!(Pin::new(&mut self.connection).poll_write_vectored(cx, bufs))?
        };
        self.followed.wrote(bufs, count);
        Poll::Ready(Ok(count))
    }

    pub(in crate::http) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
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
    fn begun() -> Followed {
        let (reading, writing) = (Follower::from_preface(), Follower::default());
        Followed { reading, writing, ledger: Ledger::new(), calm: Calm::new() }
    }

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
        for part in first_bytes(bufs, count) {
            writing.follow(part, |head, payload| ledger.wrote(head, payload));
        }
    }
}

/// On the stack, while a connection leaves or has just come: a frame of the longest.
const AT_ONCE: usize = 16 << 10;

/// On the stack, and enough for the rest of most frames of a flood.
const PIECE: usize = 64;
