//! One connection from its first byte to its goodbye.

mod beginning;
mod http2;
mod letting_go;

use std::fmt;
use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hyper::server::conn::http1;
use tokio::io::{AsyncRead, AsyncWrite};

use super::config::Prepared;
use super::io::Io;
use super::moving::{self, Moving};
use super::service::{HttpService, TrackedService};
use super::sniff::{Sniff, Version};
use super::turn::{self, Turn};
use crate::drain::{Base, Connection, Entry, Kind};
use http2::{Ended, Http2};

/// A connection being served. See [`Server::serve`](super::Server::serve).
///
/// Resolves when the connection has ended, or has been upgraded and belongs to whoever asked for that.
#[must_use = "futures do nothing unless polled"]
pub struct Serving<S, H: HttpService> {
    talk: Talk<S, H>,
    entry: Arc<Entry>,
    registered: Option<Waker>,
    prepared: Arc<Prepared>,
}

/// Why a connection ended otherwise than by the client's or our goodbye.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The drain's deadline: it was cut wherever it was.
    #[error("connection aborted: the drain deadline has passed")]
    Hammered,
    /// The client took too long over the head of a request.
    #[error("client did not send the head of its request in time")]
    HeaderTimeout,
    /// The client stopped reading the response.
    #[error("client did not read its response in time")]
    WriteTimeout,
    /// The client ended its own direction, and heard nothing for too long after that: it has probably gone.
    #[error("client ended its side, and was not answered in time")]
    HalfClosedTimeout,
    /// HTTP went wrong, or the service failed.
    #[error("http connection failed")]
    Http(#[source] hyper::Error),
    /// The socket failed before or after HTTP was spoken.
    #[error("connection failed")]
    Io(#[source] io::Error),
}

// Nearly every connection is HTTP/1: boxing it would cost each an allocation.
#[allow(clippy::large_enum_variant)]
enum Talk<S, H: HttpService> {
    Sniffing(Sniff<S>, H),
    Http1(Http1<S, H>),
    Http2(Http2<S, H>),
    Closing(Connection<S>),
    /// On its way to the successor; should it come back, it is served on.
    Moving(Moving<S>, H),
    Over,
}

type Http1<S, H> = http1::UpgradeableConnection<Io<S>, TrackedService<H>>;

impl<S, H> Serving<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    pub(super) fn new(prepared: Arc<Prepared>, connection: Connection<S>, service: H) -> Self {
        let entry = connection.entry().clone();
        entry.set_kind(Kind::Http1);
        entry.limit(prepared.limits);
        if prepared.moves && moving::can_move(&connection) {
            entry.can_move();
        }
        let mut serving = Serving { talk: Talk::Over, entry, registered: None, prepared };
        serving.talk = serving.begin(connection, service);
        serving
    }

    pub(super) fn id(&self) -> u64 {
        self.entry.id()
    }

    /// hyper has let go of it.
    #[cold]
    fn http2_left(&mut self, ended: Ended<S>) {
        let Talk::Http2(http2) = mem::replace(&mut self.talk, Talk::Over) else { return };
        let service = http2.into_service();
        self.talk = match ended {
            Ended::Left(connection, carried, unread) => {
                Talk::Moving(moving::depart_amid(connection, unread, carried.encode()), service)
            }
            Ended::Unknown(connection) => {
                say!(warn: connection = self.id(), "hyper does not go on with an HTTP/2 connection that has moved");
                match connection {
                    Some(connection) => self.goodbye(connection),
                    None => Talk::Over,
                }
            }
            Ended::Served(_) => Talk::Over,
        };
    }

    fn poll_talk(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        loop {
            match &mut self.talk {
                Talk::Sniffing(sniff, _) => {
                    let version = ready!(sniff.poll(cx)).map_err(ServeError::Io)?;
                    let Talk::Sniffing(sniff, service) = mem::replace(&mut self.talk, Talk::Over) else {
                        unreachable!("it was sniffing")
                    };
                    let (connection, ahead) = sniff.into_parts();
                    self.talk = match version {
                        Version::Http1 => self.http1(connection, ahead, service),
                        Version::Http2 => self.http2(connection, ahead, service),
                        Version::None => return Poll::Ready(Ok(())),
                    };
                }
                Talk::Http1(http1) => {
                    let ended = ready!(Pin::new(http1).poll(cx));
                    return self.http1_ended(ended, cx);
                }
                Talk::Http2(http2) => match ready!(http2.poll(cx, &self.entry)) {
                    Ended::Served(ended) => return Poll::Ready(ended.map_err(ServeError::Http)),
                    ended => self.http2_left(ended),
                },
                Talk::Closing(connection) => {
                    return Pin::new(connection).poll_shutdown(cx).map_err(ServeError::Io);
                }
                Talk::Moving(moving, _) => {
                    let came_back = ready!(moving.as_mut().poll(cx));
                    let Talk::Moving(_, service) = mem::replace(&mut self.talk, Talk::Over) else {
                        unreachable!("it was moving")
                    };
                    let Some(connection) = came_back else { return Poll::Ready(Ok(())) };
                    // It may have come back for itself alone; it is not to go again and again.
                    self.entry.cannot_move();
                    // Its last body was read to the end, or it could not have gone.
                    self.entry.enter(self.entry.stage().base);
                    self.talk = self.begin(connection, service);
                    // In a turn that knows it: its next response is the last.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Talk::Over => return Poll::Ready(Ok(())),
            }
        }
    }

    /// The sweeper found it overdue, and polling it once more has not changed that. Ready if it ends here;
    /// else it is to be polled again.
    #[cold]
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        let stage = self.entry.stage();
        match (mem::replace(&mut self.talk, Talk::Over), stage.base) {
            (Talk::Sniffing(..) | Talk::Http1(_), Base::Head) => {
                return Poll::Ready(Err(ServeError::HeaderTimeout));
            }
            // Idle: it came back from its way to the successor.
            (Talk::Sniffing(sniff, _), Base::Fresh | Base::Idle) => {
                let (connection, _) = sniff.into_parts();
                self.talk = self.goodbye(connection);
            }
            (Talk::Http1(http1), Base::Fresh | Base::Idle) => {
                self.talk = self.take_apart(http1, stage, cx)?;
            }
            (Talk::Http2(mut http2), _) => {
                // What is leaving has a time of its own, and says why it did not.
                if self.entry.streams() == 0 && !http2.is_on_its_way() {
                    // Told a whole limit ago, and pings may have kept it up since.
                    if http2.is_told() && !self.entry.is_waiting() {
                        return Poll::Ready(Ok(()));
                    }
                    self.entry.say_goodbye();
                    http2.say_goodbye(&self.entry);
                }
                // A new time, or this would be found overdue at every poll.
                self.entry.enter(Base::Busy);
                self.talk = Talk::Http2(http2);
            }
            (talk, _) => {
                // As above: whatever it is doing, it must not keep its thread.
                self.entry.enter(stage);
                self.talk = talk;
            }
        }
        Poll::Pending
    }

    fn is_between_requests(&self) -> bool {
        match self.talk {
            Talk::Sniffing(..) => true,
            Talk::Http1(_) => {
                matches!(self.entry.stage().base, Base::Fresh | Base::Idle | Base::Head)
                    && !self.entry.is_uploading()
            }
            Talk::Http2(_) | Talk::Closing(_) | Talk::Moving(..) | Talk::Over => false,
        }
    }

    /// HTTP/2 tells nothing in turns.
    #[inline(never)]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        let Talk::Http2(http2) = &mut self.talk else { return self.poll_attentively(cx) };
        match ready!(http2.poll(cx, &self.entry)) {
            Ended::Served(ended) => Poll::Ready(self.over(ended.map_err(ServeError::Http))),
            ended => {
                self.http2_left(ended);
                self.poll_attentively(cx)
            }
        }
    }

    /// Polls it while there is more to see to: the drain, the hammer, or a limit that has passed.
    #[cold]
    #[inline(never)]
    fn poll_attentively(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ServeError>> {
        loop {
            if self.entry.is_hammered() {
                turn::untold(mem::replace(&mut self.talk, Talk::Over));
                // What was closing had nothing left to say, and has not been aborted.
                let closing = self.entry.stage().base == Base::Closing;
                return Poll::Ready(if closing { Ok(()) } else { Err(ServeError::Hammered) });
            }
            let (stage, last) = (self.entry.stage().bits(), self.entry.has_to_say_goodbye());
            let turn = Turn::begin(&self.entry, stage, last);
            let polled = self.poll_talk(cx);
            let held_back = turn.end(&self.entry);
            let ended = match polled {
                Poll::Ready(ended) => ended,
                Poll::Pending if held_back => {
                    self.say_last();
                    continue;
                }
                Poll::Pending if self.entry.is_stalled() => Err(match self.entry.is_half_closed() {
                    true => ServeError::HalfClosedTimeout,
                    false => ServeError::WriteTimeout,
                }),
                Poll::Pending if self.entry.is_moving() && self.is_between_requests() => {
                    match self.depart(cx) {
                        Ok(()) => continue,
                        Err(error) => Err(error),
                    }
                }
                Poll::Pending if self.entry.is_overdue() && self.entry.stage().base != Base::Closing => {
                    match self.poll_overdue(cx) {
                        Poll::Ready(ended) => ended,
                        Poll::Pending => continue,
                    }
                }
                Poll::Pending => return Poll::Pending,
            };
            return Poll::Ready(self.over(ended));
        }
    }

    #[cold]
    fn over(&mut self, ended: Result<(), ServeError>) -> Result<(), ServeError> {
        turn::untold(mem::replace(&mut self.talk, Talk::Over));
        // The aborted read or write is only how it became known.
        if ended.is_err() && self.entry.is_hammered() { Err(ServeError::Hammered) } else { ended }
    }

    #[cold]
    #[inline(never)]
    fn poll_ended(
        &mut self,
        polled: Poll<hyper::Result<()>>,
        turn: Turn,
        cx: &Context<'_>,
    ) -> Poll<Result<(), ServeError>> {
        let ended = ready!(polled);
        let ended = self.http1_ended(ended, cx);
        turn.end(&self.entry);
        ended.map(|ended| self.over(ended))
    }

    /// The response in the making is to be the last.
    #[cold]
    fn say_last(&mut self) {
        self.entry.say_goodbye();
        if let Talk::Http1(http1) = &mut self.talk {
            // hyper adds the header, and ends the connection after the response.
            Pin::new(http1).graceful_shutdown();
        }
    }

    fn goodbye(&self, connection: Connection<S>) -> Talk<S, H> {
        self.entry.say_goodbye();
        // Now, not when the shutdown is done: what is closing is not overdue for being idle.
        self.entry.enter(Base::Closing);
        Talk::Closing(connection)
    }
}

