//! Answers each gRPC call with its own message, as the bytes that came, cleartext or over TLS.

use std::error::Error;
use std::path::PathBuf;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use heirloom::http::{Config, Server};
use heirloom::tls::Tls;
use heirloom::{Ending, Restarter};
use http_body_util::{BodyExt, Full};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut listen, mut cert, mut key) = (None, None, None);
    let mut builder = Restarter::builder();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or("a value is missing")?;
        match argument.as_str() {
            "--listen" => listen = Some(value),
            "--tls-cert" => cert = Some(PathBuf::from(value)),
            "--tls-key" => key = Some(PathBuf::from(value)),
            "--probation" => builder = builder.probation(humantime::parse_duration(&value)?),
            "--pid-file" => builder = builder.pid_file(value),
            other => return Err(format!("no option {other}").into()),
        }
    }
    let restarter = builder.start()?;
    let server = Server::tower(Config::new(), Router::new().fallback(echo));
    let address = listen.ok_or("--listen is missing")?;
    let listener = restarter.check(restarter.listen(&address)).await?;
    println!("listening on {}", listener.local_addr());
    if let Some((cert, key)) = cert.zip(key) {
        let tls = restarter.check(Tls::from_pem_files(cert, key)).await?;
        tls.inherit_tickets(&restarter).await;
        server.accept_tls_from(listener, &tls);
    } else {
        server.accept_from(listener);
    }
    Ok(restarter.run().await?)
}

async fn echo(call: Bytes) -> Response {
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().expect("a name"), HeaderValue::from_static("0"))]);
    let body = Full::new(call).with_trailers(async { Some(Ok(trailers)) });
    let response = Response::builder().header("content-type", "application/grpc");
    response.body(Body::new(body)).expect("a response")
}
