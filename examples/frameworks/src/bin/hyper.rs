//! hyper, with an accept loop of one's own.

use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let mut listener = restarter.listen(address)?.into_incoming();
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            let io = TokioIo::new(stream);
            tokio::spawn(async move { http1::Builder::new().serve_connection(io, service_fn(answer)).await });
        }
    });
    Ok(restarter.run().await?)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        _ => "Hello World".to_owned(),
    };
    Ok(Response::new(Full::new(body.into())))
}
