//! The user's service on HTTP/1, watched: when a request begins, when hyper has all of its response, and what
//! the response says about the connection.
//!
//! HTTP/2 has [its own](super::streams): what is called from one place only is inlined into hyper's code
//! there, and only then a request and a response are not moved once more for each wrapper.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Method, Request, Response};
use pin_project_lite::pin_project;

use super::baggage::Baggage;
use super::body::TrackedBody;
use super::peer::Introduction;
use super::session::{Door, Sessions};
use super::turn;

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
pub(super) struct TrackedService<H> {
    service: H,
    /// Rare, and so behind a pointer.
    extras: Option<Box<Extras>>,
}

/// What each request of a connection carries, for services that want that.
#[derive(Clone, Debug)]
pub(super) struct Extras {
    pub(super) introduction: Option<Introduction>,
    pub(super) baggage: Option<Baggage>,
    pub(super) sessions: Option<Sessions>,
}

impl<H> TrackedService<H> {
    pub(super) fn new(service: H, extras: Option<Extras>) -> Self {
        TrackedService { service, extras: extras.map(Box::new) }
    }

    /// What is to go with the connection.
    pub(super) fn state(&self) -> Option<Vec<u8>> {
        self.extras.as_ref()?.baggage.clone()?.into_state()
    }

    /// The connection has been put together again.
    pub(super) fn with_door(mut self, door: Option<Arc<dyn Door>>) -> Self {
        if let Some(Extras { sessions: Some(sessions), .. }) = self.extras.as_deref_mut() {
            sessions.door = door;
        }
        self
    }

    pub(super) fn into_inner(self) -> H {
        self.service
    }
}

impl<H: HttpService> Service<Request<Incoming>> for TrackedService<H> {
    type Response = Response<TrackedBody<H::ResponseBody, InFlight>>;
    type Error = H::Failure;
    type Future = TrackedFuture<H::Running>;

    #[inline(always)]
    fn call(&self, request: Request<Incoming>) -> Self::Future {
        // hyper gives an extension to what can become an upgrade, and to nothing else.
        let body = !matches!(*request.method(), Method::GET | Method::HEAD);
        let may_upgrade = !request.extensions().is_empty();
        turn::request_began(body, may_upgrade);
        if let Some(extras) = &self.extras {
            return extras.call(&self.service, request, may_upgrade);
        }
        TrackedFuture { running: self.service.call(request) }
    }
}

impl Extras {
    #[cold]
    #[inline(never)]
    fn call<H: HttpService>(
        &self,
        service: &H,
        mut request: Request<Incoming>,
        may_upgrade: bool,
    ) -> TrackedFuture<H::Running> {
        if let Some(sessions) = &self.sessions {
            sessions.add(&mut request, may_upgrade, self.baggage.as_ref());
        }
        if let Some(introduction) = &self.introduction {
            introduction.make(request.extensions_mut());
        }
        if let Some(baggage) = &self.baggage {
            request.extensions_mut().insert(baggage.clone());
        }
        TrackedFuture { running: service.call(request) }
    }
}

pin_project! {
    /// A request in flight, until its response is there.
    pub(super) struct TrackedFuture<F> {
        #[pin]
        running: F,
    }
}

impl<F, B, E> Future for TrackedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TrackedBody<B, InFlight>>, E>;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if turn::holds_back() {
            return Poll::Pending;
        }
        self.project().running.poll(cx).map(|result| match result {
            Ok(response) => Ok(response.map(|body| TrackedBody::new(body, InFlight))),
            Err(error) => Err(error),
        })
    }
}

/// From the head of a request to the end of its response's body, or to whatever cut it short.
#[derive(Debug)]
pub(super) struct InFlight;

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        turn::request_ended();
    }
}

impl<H> fmt::Debug for TrackedService<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedService").field("extras", &self.extras).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for TrackedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedFuture").finish_non_exhaustive()
    }
}
