//! The user's service on HTTP/2, watched: how many requests are in flight.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::{Request, Response};
use pin_project_lite::pin_project;

use super::peer::Introduction;
use super::service::HttpService;
use super::session::{Kinds, Sessions};
use crate::drain::Entry;

/// A service whose requests its connection's entry counts.
pub(super) struct StreamService<H> {
    service: H,
    entry: Arc<Entry>,
    introduction: Option<Introduction>,
    sessions: Option<Sessions>,
    /// The first request is none of a client's, and is answered with that many bytes.
    ghost: Cell<Option<u32>>,
}

impl<H> StreamService<H> {
    pub(super) fn new(
        service: H,
        entry: Arc<Entry>,
        introduction: Option<Introduction>,
        kinds: Option<Kinds>,
        moves: bool,
    ) -> Self {
        let sessions = kinds.map(|kinds| Sessions { kinds, entry: entry.clone(), door: None, count: !moves });
        StreamService { service, entry, introduction, sessions, ghost: Cell::new(None) }
    }

    pub(super) fn with_ghost(self, ghost: Option<u32>) -> Self {
        self.ghost.set(ghost);
        self
    }
}

impl<H: HttpService> Service<Request<Incoming>> for StreamService<H> {
    type Response = Response<StreamBody<H::ResponseBody>>;
    type Error = H::Failure;
    type Future = StreamFuture<H::Running>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(bytes) = self.ghost.take() {
            return StreamFuture::Ghost { bytes };
        }
        let in_flight = InFlight::new(self.entry.clone());
        if let Some(introduction) = &self.introduction {
            introduction.make(request.extensions_mut());
        }
        if let Some(sessions) = &self.sessions {
            sessions.add(&mut request, false, None);
        }
        StreamFuture::Request { in_flight: Some(in_flight), running: self.service.call(request) }
    }
}

pin_project! {
    /// A request in flight, until its response is there.
    #[project = StreamFutureProjected]
    pub(super) enum StreamFuture<F> {
        Request {
            in_flight: Option<InFlight>,
            #[pin]
            running: F,
        },
        Ghost {
            bytes: u32,
        },
    }
}

impl<F, B, E> Future for StreamFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<StreamBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            StreamFutureProjected::Request { in_flight, running } => {
                let response = ready!(running.poll(cx))?;
                let in_flight = in_flight.take().expect("polled after its response");
                Poll::Ready(Ok(response.map(|body| StreamBody::Response { in_flight, body })))
            }
            StreamFutureProjected::Ghost { bytes } => {
                Poll::Ready(Ok(Response::new(StreamBody::Ghost { left: *bytes })))
            }
        }
    }
}

pin_project! {
    /// A response's body.
    #[project = StreamBodyProjected]
    pub(super) enum StreamBody<B> {
        Response {
            in_flight: InFlight,
            #[pin]
            body: B,
        },
        Ghost {
            left: u32,
        },
    }
}

/// A part of a body, which waits until the client has a window for it.
pub(super) enum StreamData<D> {
    Response { _in_flight: InFlight, data: D },
    Ghost(Bytes),
}

impl<B: Body> Body for StreamBody<B> {
    type Data = StreamData<B::Data>;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, B::Error>>> {
        match self.project() {
            StreamBodyProjected::Response { in_flight, body } => {
                let part = |data| StreamData::Response { _in_flight: in_flight.clone(), data };
                body.poll_frame(cx)
                    .map(|polled| polled.map(|result| result.map(|frame| frame.map_data(part))))
            }
            StreamBodyProjected::Ghost { left: 0 } => Poll::Ready(None),
            StreamBodyProjected::Ghost { left } => {
                let part = (*left).min(NOTHING.len() as u32);
                *left -= part;
                let data = Bytes::from_static(&NOTHING[..part as usize]);
                Poll::Ready(Some(Ok(Frame::data(StreamData::Ghost(data)))))
            }
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match self {
            StreamBody::Response { body, .. } => body.is_end_stream(),
            StreamBody::Ghost { left } => *left == 0,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            StreamBody::Response { body, .. } => body.size_hint(),
            StreamBody::Ghost { left } => SizeHint::with_exact((*left).into()),
        }
    }
}

impl<D: Buf> Buf for StreamData<D> {
    #[inline]
    fn remaining(&self) -> usize {
        match self {
            StreamData::Response { data, .. } => data.remaining(),
            StreamData::Ghost(data) => data.remaining(),
        }
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        match self {
            StreamData::Response { data, .. } => data.chunk(),
            StreamData::Ghost(data) => data.chunk(),
        }
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        match self {
            StreamData::Response { data, .. } => data.advance(count),
            StreamData::Ghost(data) => data.advance(count),
        }
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, parts: &mut [std::io::IoSlice<'a>]) -> usize {
        match self {
            StreamData::Response { data, .. } => data.chunks_vectored(parts),
            StreamData::Ghost(data) => data.chunks_vectored(parts),
        }
    }

    #[inline]
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match self {
            StreamData::Response { data, .. } => data.copy_to_bytes(count),
            StreamData::Ghost(data) => data.copy_to_bytes(count),
        }
    }
}

/// From the head of a request until h2 has written the last of its response, or to whatever cut it short: the
/// body and each of its parts has one.
pub(super) struct InFlight {
    entry: Arc<Entry>,
}

impl InFlight {
    #[inline]
    fn new(entry: Arc<Entry>) -> Self {
        entry.stream_began();
        InFlight { entry }
    }
}

/// Counted once more: that is cheaper than to share one.
impl Clone for InFlight {
    #[inline]
    fn clone(&self) -> Self {
        InFlight::new(self.entry.clone())
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        self.entry.stream_ended();
    }
}

/// What a ghost is answered with.
static NOTHING: [u8; 16 << 10] = [0; 16 << 10];
