//! The user's service on HTTP/2, and beside it the answer to a [ghost](super::h2).

use std::cell::Cell;
use std::future::Future;
use std::io::IoSlice;
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

/// A service on a connection that may come from a predecessor.
pub(super) struct StreamService<H> {
    service: H,
    introduction: Option<Introduction>,
    sessions: Option<Sessions>,
    /// The first request is none of a client's, and is answered with that many bytes.
    ghost: Cell<Option<u32>>,
}

impl<H> StreamService<H> {
    pub(super) fn new(
        service: H,
        entry: &Arc<Entry>,
        introduction: Option<Introduction>,
        kinds: Option<Kinds>,
        moves: bool,
    ) -> Self {
        let sessions = kinds.map(|kinds| Sessions { kinds, entry: entry.clone(), door: None, count: !moves });
        StreamService { service, introduction, sessions, ghost: Cell::new(None) }
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
        if let Some(introduction) = &self.introduction {
            introduction.make(request.extensions_mut());
        }
        if let Some(sessions) = &self.sessions {
            sessions.add(&mut request, false, None);
        }
        StreamFuture::Request { running: self.service.call(request) }
    }
}

pin_project! {
    /// A request, until its response is there.
    #[project = StreamFutureProjected]
    pub(super) enum StreamFuture<F> {
        Request {
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

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            StreamFutureProjected::Request { running } => {
                let response = ready!(running.poll(cx))?;
                Poll::Ready(Ok(response.map(|body| StreamBody::Response { body })))
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
            #[pin]
            body: B,
        },
        Ghost {
            left: u32,
        },
    }
}

/// A part of a body.
pub(super) enum StreamData<D> {
    Response(D),
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
            StreamBodyProjected::Response { body } => body
                .poll_frame(cx)
                .map(|polled| polled.map(|result| result.map(|frame| frame.map_data(StreamData::Response)))),
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
            StreamBody::Response { body } => body.is_end_stream(),
            StreamBody::Ghost { left } => *left == 0,
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match self {
            StreamBody::Response { body } => body.size_hint(),
            StreamBody::Ghost { left } => SizeHint::with_exact((*left).into()),
        }
    }
}

impl<D: Buf> Buf for StreamData<D> {
    #[inline]
    fn remaining(&self) -> usize {
        match self {
            StreamData::Response(data) => data.remaining(),
            StreamData::Ghost(data) => data.remaining(),
        }
    }

    #[inline]
    fn chunk(&self) -> &[u8] {
        match self {
            StreamData::Response(data) => data.chunk(),
            StreamData::Ghost(data) => data.chunk(),
        }
    }

    #[inline]
    fn advance(&mut self, count: usize) {
        match self {
            StreamData::Response(data) => data.advance(count),
            StreamData::Ghost(data) => data.advance(count),
        }
    }

    #[inline]
    fn chunks_vectored<'a>(&'a self, parts: &mut [IoSlice<'a>]) -> usize {
        match self {
            StreamData::Response(data) => data.chunks_vectored(parts),
            StreamData::Ghost(data) => data.chunks_vectored(parts),
        }
    }

    #[inline]
    fn copy_to_bytes(&mut self, count: usize) -> Bytes {
        match self {
            StreamData::Response(data) => data.copy_to_bytes(count),
            StreamData::Ghost(data) => data.copy_to_bytes(count),
        }
    }
}

/// What a ghost is answered with.
static NOTHING: [u8; 16 << 10] = [0; 16 << 10];
