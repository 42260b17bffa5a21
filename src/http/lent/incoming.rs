//! A listener as accept loops other than heirloom's take it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::Lent;
use crate::drain::Lending;
use crate::sockets::accept::Listener;
use crate::sys::address::Address;

/// A [`Listener`] whose connections are [`Lent`] to a framework that serves them by itself, and lose nothing
/// at a restart.
///
/// A framework that takes a `Stream` of connections gets [`into_stream`](Self::into_stream). With the feature
/// `axum` it is a listener for `axum::serve`. The chapter [`frameworks`](crate::docs::frameworks) has each of
/// them.
#[derive(Debug)]
pub struct Incoming {
    listener: Listener,
    /// Until nothing is accepted any more.
    lending: Option<Lending>,
}

impl Listener {
    /// Lends the connections to a framework: see [`Incoming`](crate::http::Incoming).
    pub fn into_incoming(self) -> Incoming {
        Incoming { lending: Some(self.tracker().lend()), listener: self }
    }
}

impl Incoming {
    /// The next connection, as [`Listener::accept`] gives it; `None` when this process accepts no more.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: no connection is lost when the future is dropped.
    ///
    /// # Panics
    ///
    /// If it is called outside of a tokio runtime.
    pub async fn accept(&mut self) -> Option<Lent> {
        let accepted = self.listener.accept().await;
        if accepted.is_none() {
            self.lending = None;
        }
        accepted.map(Lent::new)
    }

    /// The address to which it is bound.
    pub fn local_addr(&self) -> &Address {
        self.listener.local_addr()
    }

    /// The connections as a stream. It does not end: when this process accepts no more it waits, since
    /// servers take an end for the time to close what is open, and heirloom still has that to move.
    pub fn into_stream(self) -> Connections {
        Connections { accepting: Some(accept(self)) }
    }
}

/// The stream of [`Incoming::into_stream`]. None of its items is an error, and it does not end.
#[must_use = "streams do nothing unless polled"]
pub struct Connections {
    /// `None` behind the last one.
    accepting: Option<Accepting>,
}

type Accepting = Pin<Box<dyn Future<Output = Option<(Lent, Incoming)>> + Send>>;

fn accept(mut incoming: Incoming) -> Accepting {
    Box::pin(async move {
        let lent = incoming.accept().await?;
        Some((lent, incoming))
    })
}

impl Stream for Connections {
    type Item = io::Result<Lent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(accepting) = &mut self.accepting else { return Poll::Pending };
        let accepted = ready!(accepting.as_mut().poll(cx));
        let (lent, accepting) = accepted.map(|(lent, incoming)| (Ok(lent), accept(incoming))).unzip();
        self.accepting = accepting;
        if lent.is_none() { Poll::Pending } else { Poll::Ready(lent) }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}
