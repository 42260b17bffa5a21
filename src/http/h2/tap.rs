//! Between the socket and hyper: has the [frames of both directions followed](Line), and lets a connection
//! leave or arrive.
//!
//! One task polls hyper, and through it this. So in steady state all belongs to the tap, and no lock is
//! taken. While a connection leaves or arrives, the tap has lent all that to the [`Lever`], by which the same
//! task gets at it from above hyper.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite};

use super::arriving::Ghost;
use super::carried::Carried;
use super::line::Line;
use crate::drain::Connection;
use crate::sys::reading::read_into;

/// What hyper reads from and writes to.
pub(in crate::http) struct Tap<S> {
    /// `None` while it is lent.
    own: Option<Line<S>>,
    /// `None` where nothing moves.
    lever: Option<Arc<Lever<S>>>,
}

/// Gets at a connection below hyper, where hyper gives no way to.
pub(in crate::http) struct Lever<S> {
    is_wanted: AtomicBool,
    lent: Mutex<Option<Line<S>>>,
}

impl<S> Tap<S> {
    /// Of a connection that begins, with its preface read ahead. With a lever if it may move.
    pub(in crate::http) fn new(connection: Connection<S>, ahead: Bytes, moves: bool) -> Tap<S> {
        let line = Line::begun(connection, &[], ahead);
        Tap { own: Some(line), lever: moves.then(|| Arc::new(Lever::new(None))) }
    }

    /// Of one that a predecessor has begun.
    pub(in crate::http) fn resumed(connection: Connection<S>, carried: &Carried) -> Tap<S> {
        let line = Line::resumed(connection, carried, Ghost::Answered);
        Tap { own: None, lever: Some(Arc::new(Lever::new(Some(line)))) }
    }

    pub(in crate::http) fn lever(&self) -> Option<Arc<Lever<S>>> {
        self.lever.clone()
    }
}

impl<S> Lever<S> {
    fn new(lent: Option<Line<S>>) -> Self {
        Lever { is_wanted: AtomicBool::new(false), lent: Mutex::new(lent) }
    }

    /// Whether the connection is to be lent, from hyper's next turn on.
    pub(in crate::http) fn wants(&self, on: bool) {
        self.is_wanted.store(on, Relaxed);
    }

    /// What is done with the connection, if it is lent.
    pub(in crate::http) fn with<T>(&self, act: impl FnOnce(&mut Line<S>) -> T) -> Option<T> {
        self.lent().as_mut().map(act)
    }

    /// From now on hyper writes into nothing, and reads nothing.
    pub(in crate::http) fn take(&self) -> Option<Line<S>> {
        self.lent().take()
    }

    fn lent(&self) -> MutexGuard<'_, Option<Line<S>>> {
        // A panic in hyper ends the connection with its task.
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Tap<S> {
    /// The connection where it is this one's alone, which is nearly always.
    #[inline]
    fn own(&mut self) -> Option<&mut Line<S>> {
        let wanted = self.lever.as_ref().is_some_and(|lever| lever.is_wanted.load(Relaxed));
        if wanted { None } else { self.own.as_mut() }
    }

    /// The connection, lent; `None` if it has gone. It comes back once nobody wants it.
    fn with_lent<T>(&mut self, act: impl FnOnce(&mut Line<S>) -> T) -> Option<T> {
        let lever = self.lever.as_ref()?;
        let mut lent = lever.lent();
        if let Some(own) = self.own.take() {
            *lent = Some(own);
        }
        let done = act(lent.as_mut()?);
        if !lever.is_wanted.load(Relaxed) && lent.as_ref().is_some_and(|line| !line.is_on_detour()) {
            self.own = lent.take();
        }
        Some(done)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for Tap<S> {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match this.own() {
            Some(line) => read_into(buf, |buf| line.poll_read(cx, buf)),
            None => this.poll_read_lent(cx, buf),
        };
        polled.map_ok(|_| ())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Tap<S> {
    #[cold]
    fn poll_read_lent(&mut self, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<usize>> {
        self.with_lent(|line| read_into(buf, |buf| line.poll_read(cx, buf))).unwrap_or(Poll::Pending)
    }

    #[cold]
    fn poll_write_lent(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let all = bufs.iter().map(|buf| buf.len()).sum();
        self.with_lent(|line| line.poll_write(cx, bufs)).unwrap_or(Poll::Ready(Ok(all)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => line.poll_write(cx, bufs),
            None => this.poll_write_lent(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        // What is not, is given the parts one by one.
        self.own.as_ref().is_none_or(Line::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => line.poll_flush(cx),
            None => this.with_lent(|line| line.poll_flush(cx)).unwrap_or(Poll::Ready(Ok(()))),
        }
    }

    /// hyper has written all that it had to: this is between two frames.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.own() {
            Some(line) => line.poll_shutdown(cx),
            None => this.with_lent(|line| line.poll_shutdown(cx)).unwrap_or(Poll::Ready(Ok(()))),
        }
    }
}
