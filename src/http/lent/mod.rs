//! Connections as they are lent to a framework that serves HTTP by itself, and taken back from underneath it.
//!
//! Whatever library reads from a [`Lent`] gets one request at a time ([`exchange`] counts the bytes), and the
//! next one when it has answered that. So between two requests it holds nothing of the connection, and when
//! the process drains, the connection can be taken away: the library reads an end, as if the client had left.
//!
//! | when the drain begins the connection is | then |
//! |---|---|
//! | between two requests, and a successor takes it | it moves, with what has come of a next request |
//! | in a request, and a successor takes it | it is answered, and the connection moves |
//! | between two requests, and stays | kept for the idle linger; its next response says that it is the last |
//! | in a request, and stays | its response says that it is the last, if its head is not out yet |
//! | HTTP/2, and a successor takes it | it moves [between streams](http2) |
//! | HTTP/2, and stays | its client is told to go; closed after the idle linger without a stream |
//! | nothing that can be followed | the library's, which [`Restarter::run_with`] tells to end |
//! | upgraded | left alone, and counted until it is dropped |
//!
//! [`Restarter::run_with`]: crate::Restarter::run_with

#[cfg(feature = "axum")]
mod axum;
mod exchange;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod http2;
mod incoming;
mod parting;

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[cfg(feature = "axum")]
pub use axum::{AxumTcp, Inet};
pub use incoming::{Connections, Incoming};

use super::h2;
use super::io::first_bytes;
use super::moving::{self, Moving};
use super::sniff::PREFACE;
use crate::drain::stream::Stream;
use crate::drain::{Base, Connection, Entry, Kind, Lending, Stage};
use crate::sys::address::Address;
use exchange::{Exchange, Protocol};
use http2::Http2;

/// A connection that is lent to a framework. It is read from and written to like a socket.
///
/// It comes from [`Incoming`], or is made of any connection that a [`Listener`](crate::Listener) has
/// accepted:
///
/// ```no_run
/// # async fn example(mut listener: heirloom::Listener) {
/// use hyper_util::rt::{TokioExecutor, TokioIo};
/// use hyper_util::{server::conn::auto, service::TowerToHyperService};
/// use heirloom::http::Lent;
///
/// # let router = axum::Router::<()>::new();
/// while let Some(connection) = listener.accept().await {
///     let (io, service) = (TokioIo::new(Lent::new(connection)), TowerToHyperService::new(router.clone()));
///     tokio::spawn(async move {
///         auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(io, service).await
///     });
/// }
/// # }
/// ```
///
/// Over TLS it goes around what `Tls::shake_hands` gives. A TLS library of your
/// own goes around a `Lent`, whose bytes then are nothing that can be followed.
pub struct Lent<S: Send + 'static = Stream> {
    place: Place<S>,
    exchange: Exchange,
    entry: Arc<Entry>,
    lending: Lending,
    /// Read, and not given out.
    ahead: Vec<u8>,
    /// The client's end has been read.
    is_ended: bool,
    /// Something was written and not flushed.
    is_unflushed: bool,
    /// What is left of the last word, to be written before anything else.
    last_word: &'static [u8],
    /// The client hears, or has heard, that its response is the last. Its server does not know.
    is_told: bool,
    /// Who waits to read, for a request or its turn.
    reader: Option<Waker>,
}

/// Where the connection is.
enum Place<S> {
    Here(Connection<S>),
    /// Here, and followed by its frames.
    Http2(Box<Http2<S>>),
    /// On its way to the successor. It may come back.
    Leaving(Moving<S>),
    /// Elsewhere, or about to be closed: for its server it has ended.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lent<S> {
    /// Lends a connection. At a restart it moves to the successor.
    ///
    /// A plain connection can move, and one over heirloom's TLS where that allows it. Others stay.
    pub fn new(connection: Connection<S>) -> Lent<S> {
        let movable = moving::can_move(&connection);
        Lent::with(connection, movable)
    }

