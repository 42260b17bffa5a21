//! A socket below rustls, with a copy of what was read of a record that is not whole yet.
//!
//! rustls keeps that to itself, and counts whole records only. So whoever goes on with the connection
//! after the last whole one needs these bytes once more.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::record_length;
use crate::drain::stream::Stream;

#[derive(Debug)]
pub(super) struct Followed {
    stream: Stream,
    tail: Tail,
}

/// What was read since the last record ended.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Followed {
    pub(super) fn new(stream: Stream) -> Followed {
        Followed { stream, tail: Tail::default() }
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        (self.stream, self.tail.0)
    }
}

impl Tail {
    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.0.is_empty() && record_length(bytes).is_none_or(|length| bytes.len() < length) {
                self.0 = bytes.to_vec();
                return;
            }
            let length = if self.0.is_empty() { record_length(bytes) } else { self.begun(&mut bytes) };
            let Some(length) = length else { return };
            let missing = length - self.0.len();
            let Some(rest) = bytes.get(missing..) else {
                self.0.extend_from_slice(bytes);
                return;
            };
            bytes = rest;
            self.0 = Vec::new();
        }
    }

    /// How long the record is that was begun; takes bytes until its header says so.
    fn begun(&mut self, bytes: &mut &[u8]) -> Option<usize> {
        loop {
            if let Some(length) = record_length(&self.0) {
                return Some(length);
            }
            let (first, rest) = bytes.split_first()?;
            self.0.push(*first);
            *bytes = rest;
        }
    }
}

impl AsyncRead for Followed {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.tail.read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Followed {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the records and the pieces: the tail is what was read since the last end of a record.
        #[test]
        fn the_tail_is_the_part_of_a_record(
            lengths in proptest::collection::vec(0_u16..300, 1..8),
            cuts in proptest::collection::vec(1_usize..200, 1..40),
        ) {
            let mut all = Vec::new();
            let mut ends = vec![0];
            for length in lengths {
                all.extend_from_slice(&[23, 3, 3]);
                all.extend_from_slice(&length.to_be_bytes());
                all.resize(all.len() + usize::from(length), 7);
                ends.push(all.len());
            }
            let (mut tail, mut at) = (Tail::default(), 0);
            for cut in cuts {
                let piece = &all[at..(at + cut).min(all.len())];
                tail.read(piece);
                at += piece.len();
                let last = ends.iter().rfind(|end| **end <= at).unwrap();
                prop_assert_eq!(&tail.0, &all[*last..at]);
            }
        }
    }
}
