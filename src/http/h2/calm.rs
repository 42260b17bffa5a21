//! What HTTP/2 is read from and written to, and a limit to frames that bring nothing forward.
//!
//! hyper counts resets, but answers PING and SETTINGS, and takes WINDOW_UPDATE and the like, as fast as they
//! come: a flood of them costs half a core. Nobody else sees the frames, so their heads are followed here,
//! past what is in them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::sniff::PREFACE;
use crate::drain::Connection;
use crate::sys::reading::read_into;

/// A connection of which hyper hears that it has ended once it floods, and which then says why.
pub(super) struct Calm<S> {
    connection: Connection<S>,
    frames: Frames,
    /// What is left to say to a client that floods.
    rebuke: Option<Bytes>,
}

/// The frames of a connection, and how many of late brought nothing forward.
struct Frames {
    head: [u8; HEAD],
    head_read: usize,
    payload_left: usize,
    last_stream: u32,
    idle: u64,
    since: Instant,
    /// Bytes, since then.
    written: u64,
}

impl<S> Calm<S> {
    pub(super) fn new(connection: Connection<S>, ahead: Bytes) -> Self {
        Calm { connection: connection.with_received(ahead.into()), frames: Frames::new(), rebuke: None }
    }
}

impl<S: AsyncRead + Unpin> Read for Calm<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Calm { connection, frames, rebuke } = self.get_mut();
        if rebuke.is_some() {
            return frames.poll_rest(connection, cx, buf);
        }
        let mut floods = false;
        ready!(read_into(buf, |buf| {
            let before = buf.filled().len();
            let polled = Pin::new(&mut *connection).poll_read(cx, buf);
            floods = !frames.follow(&buf.filled()[before..]);
            polled
        }))?;
        if floods {
            tracing::debug!(connection = connection.id(), "an HTTP/2 client floods with empty frames");
            // It is read on for a while after the shutdown, so that it hears why.
            connection.entry().say_goodbye();
            *rebuke = Some(frames.rebuke());
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Calm<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let count = ready!(Pin::new(&mut this.connection).poll_write_vectored(cx, bufs))?;
        this.frames.written += count as u64;
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().connection).poll_flush(cx)
    }

    /// hyper has written all that it had to: this is between two frames.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Calm { connection, rebuke, .. } = self.get_mut();
        while let Some(left) = rebuke.as_mut().filter(|left| !left.is_empty()) {
            let count = ready!(Pin::new(&mut *connection).poll_write(cx, left))?;
            drop(left.split_to(count));
        }
        ready!(Pin::new(&mut *connection).poll_flush(cx))?;
        Pin::new(connection).poll_shutdown(cx)
    }
}

impl Frames {
    fn new() -> Self {
        Frames {
            head: [0; HEAD],
            head_read: 0,
            payload_left: PREFACE.len(),
            last_stream: 0,
            idle: 0,
            since: Instant::now(),
            written: 0,
        }
    }

    /// Whether that is still bearable.
    fn follow(&mut self, mut bytes: &[u8]) -> bool {
        let mut bearable = true;
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let passed = self.payload_left.min(bytes.len());
                self.payload_left -= passed;
                bytes = &bytes[passed..];
                continue;
            }
            let more = (HEAD - self.head_read).min(bytes.len());
            self.head[self.head_read..][..more].copy_from_slice(&bytes[..more]);
            self.head_read += more;
            bytes = &bytes[more..];
            if self.head_read == HEAD {
                self.head_read = 0;
                bearable &= self.began();
            }
        }
        bearable
    }

    /// What is left of the frame that was begun, and then the end: hyper takes one amid a frame for a
    /// failure, and would drop the connection without notice.
    fn poll_rest<S: AsyncRead + Unpin>(
        &mut self,
        connection: &mut Connection<S>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let left = if self.head_read > 0 { HEAD - self.head_read } else { self.payload_left };
        if left == 0 {
            return Poll::Ready(Ok(()));
        }
        ready!(read_into(buf, |buf| {
            let mut piece = [0; PIECE];
            let mut part = ReadBuf::new(&mut piece[..left.min(PIECE).min(buf.remaining())]);
            ready!(Pin::new(connection).poll_read(cx, &mut part))?;
            self.follow(part.filled());
            buf.put_slice(part.filled());
            Poll::Ready(Ok(()))
        }))?;
        Poll::Ready(Ok(()))
    }

    fn began(&mut self) -> bool {
        let [a, b, c, kind, flags, stream @ ..] = self.head;
        self.payload_left = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            HEADERS => {
                self.last_stream = self.last_stream.max(u32::from_be_bytes(stream) & STREAM);
                true
            }
            DATA if self.payload_left > 0 || flags & END_STREAM != 0 => true,
            _ => self.is_bearable(),
        }
    }

    /// One more that brings nothing forward. The clock is read once in thousands of them.
    fn is_bearable(&mut self) -> bool {
        self.idle += 1;
        if self.idle <= IDLE_A_SECOND + self.written / WRITTEN_FOR_ONE {
            return true;
        }
        let now = Instant::now();
        if now - self.since < Duration::from_secs(1) {
            return false;
        }
        (self.since, self.idle, self.written) = (now, 0, 0);
        true
    }

    /// GOAWAY with ENHANCE_YOUR_CALM.
    fn rebuke(&self) -> Bytes {
        let mut frame = vec![0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&self.last_stream.to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.into()
    }
}

/// A frame's length (24 bits), kind, flags and stream.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
/// Without the bit that is reserved.
const STREAM: u32 = u32::MAX >> 1;
const ENHANCE_YOUR_CALM: u32 = 11;

/// On the stack, and enough for the rest of most frames of a flood.
const PIECE: usize = 64;

/// One in 100 µs for ever: more than clients send that ping with every answer that they get, and at some 1 µs
/// for each a hundredth of a core.
const IDLE_A_SECOND: u64 = 10_000;

/// Who downloads sends a WINDOW_UPDATE or two for each frame of data, of 16 KiB as a rule.
const WRITTEN_FOR_ONE: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let length = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        frame.resize(HEAD + payload, 0xff);
        frame
    }

    #[test]
    fn frames_are_told_apart_however_they_are_cut() {
        let talk = [
            PREFACE.to_vec(),
            frame(4, 0, 0, 18),
            frame(HEADERS, 5, 7, 300),
            frame(DATA, 0, 7, 16_384),
            frame(6, 0, 0, 8),
            frame(DATA, 0, 7, 0),
            frame(DATA, END_STREAM, 7, 0),
        ]
        .concat();
        for cut in [1, 2, 5, 9, 10, 1000, talk.len()] {
            let mut frames = Frames::new();
            assert!(talk.chunks(cut).all(|bytes| frames.follow(bytes)));
            assert_eq!((frames.idle, frames.last_stream, frames.head_read), (3, 7, 0), "cut at {cut}");
        }
    }

    #[test]
    fn a_flood_is_one_whatever_it_is_made_of_and_a_download_is_none() {
        for kind in [2, 4, 6, 8, 99] {
            let flood = frame(kind, 0, 0, 8).repeat(20_000);
            let mut frames = Frames::new();
            assert!(frames.follow(PREFACE) && !frames.follow(&flood), "{kind}");
            let mut frames = Frames { written: 20_000 * 16_384, ..Frames::new() };
            assert!(frames.follow(PREFACE) && frames.follow(&flood), "{kind}");
        }
        let mut slow = Frames { since: Instant::now() - Duration::from_secs(2), ..Frames::new() };
        assert!(slow.follow(PREFACE) && slow.follow(&frame(6, 0, 0, 8).repeat(15_000)));
    }
}
