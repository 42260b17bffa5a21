//! The user's service on HTTP/1, watched: when a request begins, when hyper has all of its response, and what
//! the response says about the connection.
//!
//! HTTP/2 has [its own](super::streams): what is called from one place only is inlined into hyper's code there, and
//! only then a request and a response are not moved once more for each wrapper.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::Service;
use hyper::{Method, Request, Response, StatusCode};
use pin_project_lite::pin_project;

use super::peer::Peer;
use crate::drain::Entry;

/// What can be served: every [`hyper::service::Service`] from a request to a response that can be cloned
/// for each connection and sent between threads.
///
/// Implemented for all of them; tower services come in through [`Server::tower`](super::Server::tower).
pub trait HttpService:
    Service<
        Request<Incoming>,
        Response = Response<Self::ResponseBody>,
        Error = Self::Failure,
        Future = Self::Running,
    > + Clone
    + Send
    + 'static
{
    /// The body of its responses.
    type ResponseBody: Body<Data: Send + 'static, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static;
    /// A failure ends the connection without an answer.
    type Failure: Into<Box<dyn Error + Send + Sync>>;
    /// A request in flight.
    type Running: Future<Output = Result<Response<Self::ResponseBody>, Self::Failure>> + Send + 'static;
}

impl<S, B> HttpService for S
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type ResponseBody = B;
    type Failure = S::Error;
    type Running = S::Future;
}

/// A service that tells its HTTP/1 connection's entry what it does.
#[derive(Clone)]
pub struct TrackedService<H> {
    service: H,
    entry: Arc<Entry>,
    peer: bool,
}

impl<H> TrackedService<H> {
    pub(super) fn new(service: H, entry: Arc<Entry>, peer: bool) -> Self {
        TrackedService { service, entry, peer }
    }

    pub(super) fn into_inner(self) -> H {
        self.service
    }

    #[cold]
    fn insert_peer(&self, request: &mut Request<Incoming>) {
        request.extensions_mut().insert(Peer::new(self.entry.clone()));
    }
}

impl<H: HttpService> Service<Request<Incoming>> for TrackedService<H> {
    type Response = Response<TrackedBody<H::ResponseBody>>;
    type Error = H::Failure;
    type Future = TrackedFuture<H::Running>;

    #[inline(always)]
    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.entry.request_began(!request.body().is_end_stream(), request.method() == Method::CONNECT);
        if self.peer {
            self.insert_peer(&mut request);
        }
        let running = self.service.call(request);
        TrackedFuture { in_flight: Some(InFlight { entry: self.entry.clone() }), running }
    }
}

pin_project! {
    /// A request in flight, until its response is there.
    pub struct TrackedFuture<F> {
        in_flight: Option<InFlight>,
        #[pin]
        running: F,
    }
}

impl<F, B, E> Future for TrackedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B>>, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut parts, body) = match ready!(this.running.poll(cx)) {
            Ok(response) => response.into_parts(),
            Err(error) => return Poll::Ready(Err(error)),
        };
        let in_flight = this.in_flight.take().expect("polled after its response");
        let entry = &in_flight.entry;
        // The last moment: hyper writes the head in this same poll.
        if parts.status == StatusCode::SWITCHING_PROTOCOLS
            || (parts.status.is_success() && entry.stage().connect)
        {
            // Before hyper hands out the upgraded connection, whose new tasks must be known to the hammer.
            entry.upgrade();
        } else if entry.is_draining() && !entry.is_moving() {
            parts.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(Response::from_parts(parts, TrackedBody { body, in_flight })))
    }
}

pin_project! {
    /// A response's body; the request is in flight until it is dropped.
    pub struct TrackedBody<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
    }
}

impl<B: Body> Body for TrackedBody<B> {
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
#[derive(Debug)]
struct InFlight {
    entry: Arc<Entry>,
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        self.entry.request_ended();
    }
}

impl<H> fmt::Debug for TrackedService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedService").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for TrackedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedFuture").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}

impl<B> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").field("in_flight", &self.in_flight).finish_non_exhaustive()
    }
}
