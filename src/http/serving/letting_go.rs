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
        let mut is_unread = false;
        if stage.asked {
            // Its last request may have had a body. If hyper has read all of it, this ends the connection at
            // once, without another read; else hyper ends it when it has. An end after a read is one for
            // which the service has just dropped the body: what comes next on the connection is the rest of
            // that, and no request.
            self.entry.keep_open();
            Pin::new(&mut http1).graceful_shutdown();
            let ended = Pin::new(&mut http1).poll(cx);
            is_unread = self.entry.keep_open_no_longer();
            if ended.map_err(ServeError::Http)?.is_pending() {
                self.entry.enter(Stage { base: Base::Finishing, ..stage });
                return Ok(TakenOut::Busy(Box::new(http1)));
            }
        }
        let Some(parts) = http1.into_parts() else {
            self.entry.upgrade();
            return Ok(TakenOut::Gone);
        };
        let io = match parts.io.take_between_requests() {
            Ok((ahead, connection)) => return Ok(TakenOut::Whole(connection, ahead, parts.service)),
            Err(io) => io,
        };
        let Some((ahead, connection)) = io.take_apart() else { return Ok(TakenOut::Gone) };
        if is_unread {
            return Ok(TakenOut::BodyUnread(connection));
        }
        let read = if ahead.is_empty() { parts.read_buf } else { [parts.read_buf, ahead].concat().into() };
        Ok(TakenOut::Whole(connection, read, parts.service))
    }
}

fn is_gone(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(gate::is_moved_on)
}