impl<S, H> Future for Serving<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    type Output = Result<(), ServeError>;

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // First: what the sweeper or the drain decides after this point wakes this task again.
        this.entry.drive(&mut this.registered, cx.waker());
        let Some(stage) = this.entry.undisturbed() else { return this.poll_attentively(cx) };
        let Talk::Http1(http1) = &mut this.talk else { return this.poll_other(cx) };
        let turn = Turn::begin(&this.entry, stage, false);
        let polled = Pin::new(http1).poll(cx);
        if polled.is_pending() {
            turn.end(&this.entry);
            return Poll::Pending;
        }
        this.poll_ended(polled, turn, cx)
    }
}

impl<S, H: HttpService> Drop for Serving<S, H> {
    fn drop(&mut self) {
        turn::untold(mem::replace(&mut self.talk, Talk::Over));
    }
}

/// Nothing in it is pinned in place: hyper boxes what must be, and so does this.
impl<S, H: HttpService> Unpin for Serving<S, H> {}

impl<S, H: HttpService> fmt::Debug for Serving<S, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let talk = match self.talk {
            Talk::Sniffing(..) => "sniffing",
            Talk::Http1(_) => "http1",
            Talk::Http2(_) => "http2",
            Talk::Closing(_) => "closing",
            Talk::Moving(..) => "moving",
            Talk::Over => "over",
        };
        f.debug_struct("Serving").field("talk", &talk).field("entry", &self.entry).finish_non_exhaustive()
    }
}
