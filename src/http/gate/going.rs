//! How a session leaves: between two messages to the successor, or with a Close frame.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

use super::following::{Begins, Readiness};
use super::{Gate, Inner, frames};
use crate::drain::Connection;
use crate::handover::message::{MAX_SESSION, Private};
use crate::handover::moving::Along;
use crate::http::carried::{Carried, SessionKind};
use crate::http::moving;
use crate::http::session::{Door, Offered, Unmoved};

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Door for Gate<S> {
    fn begin(&self, begins: Begins) -> Option<Offered> {
        self.with_inner(|inner| {
            let is_flushed = inner.is_flushed;
            let may_move = inner.following.begin(begins, is_flushed);
            inner.look_at_body();
            self.shared.entry.asks(may_move && begins.kind == Some(SessionKind::WebSocket));
            (inner.stays, inner.deadline) = (false, None);
            may_move.then(|| Offered { state: inner.state.take() })
        })
    }

    fn state_is_known(&self) {
        self.shared.is_known.store(true, Relaxed);
        self.with_inner(|inner| self.tell_of_stream(inner));
    }

    fn poll_leaving(&self, cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>) -> Poll<()> {
        self.with_inner(|inner| {
            if inner.stays {
                return Poll::Pending;
            }
            if inner.following.kind() == Some(SessionKind::Stream) {
                self.tell_of_stream(inner);
                return Poll::Ready(());
            }
            let deadline = *inner.deadline.get_or_insert_with(|| {
                // From here on the client's next message waits, for the successor.
                inner.hold = Some(Box::pin(sleep(PATIENCE)));
                Instant::now() + PATIENCE
            });
            match inner.following.readiness() {
                Readiness::Ready | Readiness::Bound | Readiness::TooLong => return Poll::Ready(()),
                // It ends by itself.
                Readiness::Ending => return Poll::Pending,
                Readiness::NotYet => {}
            }
            inner.watch(cx);
            timer.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
        })
    }

    fn depart<'a>(
        &'a self,
        state: Vec<u8>,
        baggage: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Unmoved>> + Send + 'a>> {
        Box::pin(async move {
            let left = self.leave(state, baggage).await;
            if let Err(why) = left {
                self.stay(why).await;
            }
            left
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Gate<S> {
    /// The handler has a session of it, so it is no short answer.
    fn tell_of_stream(&self, inner: &Inner<S>) {
        if inner.following.kind() == Some(SessionKind::Stream) {
            self.shared.entry.is_a_stream();
        }
    }

    async fn leave(&self, state: Vec<u8>, baggage: Option<Vec<u8>>) -> Result<(), Unmoved> {
        let (asked, deadline) = self.with_inner(|inner| {
            self.tell_of_stream(inner);
            // hyper may sleep, with nothing to flush.
            inner.wake_reader();
            (inner.flushes, inner.deadline.unwrap_or_else(|| Instant::now() + PATIENCE))
        });
        let mut going = Some((state, baggage));
        let taken = poll_fn(|cx| self.with_inner(|inner| inner.poll_taken(cx, asked, &mut going)));
        let (connection, along) = timeout_at(deadline, taken).await.map_err(|_| Unmoved::Busy)??;
        let gone = moving::depart_with(connection, along).await;
        self.with_inner(|inner| {
            inner.is_on_its_way = false;
            let outcome = gone.map_err(|back| {
                inner.connection = Some(back).filter(|_| !inner.is_dropped);
                Unmoved::Refused
            });
            inner.wake_all();
            outcome
        })
    }

    /// A stream goes on here. A WebSocket is told to come again.
    async fn stay(&self, why: Unmoved) {
        // What was refused is counted where that was heard.
        if why != Unmoved::Refused {
            self.shared.entry.could_not_move(why.name());
        }
        let ends = self.with_inner(|inner| {
            inner.stays = true;
            inner.hold = None;
            inner.wake_all();
            let closes = inner.following.can_close() && inner.injected.is_empty();
            inner.connection.take_if(|_| closes)
        });
        if let Some(connection) = ends {
            say!(debug: connection = connection.id(), %why, "a WebSocket is told to come again");
            say_goodbye(connection, why.told()).await;
            // Whoever still reads from it hears of its end now.
            self.with_inner(Inner::wake_all);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inner<S> {
    /// Takes the connection out, with what is to go along, as soon as it is between two messages. `asked`:
    /// the flush behind which nothing of a stream is left in hyper.
    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
        asked: u64,
        going: &mut Option<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Poll<Result<(Connection<S>, Along), Unmoved>> {
        if self.stays {
            return Poll::Ready(Err(Unmoved::Refused));
        }
        let is_stream = self.following.kind() == Some(SessionKind::Stream);
        match self.following.readiness() {
            Readiness::Ready if is_stream && self.flushes == asked => {}
            Readiness::Ready => {
                return self.poll_last_word(cx).map(|said| said.and_then(|()| self.take(going)));
            }
            Readiness::NotYet => {}
            Readiness::Ending => return Poll::Ready(Err(Unmoved::Ending)),
            Readiness::Bound => return Poll::Ready(Err(Unmoved::Extension)),
            Readiness::TooLong => return Poll::Ready(Err(Unmoved::Unsupported)),
        }
        if self.connection.is_none() {
            return Poll::Ready(Err(Unmoved::Ending));
        }
        self.watch(cx);
        Poll::Pending
    }

    /// A ping that the library has been given and has not answered: it will not be able to.
    fn poll_last_word(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unmoved>> {
        if let Some(ping) = self.following.unanswered() {
            let pong = frames::pong(ping);
            self.injected.extend_from_slice(&pong);
            self.following.answered();
        }
        Poll::Ready(ready!(self.poll_injected(cx)).map_err(|_| Unmoved::Ending))
    }

    fn take(
        &mut self,
        going: &mut Option<(Vec<u8>, Option<Vec<u8>>)>,
    ) -> Result<(Connection<S>, Along), Unmoved> {
        let (state, baggage) = going.take().unwrap_or_default();
        let session = self.following.carried(state).as_ref().map(Carried::encode).map(Private::from);
        let along = Along { received: self.ahead.to_vec(), state: baggage, session };
        // And what was read to see whether the client is there.
        let bytes = along.length() + 1;
        if bytes > MAX_SESSION {
            return Err(Unmoved::TooMuch { bytes, limit: MAX_SESSION });
        }
        if self.is_ended && self.following.kind() == Some(SessionKind::WebSocket) {
            return Err(Unmoved::Ending);
        }
        let connection = self.connection.take().ok_or(Unmoved::Ending)?;
        self.ahead.clear();
        self.is_on_its_way = true;
        Ok((connection, along))
    }
}

/// Close 1012 (service restart), and whatever the client still says until it goes. `reason` is for people.
pub(in crate::http) async fn say_goodbye<S>(mut connection: Connection<S>, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // Whoever drove it until now does not any more.
    connection.entry().upgrade();
    let close = frames::close(SERVICE_RESTART, reason);
    if let Ok(Ok(())) = timeout(PATIENCE, connection.write_all(&close)).await {
        let _ = connection.close().await;
    }
}

const SERVICE_RESTART: u16 = 1012;

/// For how long the end of a message is waited for, the client's or the server's, and a Close frame to be
/// read. One of 1 MiB comes over a slow line in less; a client that sends half a frame for ever holds up
/// nobody but itself, and the old process for that long.
pub(in crate::http) const PATIENCE: Duration = Duration::from_secs(5);
