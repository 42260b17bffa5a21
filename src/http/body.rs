//! A response's body, watched: the request is in flight until hyper has all of it, or wants no more.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

pin_project! {
    /// A response's body; the request is in flight until it is dropped, and with it what stands for that.
    pub(super) struct TrackedBody<B, G> {
        in_flight: G,
        #[pin]
        body: B,
    }
}

impl<B, G> TrackedBody<B, G> {
    #[inline]
    pub(super) fn new(body: B, in_flight: G) -> Self {
        TrackedBody { in_flight, body }
    }
}

impl<B: Body, G> Body for TrackedBody<B, G> {
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

impl<B, G> fmt::Debug for TrackedBody<B, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody").finish_non_exhaustive()
    }
}
