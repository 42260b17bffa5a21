//! The user's service on HTTP/2, watched: how many requests are in flight.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use pin_project_lite::pin_project;

use super::peer::Peer;
use super::service::HttpService;
use crate::drain::Entry;

/// A service whose requests its connection's entry counts.
pub(super) struct StreamService<H> {
    service: H,
    entry: Arc<Entry>,
    peer: bool,
}

impl<H> StreamService<H> {
    pub(super) fn new(service: H, entry: Arc<Entry>, peer: bool) -> Self {
        StreamService { service, entry, peer }
    }
}

impl<H: HttpService> Service<Request<Incoming>> for StreamService<H> {
    type Response = Response<StreamBody<H::ResponseBody>>;
    type Error = H::Failure;
    type Future = StreamFuture<H::Running>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = InFlight::new(self.entry.clone());
        if self.peer {
            request.extensions_mut().insert(Peer::new(self.entry.clone()));
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
    type Output = Result<Response<StreamBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.running.poll(cx))?;
        let in_flight = this.in_flight.take().expect("polled after its response");
        Poll::Ready(Ok(response.map(|body| StreamBody { body, in_flight })))
    }
}

pin_project! {
    /// A response's body; the request is in flight until it is dropped.
    pub(super) struct StreamBody<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
    }
}

impl<B: Body> Body for StreamBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// From the head of a request to the end of its response's body, or to whatever cut it short.
struct InFlight {
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
