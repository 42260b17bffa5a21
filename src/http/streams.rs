//! The user's service on HTTP/2, watched: how many requests are in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use pin_project_lite::pin_project;

use super::body::TrackedBody;
use super::peer::Peer;
use super::service::HttpService;
use super::session::{Kinds, Sessions};
use crate::drain::Entry;

/// A service whose requests its connection's entry counts.
pub(super) struct StreamService<H> {
    service: H,
    entry: Arc<Entry>,
    peer: bool,
    sessions: Option<Sessions>,
}

impl<H> StreamService<H> {
    pub(super) fn new(service: H, entry: Arc<Entry>, peer: bool, kinds: Option<Kinds>) -> Self {
        let sessions = kinds.map(|kinds| Sessions { kinds, entry: entry.clone(), door: None });
        StreamService { service, entry, peer, sessions }
    }
}

impl<H: HttpService> Service<Request<Incoming>> for StreamService<H> {
    type Response = Response<TrackedBody<H::ResponseBody, InFlight>>;
    type Error = H::Failure;
    type Future = StreamFuture<H::Running>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::new(self.entry.clone());
        if self.peer {
            request.extensions_mut().insert(Peer::new(self.entry.clone()));
        }
        if let Some(sessions) = &self.sessions {
            sessions.add(&mut request, false, None);
        }
        StreamFuture { in_flight: Some(in_flight), running: self.service.call(request) }
    }
}

pin_project! {
    /// A request in flight, until its response is there.
    pub(super) struct StreamFuture<F> {
        in_flight: Option<InFlight>,
        #[pin]
        running: F,
    }
}

impl<F, B, E> Future for StreamFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B, InFlight>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.running.poll(cx))?;
        let in_flight = this.in_flight.take().expect("polled after its response");
        Poll::Ready(Ok(response.map(|body| TrackedBody::new(body, in_flight))))
    }
}

/// From the head of a request to the end of its response's body, or to whatever cut it short.
pub(super) struct InFlight {
    entry: Arc<Entry>,
}

impl InFlight {
    fn new(entry: Arc<Entry>) -> Self {
        entry.stream_began();
        InFlight { entry }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.entry.stream_ended();
    }
}
