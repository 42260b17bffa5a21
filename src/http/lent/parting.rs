//! How a lent connection is taken from underneath its server, between two requests: to move, or to be closed.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use super::http2::Http2;
use super::{Lent, Place};
use crate::drain::{Base, Connection, Kind};
use crate::http::carried::{Carried, SessionKind};
use crate::http::{gate, h2, moving};

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lent<S> {
    /// Ready unless the connection is on its way.
    pub(super) fn poll_here(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Place::Leaving(moving) = &mut self.place {
            let came_back = ready!(moving.as_mut().poll(cx));
            self.place = match came_back {
                Some(connection) => self.came_back(connection),
                None => Place::Gone,
            };
        }
        Poll::Ready(())
    }

    /// Its server wants to read, and the process drains or somebody has overstayed. Ready if it is taken
    /// away.
    #[cold]
    pub(super) fn poll_part(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        if let Place::Here(connection) = &self.place {
            connection.check()?;
        }
        if self.is_told && self.exchange.is_over() {
            self.close();
            return Ok(Poll::Ready(()));
        }
        let is_idle = matches!(self.entry.stage().base, Base::Fresh | Base::Idle);
        let is_late = is_idle && self.entry.is_draining() && self.entry.is_overdue();
        if !self.is_free() || !self.entry.is_moving() && !is_late {
            return Ok(Poll::Pending);
        }
        let Place::Here(connection) = &mut self.place else { return Ok(Poll::Ready(())) };
        if self.is_unflushed {
            match Pin::new(connection).poll_flush(cx)? {
                Poll::Ready(()) => self.is_unflushed = false,
                Poll::Pending => return Ok(Poll::Pending),
            }
        }
        if self.entry.is_moving() {
            self.depart();
        } else {
            self.close();
        }
        Ok(Poll::Ready(()))
    }

    /// Its server lets go. If that is between two requests and the connection can move, it does.
    pub(super) fn leave_behind(&mut self) {
        if self.entry.is_moving() && self.is_free() && !self.is_unflushed {
            self.depart();
        }
        match mem::replace(&mut self.place, Place::Gone) {
            Place::Leaving(moving) => spawn(async move {
                if let Some(connection) = moving.await {
                    connection.entry().say_goodbye();
                    let _ = connection.close().await;
                }
            }),
            place => self.place = place,
        }
    }

    /// Nothing of it is left with its server, and the client is there.
    fn is_free(&self) -> bool {
        self.exchange.is_between() && !self.is_ended && matches!(self.place, Place::Here(_))
    }

    fn depart(&mut self) {
        if let Place::Here(connection) = mem::replace(&mut self.place, Place::Gone) {
            let unread: Bytes = [self.exchange.partial(), &self.ahead].concat().into();
            self.place = Place::Leaving(moving::depart(connection, unread, None));
        }
    }

    fn came_back(&mut self, mut connection: Connection<S>) -> Place<S> {
        // It may have come back for itself alone; it is not to go again and again.
        self.entry.cannot_move();
        let mut unread = connection.take_received();
        // Its server still has this much of it.
        unread.drain(..self.exchange.partial().len().min(unread.len()));
        self.ahead = unread;
        Place::Here(connection)
    }

    /// For its server it ends now. The client is given time to end it too, so that nothing it still sends
    /// destroys the last response.
    fn close(&mut self) {
        if let Place::Here(connection) = mem::replace(&mut self.place, Place::Gone) {
            self.entry.say_goodbye();
            self.entry.enter(Base::Closing);
            spawn(async move {
                let _ = connection.close().await;
            });
        }
    }
}

impl<S: Send + 'static> Drop for Lent<S> {
    fn drop(&mut self) {
        if let Place::Leaving(moving) = mem::replace(&mut self.place, Place::Gone) {
            spawn(async move { drop(moving.await) });
        }
    }
}

/// A predecessor was in the middle of a session on it: a framework goes on with HTTP/2 and no other.
#[cold]
pub(super) fn resume<S>(connection: Connection<S>, session: &[u8]) -> Place<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(carried) = h2::Carried::decode(session) {
        connection.entry().set_kind(Kind::Http2);
        return Place::Http2(Http2::resumed(connection, &carried));
    }
    say!(warn: connection = connection.id(), "nobody goes on here with the session that has come");
    if Carried::kind(session) == Some(SessionKind::WebSocket) {
        spawn(gate::say_goodbye(connection, gate::REPLAYED_OTHERWISE));
    }
    Place::Gone
}

/// What outlives its server's task. Outside a runtime nothing can.
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(task);
    }
}
