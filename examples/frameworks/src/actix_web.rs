//! In the place of `actix_web::HttpServer`, which accepts on sockets of the kernel and on nothing else.
//!
//! It serves HTTP/1 with what is below `HttpServer`: the service that a worker makes of an `App` takes any
//! connection.

use std::fmt::Debug;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::thread::available_parallelism;

use actix_http::{HttpService, Request, Response};
use actix_rt::Arbiter;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::AppConfig;
use heirloom::Listener;
use heirloom::http::{Incoming, Lent};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// Lends what a listener accepts to the workers of an app in turn.
pub struct HttpServer<F> {
    app: F,
    incoming: Incoming,
}

impl<F> HttpServer<F> {
    /// Takes what makes an app, and the listener.
    pub fn new(app: F, listener: Listener) -> HttpServer<F> {
        HttpServer { app, incoming: listener.into_incoming() }
    }

    /// Where it listens.
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.incoming.local_addr().inet().into_iter().collect()
    }

    /// Serves with a worker for each processor. It does not return: the drain ends what was lent.
    pub async fn run<I, S, B>(mut self) -> io::Result<()>
    where
        F: Fn() -> I + Clone + Send + 'static,
        I: IntoServiceFactory<S, Request>,
        S: ServiceFactory<Request, Config = AppConfig> + 'static,
        S::Error: Into<actix_web::Error> + 'static,
        S::InitError: Debug,
        S::Response: Into<Response<B>> + 'static,
        B: MessageBody + 'static,
    {
        let count = available_parallelism().map_or(1, usize::from);
        let mut workers = Vec::new();
        for _ in 0..count {
            workers.push(start(self.app.clone()).await?);
        }
        let mut turn = workers.iter().cycle();
        while let Some(lent) = self.incoming.accept().await {
            let (_, worker) = turn.next().expect("there is a worker");
            worker.send(lent).map_err(|_| io::Error::other("a worker has ended"))?;
        }
        pending().await
    }
}

async fn start<F, I, S, B>(app: F) -> io::Result<(Arbiter, UnboundedSender<Lent>)>
where
    F: Fn() -> I + Send + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: Debug,
    S::Response: Into<Response<B>> + 'static,
    B: MessageBody + 'static,
{
    let (lend, mut lent) = unbounded_channel::<Lent>();
    let (started, starts) = oneshot::channel();
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        actix_rt::spawn(async move {
            let app = app().into_factory().map_err(Into::<actix_web::Error>::into);
            let app = map_config(app, |()| AppConfig::default());
            let service = match HttpService::build().h1(app).new_service(()).await {
                Ok(service) => service,
                Err(()) => return,
            };
            let _ = started.send(());
            while let Some(lent) = lent.recv().await {
                let peer = lent.peer_addr().and_then(|address| address.inet());
                actix_rt::spawn(service.call((lent, peer)));
            }
        });
    });
    starts.await.map_err(|_| io::Error::other("a worker does not start: its app has failed"))?;
    Ok((arbiter, lend))
}
