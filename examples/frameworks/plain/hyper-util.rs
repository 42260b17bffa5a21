//! hyper-util, with HTTP/1 and HTTP/2 on one port, and an accept loop of one's own.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let builder = auto::Builder::new(TokioExecutor::new());
            let io = TokioIo::new(stream);
            tokio::spawn(async move { builder.serve_connection(io, service_fn(answer)).await });
        }
    });
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        _ => "Hello World".to_owned(),
    };
    Ok(Response::new(Full::new(body.into())))
}
