//! Which version of HTTP a connection speaks, found out without taking it from the code that waits for it to
//! go idle: hyper-util's own sniffing cannot be told apart from a request, and is cut by its drain.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

use crate::drain::Connection;

/// Reads until the bytes are HTTP/2's preface or cannot become it any more.
#[derive(Debug)]
pub(super) struct Sniff<S> {
    connection: Connection<S>,
    read: [u8; PREFACE.len()],
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
    /// The client left without a word.
    None,
}

impl<S: AsyncRead + Unpin> Sniff<S> {
    pub(super) fn new(connection: Connection<S>) -> Self {
        Sniff { connection, read: [0; PREFACE.len()], length: 0 }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Version>> {
        loop {
            let mut buf = ReadBuf::new(&mut self.read[self.length..]);
            ready!(Pin::new(&mut self.connection).poll_read(cx, &mut buf))?;
            let ended = buf.filled().is_empty();
            self.length += buf.filled().len();
            let read = &self.read[..self.length];
            if ended && read.is_empty() {
                return Poll::Ready(Ok(Version::None));
            } else if read == PREFACE {
                return Poll::Ready(Ok(Version::Http2));
            } else if ended || !PREFACE.starts_with(read) {
                return Poll::Ready(Ok(Version::Http1));
            }
        }
    }

    /// The connection, and what was read from it.
    pub(super) fn into_parts(self) -> (Connection<S>, Bytes) {
        (self.connection, Bytes::copy_from_slice(&self.read[..self.length]))
    }
}

pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
