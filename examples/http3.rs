//! HTTP/1, HTTP/2 and HTTP/3 on one port: each answer over TCP says that there is HTTP/3, too (Alt-Svc).
//!
//! `http3 --listen ADDR --cert PEM --key PEM [--drain-timeout 60s] [--pid-file PATH]`, then `kill -USR2 PID`.
//! HTTP/1 and HTTP/2 connections move to the new process. Clients of HTTP/3 are told to go (GOAWAY): what they have
//! asked for is answered, and what they ask next is with the new process. `/pid` says which one answers.

use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use h3::server::RequestResolver;
use heirloom::http::{Config, Server};
use heirloom::quic::quinn::rustls::ServerConfig;
use heirloom::quic::{Quic, quinn};
use heirloom::tls::Tls;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use heirloom::{Ending, Restarter};
use http_body_util::Full;
use hyper::body::{Buf, Bytes};
use hyper::service::service_fn;
use hyper::{Request, Response};
use lexopt::{Arg, ValueExt};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

/// How long a connection that was told to go may be without a request: nobody takes longer to hear of it.
const LINGER: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<Ending, Failure> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut listen, mut cert, mut key) = (String::from("127.0.0.1:8443"), PathBuf::new(), PathBuf::new());
    let mut builder = Restarter::builder();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        let Arg::Long(name) = argument else { return Err(argument.unexpected().into()) };
        match name.to_owned().as_str() {
            "listen" => listen = parser.value()?.parse()?,
            "cert" => cert = parser.value()?.into(),
            "key" => key = parser.value()?.into(),
            "drain-timeout" => {
                builder = builder.drain_timeout(parser.value()?.parse_with(humantime::parse_duration)?)
            }
            "probation" => {
                builder = builder.probation(parser.value()?.parse_with(humantime::parse_duration)?)
            }
            "pid-file" => builder = builder.pid_file(parser.value()?),
            name => return Err(Arg::Long(name).unexpected().into()),
        }
    }
    let restarter = builder.start()?;
    let tls = restarter.check(Tls::from_pem_files(&cert, &key)).await?;
    tls.inherit_tickets(&restarter).await;
    let listener = restarter.check(restarter.listen(&listen)).await?;
    let address = listener.local_addr().inet().ok_or("not an IP address")?;
    let quic = restarter.check(Quic::inherit(&restarter).await).await?;
    let config = restarter.check(quic.server_config(config(&cert, &key)?)).await?;
    let endpoint = restarter.check(quic.endpoint(address, config)).await?;
    println!("listening on {address}");

    let alternative = format!("h3=\":{}\"; ma=86400", address.port());
    let service = service_fn(move |_: Request<_>| {
        let response = Response::builder().header("alt-svc", &alternative);
        async move { Ok::<_, Infallible>(response.body(Full::new(pid())).expect("a response")) }
    });
    Server::new(Config::new(), service).accept_tls_from(listener, &tls);
    let handler = restarter.clone();
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            let draining = handler.draining();
            tokio::spawn(async move {
                if let Err(error) = serve(incoming, draining).await {
                    tracing::debug!(%error, "a connection has ended");
                }
            });
        }
    });
    Ok(restarter.run().await?)
}

fn config(cert: &Path, key: &Path) -> Result<ServerConfig, Failure> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let provider = quinn::rustls::crypto::ring::default_provider();
    let mut config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&quinn::rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(config)
}

type Http = h3::server::Connection<h3_quinn::Connection, Bytes>;

async fn serve(incoming: quinn::Incoming, draining: impl Future<Output = ()>) -> Result<(), Failure> {
    let mut http = Http::new(h3_quinn::Connection::new(incoming.await?)).await?;
    let (mut requests, mut asked, mut is_draining, mut is_told) = (JoinSet::new(), false, false, false);
    tokio::pin!(draining);
    loop {
        tokio::select! {
            accepted = http.accept() => match accepted? {
                Some(request) => {
                    requests.spawn(answer(request));
                    asked = true;
                }
                None => return Ok(()),
            },
            Some(_) = requests.join_next() => {}
            () = &mut draining, if !is_draining => is_draining = true,
            () = tokio::time::sleep(LINGER), if is_draining && requests.is_empty() => {
                return Ok(http.shutdown(1).await?);
            }
        }
        // Before its first request h3 would say that this one is not answered, and it may be on its way.
        if is_draining && asked && !is_told {
            is_told = true;
            // All that are on their way are answered: which those are, nobody knows yet.
            http.shutdown(usize::MAX).await?;
        }
    }
}

/// The process id, and what was sent.
async fn answer(request: RequestResolver<h3_quinn::Connection, Bytes>) -> Result<(), Failure> {
    let (_, mut stream) = request.resolve_request().await?;
    let mut body = pid().to_vec();
    while let Some(mut more) = stream.recv_data().await? {
        body.extend_from_slice(&more.copy_to_bytes(more.remaining()));
    }
    stream.send_response(Response::new(())).await?;
    stream.send_data(body.into()).await?;
    Ok(stream.finish().await?)
}

fn pid() -> Bytes {
    std::process::id().to_string().into()
}