    /// Lends a connection that stays: for a service that keeps something in memory for each connection, which
    /// a successor would not have. At a restart its next response says that it is the last, and the client
    /// connects anew.
    pub fn staying(connection: Connection<S>) -> Lent<S> {
        Lent::with(connection, false)
    }

    fn with(mut connection: Connection<S>, movable: bool) -> Lent<S> {
        let entry = connection.entry().clone();
        let session = connection.take_session();
        entry.set_kind(Kind::Http1);
        if movable {
            entry.can_move();
        }
        let lending = entry.lend();
        let place = match session {
            None => Place::Here(connection),
            Some(session) => parting::resume(connection, &session),
        };
        Lent {
            lending,
            place,
            exchange: Exchange::new(),
            entry,
            ahead: Vec::new(),
            is_ended: false,
            is_unflushed: false,
            last_word: b"",
            is_told: false,
            reader: None,
        }
    }

    /// Who is at the other end, asked of the kernel now; `None` once the connection is gone.
    pub fn peer_addr(&self) -> Option<Address> {
        self.entry.peer()
    }

    /// The number of the connection, as in [`ConnectionStatus::id`](crate::drain::ConnectionStatus::id).
    pub fn id(&self) -> u64 {
        self.entry.id()
    }

    fn read_by(&mut self, cx: &Context<'_>) {
        if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            self.reader = Some(cx.waker().clone());
        }
    }

    /// Gives of what was read ahead; `None` if there is nothing that may be given now.
    fn give_ahead(&mut self, buf: &mut ReadBuf<'_>) -> Option<()> {
        let count = self.exchange.may_give(&self.ahead).min(buf.remaining());
        if count == 0 {
            return None;
        }
        buf.put_slice(&self.ahead[..count]);
        self.ahead.drain(..count);
        self.given(&buf.filled()[buf.filled().len() - count..]);
        Some(())
    }

    /// Reads past what may be given now, which is kept. Ready with nothing if all of it is.
    fn poll_fresh(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Place::Here(connection) = &mut self.place else { return Poll::Ready(Ok(())) };
        let before = buf.filled().len();
        ready!(Pin::new(connection).poll_read(cx, buf))?;
        let fresh = &buf.filled()[before..];
        self.is_ended = fresh.is_empty();
        let count = self.exchange.may_give(fresh);
        self.ahead.extend_from_slice(&fresh[count..]);
        self.given(&buf.filled()[before..before + count]);
        buf.set_filled(before + count);
        Poll::Ready(Ok(()))
    }

    fn given(&mut self, bytes: &[u8]) {
        let was_between = self.exchange.is_between();
        self.exchange.given(bytes);
        match (was_between, self.exchange.is_between()) {
            (true, false) => self.entry.enter(Stage { asked: true, ..Base::Busy.into() }),
            // That was the rest of an upload which was answered before.
            (false, true) => self.entry.enter(Stage { asked: true, ..Base::Idle.into() }),
            _ => {}
        }
        self.look_at_protocol();
    }

    fn written(&mut self, bytes: &[u8]) {
        let was_between = self.exchange.is_between();
        let may_give_more = self.exchange.written(bytes);
        let is_answered = !was_between && (self.exchange.is_between() || self.exchange.is_over());
        if is_answered {
            self.entry.enter(Stage { asked: true, ..Base::Idle.into() });
        }
        // Its server need not read again by itself, having waited for input all the while.
        if (may_give_more && !self.ahead.is_empty() || is_answered && self.entry.is_draining())
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        self.look_at_protocol();
    }

    fn look_at_protocol(&mut self) {
        match self.exchange.protocol() {
            Protocol::Http1 => {}
            Protocol::Http2 => self.begin_http2(&PREFACE[..exchange::HTTP2.len()]),
            _ if self.entry.kind() == Kind::Http1 => {
                self.lending.is_theirs();
                self.entry.upgrade();
            }
            _ => {}
        }
    }

    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.last_word.is_empty() {
            let Place::Here(connection) = &mut self.place else { return Poll::Ready(Ok(())) };
            let count = ready!(Pin::new(connection).poll_write(cx, self.last_word))?;
            let (said, left) = self.last_word.split_at(count);
            self.last_word = left;
            self.written(said);
        }
        Poll::Ready(Ok(()))
    }

    /// How much of these bytes may be written before the last word, if that has to be said in them.
    #[cold]
    fn up_to_last_word(&mut self, bytes: &[u8]) -> Option<usize> {
        let place = self.exchange.place_for_last_word(bytes)?;
        if place == 0 {
            self.entry.say_goodbye();
            (self.last_word, self.is_told) = (LAST_WORD, true);
        }
        Some(place)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncRead for Lent<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_here(cx));
            match &this.place {
                Place::Here(_) => {}
                Place::Http2(_) => {
                    this.read_by(cx);
                    return this.poll_read_http2(cx, buf);
                }
                Place::Leaving(_) | Place::Gone => return Poll::Ready(Ok(())),
            }
            if this.entry.undisturbed().is_none() && this.poll_part(cx)?.is_ready() {
                continue;
            }
            if !this.ahead.is_empty() && this.give_ahead(buf).is_some() {
                return Poll::Ready(Ok(()));
            }
            if this.is_ended && this.ahead.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.is_ended || this.ahead.len() >= LONGEST_AHEAD {
                // It waits for its turn, and the end behind it.
                this.read_by(cx);
                if let Place::Here(connection) = &this.place {
                    connection.wait_without_reading(cx)?;
                }
                return Poll::Pending;
            }
            let before = buf.filled().len();
            if this.poll_fresh(cx, buf)?.is_pending() {
                this.read_by(cx);
                return Poll::Pending;
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> AsyncWrite for Lent<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_here(cx));
        // Over HTTP/2 a server may speak first.
        if matches!(this.place, Place::Here(_))
            && this.exchange.is_between()
            && bufs.iter().any(|buf| h2::are_settings(buf))
        {
            let given = this.exchange.partial().to_vec();
            this.begin_http2(&given);
        }
        if let Place::Http2(_) = this.place {
            return this.poll_write_http2(cx, bufs);
        }
        let mut limit = usize::MAX;
        if this.entry.has_to_say_goodbye()
            && let Some(first) = bufs.iter().find(|buf| !buf.is_empty())
        {
            limit = this.up_to_last_word(first).filter(|place| *place > 0).unwrap_or(limit);
        }
        ready!(this.poll_last_word(cx))?;
        let connection = match &mut this.place {
            Place::Here(connection) => connection,
            // What is written to a client that has gone goes nowhere.
            _ => return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum())),
        };
        let count = match bufs.iter().find(|buf| buf.len() > limit) {
            Some(first) => ready!(Pin::new(connection).poll_write(cx, &first[..limit]))?,
            None => ready!(Pin::new(connection).poll_write_vectored(cx, bufs))?,
        };
        this.is_unflushed = true;
        for part in first_bytes(bufs, count) {
            this.written(part);
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.place {
            Place::Here(connection) => connection.is_write_vectored(),
            Place::Http2(http2) => http2.is_write_vectored(),
            Place::Leaving(_) | Place::Gone => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_last_word(cx))?;
        match &mut this.place {
            Place::Here(connection) => ready!(Pin::new(connection).poll_flush(cx))?,
            Place::Http2(http2) => return http2.poll_flush(cx),
            Place::Leaving(_) | Place::Gone => {}
        }
        this.is_unflushed = false;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_last_word(cx))?;
        this.leave_behind();
        match &mut this.place {
            Place::Here(connection) => Pin::new(connection).poll_shutdown(cx),
            Place::Http2(http2) => http2.poll_shutdown(cx),
            Place::Leaving(_) | Place::Gone => Poll::Ready(Ok(())),
        }
    }
}

impl<S: Send + 'static> fmt::Debug for Lent<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("connection", &self.entry.id()).finish_non_exhaustive()
    }
}

const LAST_WORD: &[u8] = b"connection: close\r\n";

/// In bytes, of what is read before its turn. All of it goes along with a connection that moves.
const LONGEST_AHEAD: usize = 8 * 1024;

#[cfg(test)]
mod tests;
