//! HTTP/2 below a server that is not heirloom's: it moves between streams, as where heirloom serves
//! ([`h2`]). Here nothing is above that server, so what leads the connection away, or brings it in, is done
//! when it wants to read.

use std::io::{self, IoSlice};
use std::mem;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::parting::spawn;
use super::{Lent, Place};
use crate::drain::{Base, Connection, Entry, Kind};
use crate::http::h2::{Carried, Ghost, Going, Line, Step, say_not_here};
use crate::http::moving;
use crate::http::session::Unmoved;

/// A connection, and what there is to do with it beside reading and writing.
pub(super) struct Http2<S> {
    line: Line<S>,
    going: Going,
    stays: Option<Staying>,
}

/// One that does not move. Its server may end it, when it is told to; whether it does or not, its client is
/// to ask elsewhere, and it is over when that has had the linger for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Staying {
    Untold,
    Told,
}

/// What reading has come to.
enum Read {
    Some,
    /// It leaves, and its server is done with it.
    Quiet,
    /// Its server does not go on with it.
    Unknown,
    /// Its client was told, and asks nothing any more.
    Over,
}

impl<S> Http2<S> {
    /// One that a predecessor has begun.
    pub(super) fn resumed(connection: Connection<S>, carried: &Carried) -> Box<Http2<S>> {
        let line = Line::resumed(connection, carried, Ghost::Refused);
        Box::new(Http2 { line, going: Going::arriving(), stays: None })
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
            if entry.is_draining() && self.heed_drain(entry) {
                return Poll::Ready(Ok(Read::Over));
            }
            if self.line.poll_read(cx, buf)?.is_ready() {
                return Poll::Ready(Ok(Read::Some));
            }
            match self.going.poll(cx, &mut self.line, entry.tick()) {
                Step::Wait => return Poll::Pending,
                Step::PollAgain => {}
                Step::Unknown => return Poll::Ready(Ok(Read::Unknown)),
                Step::Quiet if self.line.is_large_enough() => return Poll::Ready(Ok(Read::Quiet)),
                Step::Quiet => self.stay(entry, Unmoved::Unsupported),
                Step::Stays(why) => self.stay(entry, why),
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

    /// The process drains: it begins to leave if it can. Whether it is over.
    #[cold]
    fn heed_drain(&mut self, entry: &Entry) -> bool {
        match self.stays {
            Some(Staying::Told) => {
                return entry.is_overdue() && entry.streams() == 0 && self.line.has_written_all();
            }
            Some(Staying::Untold) => self.say_goodbye(entry),
            None if self.going.is_on_its_way() => {}
            None if entry.is_moving() && entry.successor_takes_http2() => self.going = Going::leaving(entry),
            None => self.say_goodbye(entry),
        }
        false
    }

    #[cold]
    fn stay(&mut self, entry: &Entry, why: Unmoved) {
        entry.could_not_move(why.name());
        self.line.give_up();
        self.going = Going::Nothing;
        self.say_goodbye(entry);
    }

    fn say_goodbye(&mut self, entry: &Entry) {
        if self.line.say_goodbye() {
            entry.say_goodbye();
            // What it was overdue for is over: it has until the linger's end to go.
            entry.enter(Base::Busy);
            self.stays = Some(Staying::Told);
        } else {
            self.stays = Some(Staying::Untold);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Lent<S> {
    /// It turns out to be HTTP/2, of whose preface its server has had this much.
    #[cold]
    pub(super) fn begin_http2(&mut self, given: &[u8]) {
        if let Place::Here(connection) = mem::replace(&mut self.place, Place::Gone) {
            self.entry.set_kind(Kind::Http2);
            let line = Line::begun(connection, given, Bytes::from(mem::take(&mut self.ahead)));
            self.place = Place::Http2(Box::new(Http2 { line, going: Going::Nothing, stays: None }));
        }
    }

    pub(super) fn poll_read_http2(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Place::Http2(http2) = &mut self.place else { return Poll::Ready(Ok(())) };
        let read = http2.poll_read(cx, &self.entry, buf);
        if http2.stays.is_some() {
            self.lending.is_theirs();
        }
        match ready!(read)? {
            Read::Some => Poll::Ready(Ok(())),
            Read::Quiet => {
                self.depart_http2();
                // Its server waits until the connection is gone.
                self.poll_here(cx).map(Ok)
            }
            Read::Unknown => {
                say!(warn: connection = self.entry.id(), "hyper does not go on with an HTTP/2 connection that has moved");
                self.end_http2();
                Poll::Ready(Ok(()))
            }
            Read::Over => {
                self.end_http2();
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
        // There may be something to do that its server knows nothing of.
        if http2.going.is_on_its_way()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        written
    }

    /// For its server, the client has left.
    fn end_http2(&mut self) {
        if let Place::Http2(http2) = mem::replace(&mut self.place, Place::Gone) {
            let last_stream = http2.line.last_stream();
            spawn(async move { drop(say_not_here(http2.line.into_connection(), last_stream).await) });
        }
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
