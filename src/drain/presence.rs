//! Whether the peer of a request in flight is still there.
//!
//! Nobody else reads meanwhile, and a task that waits for a handler alone hears neither of an end nor of a
//! reset.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, ReadBuf};

use super::connection::Connection;
use super::entry::Direction;
use crate::sys::socket::is_hung_up;

impl<S: AsyncRead + Unpin> Connection<S> {
    /// Looks for an end or an error behind what was read, and has the task woken for one. An end is noted,
    /// and has its limit; a peer that is known to have gone is an error.
    ///
    /// It may read ahead, which the next read gives first; while there is such, nothing is looked for.
    #[cold]
    #[inline(never)]
    pub(crate) fn poll_presence(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.waiting.half_closed {
            return self.check_hung_up();
        }
        if self.has_received() {
            return Ok(());
        }
        let mut ahead = [0; AHEAD];
        let mut buf = ReadBuf::new(&mut ahead);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
            Poll::Pending => self.wait(Direction::Read, cx),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => {
                self.waiting.half_closed = true;
                self.entry().waits(self.waiting);
                self.check_hung_up()
            }
            Poll::Ready(Ok(())) => {
                let handed = self.handed.get_or_insert_with(Box::default);
                handed.received.extend_from_slice(buf.filled());
                Ok(())
            }
        }
    }

    fn check_hung_up(&self) -> io::Result<()> {
        let gone = self.entry().fd().is_some_and(is_hung_up);
        if gone { Err(io::ErrorKind::ConnectionReset.into()) } else { Ok(()) }
    }
}

/// Of a pipelined request, or of an upload whose handler is slower than its client: one byte would do to tell
/// that the client is there, and more would only be copied once more.
const AHEAD: usize = 1;
