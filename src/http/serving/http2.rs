//! An HTTP/2 connection: served, told to go, or let go of so that it moves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::drain::{Base, Connection, Entry};
use crate::http::HttpService;
use crate::http::config::Prepared;
use crate::http::h2::{self, Carried, Going, Lever, Line, Step, Tap};
use crate::http::moving;
use crate::http::streams::StreamService;

type Inner<S, H> = http2::Connection<Tap<S>, StreamService<H>, TokioExecutor>;

pub(super) struct Http2<S, H: HttpService> {
    connection: Pin<Box<Inner<S, H>>>,
    told: bool,
    /// `None` where it cannot move.
    lever: Option<Arc<Lever<S>>>,
    going: Going,
    /// For the case that it goes and comes back.
    service: H,
}

/// What a connection that is served has come to.
pub(super) enum Ended<S> {
    /// At its end.
    Served(hyper::Result<()>),
    /// Let go of, to move, with what goes along.
    Left(Connection<S>, Carried, Bytes),
    /// hyper did not come to know what a predecessor had begun.
    Unknown(Option<Connection<S>>),
}

/// What is to be done once hyper waits.
enum Next<S> {
    Wait,
    PollAgain,
    End(Ended<S>),
}

impl<S, H> Http2<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    pub(super) fn new(
        prepared: &Prepared,
        entry: &Arc<Entry>,
        connection: Connection<S>,
        ahead: Bytes,
        service: H,
    ) -> Self {
        let moves = prepared.moves_http2 && moving::can_move(&connection);
        let introduction = prepared.introduction(&connection);
        let tap = Tap::new(connection, ahead, moves);
        let lever = tap.lever();
        let streams = StreamService::new(service.clone(), entry, introduction, prepared.sessions, moves);
        let connection = Box::pin(prepared.http2.serve_connection(tap, streams));
        Http2 { connection, told: false, lever, going: Going::Nothing, service }
    }

    /// One that a predecessor has begun.
    pub(super) fn resumed(
        prepared: &Prepared,
        entry: &Arc<Entry>,
        connection: Connection<S>,
        carried: &Carried,
        service: H,
    ) -> Self {
        let introduction = prepared.introduction(&connection);
        let tap = Tap::resumed(connection, carried);
        let lever = tap.lever();
        let mut builder = prepared.http2.clone();
        h2::go_on(&mut builder, carried);
        let streams = StreamService::new(service.clone(), entry, introduction, prepared.sessions, true)
            .with_ghost(h2::ghost_bytes(carried));
        let connection = Box::pin(builder.serve_connection(tap, streams));
        Http2 { connection, told: false, lever, going: Going::arriving(), service }
    }

    pub(super) fn into_service(self) -> H {
        self.service
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    pub(super) fn is_on_its_way(&self) -> bool {
        self.going.is_on_its_way()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, entry: &Entry) -> Poll<Ended<S>> {
        loop {
            if entry.is_draining() && !self.told {
                self.heed_drain(entry);
            }
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(Ended::Served(ended));
            }
            if !self.is_on_its_way() {
                return Poll::Pending;
            }
            match self.poll_going(cx, entry) {
                Next::Wait => return Poll::Pending,
                Next::PollAgain => {}
                Next::End(ended) => return Poll::Ready(ended),
            }
        }
    }

    /// What is on its way is served, and what is open finishes.
    pub(super) fn say_goodbye(&mut self, entry: &Entry) {
        if let (Going::Leaving(_), Some(lever)) = (&self.going, &self.lever) {
            lever.with(Line::give_up);
            lever.wants(false);
            self.going = Going::Nothing;
        }
        self.told = true;
        self.connection.as_mut().graceful_shutdown();
        // What it was overdue for is over: it has until the linger's end to go.
        entry.enter(Base::Busy);
    }

    #[cold]
    fn heed_drain(&mut self, entry: &Entry) {
        let moves = entry.is_moving() && self.lever.is_some();
        match (&self.going, &self.lever) {
            // hyper may not speak before it knows the client.
            (Going::Arriving(_), _) => {}
            (Going::Nothing, Some(lever)) if moves && entry.successor_takes_http2() => {
                lever.wants(true);
                self.going = Going::leaving(entry);
            }
            (Going::Leaving(_), _) if moves => {}
            _ => self.say_goodbye(entry),
        }
    }

    #[cold]
    fn poll_going(&mut self, cx: &mut Context<'_>, entry: &Entry) -> Next<S> {
        let (going, Some(lever)) = (&mut self.going, &self.lever) else { return Next::Wait };
        match lever.with(|line| going.poll(cx, line, entry.tick())).unwrap_or(Step::Wait) {
            Step::Wait => Next::Wait,
            Step::PollAgain => Next::PollAgain,
            Step::Unknown => Next::End(Ended::Unknown(lever.take().map(Line::into_connection))),
            Step::Stays(why) => {
                entry.could_not_move(why.name());
                self.say_goodbye(entry);
                Next::PollAgain
            }
            Step::Quiet => match lever.take().map(Line::depart) {
                Some((connection, carried, unread)) => {
                    Next::End(Ended::Left(connection, carried, unread.into()))
                }
                None => Next::Wait,
            },
        }
    }
}
