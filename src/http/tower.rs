//! A tower service, served as a hyper service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::service::Service;
use pin_project_lite::pin_project;

/// A tower service (an `axum::Router`, say) as [`http::serve`](super::serve) serves it: each request waits
/// until a clone of the service is ready, and is then given to that clone.
#[derive(Clone, Debug)]
pub struct Tower<T>(T);

impl<T> Tower<T> {
    /// Wraps it.
    pub fn new(service: T) -> Tower<T> {
        Tower(service)
    }
}

impl<T, R> Service<R> for Tower<T>
where
    T: tower_service::Service<R> + Clone,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = Called<T, R>;

    fn call(&self, request: R) -> Called<T, R> {
        Called::Waiting { service: self.0.clone(), request: Some(request) }
    }
}

pin_project! {
    /// One request to a tower service.
    #[project = At]
    #[derive(Debug)]
    pub enum Called<T, R>
    where
        T: tower_service::Service<R>,
    {
        /// The service is not ready yet.
        #[doc(hidden)]
        Waiting { service: T, request: Option<R> },
        /// The request is in flight.
        #[doc(hidden)]
        Running {
            #[pin]
            future: T::Future,
        },
    }
}

impl<T, R> Future for Called<T, R>
where
    T: tower_service::Service<R>,
{
    type Output = Result<T::Response, T::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                At::Running { future } => return future.poll(cx),
                At::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("it is taken once, on the way to the other state"))
                }
            };
            self.set(Called::Running { future });
        }
    }
}
