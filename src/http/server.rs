//! A service and how to serve it: what an accept loop holds.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use super::config::{Config, Prepared};
use super::service::HttpService;
use super::serving::{ServeError, Serving};
use super::tower::Tower;
use crate::drain::Connection;

/// Serves tracked connections with one service. Clones are cheap, apart from the service's own.
///
/// ```
/// # use heirloom::{drain::{Kind, Tracker}, http::{Config, Server}, stream::Stream};
/// # async fn run(listener: tokio::net::TcpListener) -> std::io::Result<()> {
/// let router = axum::Router::new().route("/", axum::routing::get(|| async { "Hello World" }));
/// let server = Server::tower(Config::new(), router);
/// let tracker = Tracker::new();
/// loop {
///     let (stream, _) = listener.accept().await?;
///     server.spawn(tracker.track(Stream::from(stream), Kind::Http1));
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct Server<H> {
    prepared: Arc<Prepared>,
    service: H,
}

impl<H: HttpService> Server<H> {
    /// Serves a hyper service.
    pub fn new(config: Config, service: H) -> Self {
        Server { prepared: Arc::new(config.prepare()), service }
    }

    /// Serves one connection to its end. The future does all the work: it must be polled, and dropping it
    /// drops the connection.
    pub fn serve<S>(&self, connection: Connection<S>) -> Serving<S, H>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        Serving::new(self.prepared.clone(), connection, self.service.clone())
    }

    /// Serves one connection on a task of its own; how it ended is told by `tracing` events.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn spawn<S>(&self, connection: Connection<S>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(Spawned { serving: self.serve(connection) });
    }
}

impl<T> Server<Tower<T>>
where
    Tower<T>: HttpService,
{
    /// Serves a tower service, such as an `axum::Router`.
    pub fn tower(config: Config, service: T) -> Self {
        Server::new(config, Tower::new(service))
    }
}

/// Serves one connection, where there is no more than that. See [`Server::serve`].
pub fn serve_connection<S, H>(config: &Config, connection: Connection<S>, service: H) -> Serving<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    Serving::new(Arc::new(config.prepare()), connection, service)
}

/// Not an async block: that would hold the connection's future twice, for as long as it lives.
struct Spawned<S, H: HttpService> {
    serving: Serving<S, H>,
}

impl<S, H> Future for Spawned<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    type Output = ();

    #[inline(always)]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match Pin::new(&mut self.serving).poll(cx) {
            Poll::Ready(ended) => {
                tell(self.serving.id(), ended);
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cold]
fn tell(id: u64, ended: Result<(), ServeError>) {
    match ended {
        Ok(()) => say!(trace: connection = id, "connection ended"),
        Err(ServeError::Hammered) => say!(warn: connection = id, "connection aborted by the hammer"),
        Err(error) => {
            say!(debug: connection = id, error = &error as &(dyn std::error::Error + 'static), "connection ended")
        }
    }
}

impl<H> fmt::Debug for Server<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("prepared", &self.prepared).finish_non_exhaustive()
    }
}
