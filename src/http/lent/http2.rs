//! HTTP/2 below a server that is not heirloom's: it moves between streams, as where heirloom serves
//! ([`h2`]). Here nothing is above that server, so what leads the connection away, or brings it in, is done
//! when it wants to read.

use std::io::{self, IoSlice};
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::parting::spawn;
use super::{Lent, Place};
use crate::drain::{Connection, Entry, Kind};
use crate::http::h2::{Carried, Ghost, Leaving, Line, PATIENCE, Progress, Step, say_not_here};
use crate::http::moving;
use crate::http::session::Unmoved;

/// A connection, and what there is to do with it beside reading and writing.
pub(super) struct Http2<S> {
    line: Line<S>,
    going: Going,
}

enum Going {
    Nothing,
    /// Its server comes to know what a predecessor has begun, and at the latest by then.
    Arriving(Box<Carried>, Pin<Box<Sleep>>),
    Leaving(Box<Leaving>),
    /// Its server is to end it, when it is told to.
    Staying,
}

/// What reading has come to.
enum Read {
    Some,
    /// It leaves, and its server is done with it.
    Quiet,
    /// Its server does not go on with it.
    Unknown(u32),
}

impl<S> Http2<S> {
    /// One that a predecessor has begun.
    pub(super) fn resumed(connection: Connection<S>, carried: Carried) -> Box<Http2<S>> {
        let line = Line::resumed(connection, &carried, Ghost::Refused);
        let going = Going::Arriving(Box::new(carried), Box::pin(sleep(PATIENCE)));
        Box::new(Http2 { line, going })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http2<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        entry: &Entry,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Read>> {
        loop {
            if entry.is_draining() {
                self.heed_drain(entry);
            }
            if self.line.poll_read(cx, buf)?.is_ready() {
                return Poll::Ready(Ok(Read::Some));
            }
            match &mut self.going {
                Going::Nothing | Going::Staying => return Poll::Pending,
                Going::Arriving(carried, timer) => match self.line.arrives() {
                    Progress::Waits if timer.as_mut().poll(cx).is_pending() => return Poll::Pending,
                    Progress::Waits | Progress::Failed => {
                        return Poll::Ready(Ok(Read::Unknown(carried.last_stream())));
                    }
                    Progress::Feeds => {}
                    Progress::Done { .. } => self.going = Going::Nothing,
                },
                Going::Leaving(leaving) => match leaving.poll(cx, &mut self.line, entry.tick()) {
                    Step::Wait => return Poll::Pending,
                    Step::PollAgain => {}
                    Step::Quiet if self.line.is_large_enough() => return Poll::Ready(Ok(Read::Quiet)),
                    Step::Quiet => self.stay(entry, Unmoved::Unsupported),
                    Step::Stays(why) => self.stay(entry, why),
                },
            }
        }
    }

    pub(super) fn is_write_vectored(&self) -> bool {
        self.line.is_write_vectored()
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.poll_flush(cx)
    }

    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.line.poll_shutdown(cx)
    }

    /// The process drains: it begins to leave if it can.
    #[cold]
    fn heed_drain(&mut self, entry: &Entry) {
        if let Going::Nothing = self.going {
            let moves = entry.is_moving() && entry.successor_takes_http2();
            self.going = if moves { Going::Leaving(Box::new(Leaving::new(entry))) } else { Going::Staying };
        }
    }

    #[cold]
    fn stay(&mut self, entry: &Entry, why: Unmoved) {
        entry.could_not_move(why.name());
        self.line.give_up();
        self.going = Going::Staying;
    }

    /// Whether there may be something to do that its server knows nothing of, once it has written.
    fn is_on_its_way(&self) -> bool {
        matches!(self.going, Going::Arriving(..) | Going::Leaving(_))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lent<S> {
    /// It turns out to be HTTP/2, of whose preface its server has had this much.
    #[cold]
    pub(super) fn begin_http2(&mut self, given: &[u8]) {
        if let Place::Here(connection) = mem::replace(&mut self.place, Place::Gone) {
            self.entry.set_kind(Kind::Http2);
            let line = Line::begun(connection, given, Bytes::from(mem::take(&mut self.ahead)));
            self.place = Place::Http2(Box::new(Http2 { line, going: Going::Nothing }));
        }
    }

    pub(super) fn poll_read_http2(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Place::Http2(http2) = &mut self.place else { return Poll::Ready(Ok(())) };
        let read = http2.poll_read(cx, &self.entry, buf);
        if let Going::Staying = http2.going {
            self.lending.is_theirs();
        }
        match ready!(read)? {
            Read::Some => Poll::Ready(Ok(())),
            Read::Quiet => {
                self.depart_http2();
                // Its server waits until the connection is gone.
                self.poll_here(cx).map(Ok)
            }
            Read::Unknown(last_stream) => {
                say!(warn: connection = self.entry.id(), "hyper does not go on with an HTTP/2 connection that has moved");
                if let Place::Http2(http2) = mem::replace(&mut self.place, Place::Gone) {
                    spawn(async move { drop(say_not_here(http2.line.into_connection(), last_stream).await) });
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    pub(super) fn poll_write_http2(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        let Place::Http2(http2) = &mut self.place else { return Poll::Ready(Ok(all)) };
        let written = http2.line.poll_write(cx, bufs);
        if http2.is_on_its_way()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        written
    }

    fn depart_http2(&mut self) {
        if let Place::Http2(http2) = mem::replace(&mut self.place, Place::Gone) {
            let (connection, carried, unread) = http2.line.depart();
            let last_stream = carried.last_stream();
            let moving = moving::depart_amid(connection, unread.into(), carried.encode());
            self.place = Place::Leaving(Box::pin(async move {
                if let Some(connection) = moving.await {
                    // Its server does not know what the client was told on the way.
                    let _ = say_not_here(connection, last_stream).await;
                }
                None
            }));
        }
    }
}
