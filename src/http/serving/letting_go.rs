//! HTTP/1 connections that hyper lets go of between two requests: to move, to be closed, or to be put
//! together again.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::moving;
use super::{Http1, ServeError, Serving, Talk};
use crate::drain::{Base, Connection, Stage};
use crate::http::HttpService;
use crate::http::gate;
use crate::http::service::TrackedService;
use crate::http::turn::Turn;

/// An HTTP/1 connection that hyper was to let go of.
enum TakenOut<S, H: HttpService> {
    /// With what was read of the next request.
    Whole(Connection<S>, Bytes, TrackedService<H>),
    /// Not all of its last request will ever be read: it can only be closed.
    BodyUnread(Connection<S>),
    Busy(Box<Http1<S, H>>),
    /// Its last response was that it is somebody else's, or the successor has it.
    Gone,
}

/// What has become of the last request on a connection that hyper was to let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastRequest {
    /// All of it was read.
    Read,
    /// Nobody wants the rest of it.
    Unread,
    /// Another came behind it, which has ended the connection.
    Followed,
    /// It is still read, or another is served.
    GoesOn,
}

impl<S, H> Serving<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    /// Lets go of the connection if no request is in flight on it, and has it moved.
    #[cold]
    pub(super) fn depart(&mut self, cx: &mut Context<'_>) -> Result<(), ServeError> {
        let stage = self.entry.stage();
        self.talk = match (mem::replace(&mut self.talk, Talk::Over), stage.base) {
            (Talk::Sniffing(sniff, service), _) => {
                let (connection, ahead) = sniff.into_parts();
                Talk::Moving(moving::depart(connection, ahead, None), service)
            }
            (Talk::Http1(http1), Base::Fresh | Base::Idle | Base::Head) => {
                match self.take_out(http1, stage, cx)? {
                    TakenOut::Whole(connection, ahead, service) => {
                        let state = service.state();
                        Talk::Moving(moving::depart(connection, ahead, state), service.into_inner())
                    }
                    TakenOut::BodyUnread(connection) => self.goodbye(connection),
                    TakenOut::Busy(http1) => Talk::Http1(*http1),
                    TakenOut::Gone => Talk::Over,
                }
            }
            (talk, _) => talk,
        };
        Ok(())
    }

    /// Ends an HTTP/1 connection without a request in flight, or goes on with it if there turns out to be
    /// one.
    pub(super) fn take_apart(
        &self,
        http1: Http1<S, H>,
        stage: Stage,
        cx: &mut Context<'_>,
    ) -> Result<Talk<S, H>, ServeError> {
        Ok(match self.take_out(http1, stage, cx)? {
            TakenOut::Whole(connection, ahead, _) if ahead.is_empty() => self.goodbye(connection),
            TakenOut::Whole(connection, ahead, service) => {
                // A request came close behind the last one, in part. It gets its answer, and its own time.
                self.entry.enter(Base::Head);
                Talk::Http1(self.http1_with(connection, ahead, service))
            }
            TakenOut::BodyUnread(connection) => self.goodbye(connection),
            TakenOut::Busy(http1) => Talk::Http1(*http1),
            TakenOut::Gone => Talk::Over,
        })
    }

    /// hyper has come to the end of an HTTP/1 connection. If that is because it was told to end it, and if it
    /// is known that the rest of an upload was read, it goes on as an idle one.
    #[cold]
    pub(super) fn http1_ended(
        &mut self,
        ended: hyper::Result<()>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), ServeError>> {
        if let Err(error) = ended {
            // It went on elsewhere: that is no failure.
            return Poll::Ready(if is_gone(&error) { Ok(()) } else { Err(ServeError::Http(error)) });
        }
        let Talk::Http1(http1) = mem::replace(&mut self.talk, Talk::Over) else { return Poll::Ready(Ok(())) };
        let Some(parts) = http1.into_parts() else {
            self.entry.upgrade();
            return Poll::Ready(Ok(()));
        };
        if self.entry.stage().base == Base::Finishing
            && let Ok((ahead, connection)) = parts.io.take_between_requests()
        {
            self.entry.enter(Base::Idle);
            self.talk = Talk::Http1(self.http1_with(connection, ahead, parts.service));
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Takes an HTTP/1 connection without a request in flight out of hyper.
    ///
    /// Only while its stage is fresh or idle, or that of a head: then the last response is written and
    /// flushed, so that hyper holds nothing but bytes that it has read.
    fn take_out(
        &self,
        mut http1: Http1<S, H>,
        stage: Stage,
        cx: &mut Context<'_>,
    ) -> Result<TakenOut<S, H>, ServeError> {
        let last =
            if stage.asked { self.end_last_request(&mut http1, stage, cx)? } else { LastRequest::Read };
        if last == LastRequest::GoesOn {
            return Ok(TakenOut::Busy(Box::new(http1)));
        }
        let Some(parts) = http1.into_parts() else {
            self.entry.upgrade();
            return Ok(TakenOut::Gone);
        };
        let io = match parts.io.take_between_requests() {
            Ok((ahead, connection)) if last != LastRequest::Followed => {
                return Ok(TakenOut::Whole(connection, ahead, parts.service));
            }
            Ok((_, connection)) => return Ok(TakenOut::BodyUnread(connection)),
            Err(io) => io,
        };
        let Some((ahead, connection)) = io.take_apart() else { return Ok(TakenOut::Gone) };
        if last != LastRequest::Read {
            return Ok(TakenOut::BodyUnread(connection));
        }
        let read = if ahead.is_empty() { parts.read_buf } else { [parts.read_buf, ahead].concat().into() };
        Ok(TakenOut::Whole(connection, read, parts.service))
    }

    /// Has hyper end the connection, if it has read all of the last request.
    ///
    /// Part of that request's body may lie in hyper's buffer, or be on its way, and the handler may have
    /// dropped the body since hyper last looked. Then hyper takes one piece of what it has, and ends the
    /// connection unless that was all. What is left of such a body must not be taken for a request.
    fn end_last_request(
        &self,
        http1: &mut Http1<S, H>,
        stage: Stage,
        cx: &mut Context<'_>,
    ) -> Result<LastRequest, ServeError> {
        let (polled, wants_more) = self.poll_without_reading(http1, stage, cx)?;
        let is_followed = self.entry.stage() != stage;
        match polled {
            Poll::Ready(()) if is_followed => return Ok(LastRequest::Followed),
            Poll::Ready(()) => return Ok(LastRequest::Unread),
            Poll::Pending if is_followed => return Ok(LastRequest::GoesOn),
            Poll::Pending => {}
        }
        // If it wants to read, that is the next head, or more of a body of which it has nothing left. Before
        // a head it ends the connection at once; within a body when that is read, or after another try to
        // read if the body has just been dropped.
        self.entry.keep_open();
        Pin::new(&mut *http1).graceful_shutdown();
        let ended = if wants_more { Pin::new(http1).poll(cx) } else { Poll::Pending };
        let is_unread = self.entry.keep_open_no_longer();
        Ok(match ended.map_err(ServeError::Http)? {
            Poll::Ready(()) if is_unread => LastRequest::Unread,
            Poll::Ready(()) => LastRequest::Read,
            Poll::Pending => {
                self.entry.enter(Stage { base: Base::Finishing, ..stage });
                LastRequest::GoesOn
            }
        })
    }

    /// Polls hyper once more, while nothing can be read. Whether it has come to its end, and whether it
    /// wanted to read.
    fn poll_without_reading(
        &self,
        http1: &mut Http1<S, H>,
        stage: Stage,
        cx: &mut Context<'_>,
    ) -> Result<(Poll<()>, bool), ServeError> {
        // A request behind a body that it drops may be one for an upgrade, which is over within this poll.
        self.entry.drive_no_longer();
        self.entry.keep_open();
        let turn = Turn::begin_apart(stage.bits());
        let polled = Pin::new(http1).poll(cx);
        turn.end(&self.entry);
        let wants_more = self.entry.keep_open_no_longer();
        Ok((polled.map_err(ServeError::Http)?, wants_more))
    }
}

fn is_gone(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(gate::is_moved_on)
}
