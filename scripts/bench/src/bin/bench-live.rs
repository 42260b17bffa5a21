//! What it costs that a WebSocket and a TLS connection can move, in instructions: an echo of a message, and a
//! request over TLS 1.3, each beside the bare library.
//!
//! `scripts/bench-cost.sh` runs this under valgrind for each mode and prints the table. By hand:
//!
//! ```text
//! bench-live MODE COUNT       serves that many messages or requests of one connection
//! ```
//!
//! As in `bench-cost` one thread serves, the client is a process of its own, and the service is the same beside
//! and without heirloom. A WebSocket's handler that can move also listens for the time to leave.

use std::convert::Infallible;
use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use heirloom::drain::{Kind, Tracker};
use heirloom::http::{Config, Server, Session};
use heirloom::stream::Stream;
use heirloom::tls::Tls;
use heirloom::tls::tokio_rustls::{TlsAcceptor, rustls};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["ask-websocket", address, count] => ask_websocket(address, count.parse()?),
        ["ask-tls", address, count] => ask_tls(address, count.parse()?),
        [mode, count] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(mode, count))
        }
        _ => Err("usage: bench-live websocket|websocket-heirloom|tls|tls-heirloom COUNT".into()),
    }
}

async fn serve(mode: &str, count: &str) -> Failable<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let task = if mode.starts_with("tls") { "ask-tls" } else { "ask-websocket" };
    let mut client = Command::new(std::env::current_exe()?);
    client.args([task, &listener.local_addr()?.to_string(), count]).stdin(Stdio::piped());
    let mut client = client.spawn()?;
    client.stdin.take().expect("piped").write_all(made.cert.pem().as_bytes())?;
    let (stream, _) = listener.accept().await?;
    let tracker = Tracker::new();
    let tracked = |stream| tracker.track(Stream::from(stream), Kind::Raw);
    match mode {
        "websocket" => {
            let connection =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(upgrade));
            tokio::spawn(connection.with_upgrades());
        }
        "websocket-heirloom" => {
            Server::new(Config::new().move_websockets(true), service_fn(upgrade)).spawn(tracked(stream));
        }
        "tls" => {
            let stream = TlsAcceptor::from(Arc::new(config(&made)?)).accept(stream).await?;
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(hello)));
        }
        "tls-heirloom" => {
            let connection = Tls::new(config(&made)?)?.shake_hands(tracked(stream)).await?;
            Server::new(Config::new(), service_fn(hello)).spawn(connection);
        }
        other => return Err(format!("no mode {other}").into()),
    }
    // Off the thread that serves meanwhile.
    let ended = tokio::task::spawn_blocking(move || client.wait()).await??;
    if ended.success() { Ok(()) } else { Err("the client failed".into()) }
}

fn config(made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Failable<ServerConfig> {
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes())?;
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(config)
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(b"hello"))))
}

async fn upgrade(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let accept = derive_accept_key(request.headers()[SEC_WEBSOCKET_KEY].as_bytes());
    let session = request.extensions().get::<Session>().cloned();
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.expect("an upgrade");
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        match session {
            Some(session) => echo_until_leaving(socket, session).await,
            None => echo(socket).await,
        }
    });
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept);
    Ok(response.body(Full::default()).expect("a response"))
}

async fn echo(mut socket: WebSocketStream<TokioIo<Upgraded>>) {
    while let Some(Ok(message)) = socket.next().await {
        if socket.send(message).await.is_err() {
            return;
        }
    }
}

async fn echo_until_leaving(mut socket: WebSocketStream<TokioIo<Upgraded>>, session: Session) {
    let leaving = session.leaving();
    tokio::pin!(leaving);
    loop {
        tokio::select! {
            message = socket.next() => {
                let Some(Ok(message)) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            () = &mut leaving => return,
        }
    }
}

fn ask_websocket(address: &str, count: usize) -> Failable<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.write_all(UPGRADE_REQUEST)?;
    read_until(&mut stream, b"\r\n\r\n")?;
    (0..count).try_for_each(|_| {
        // Masked with zeros.
        stream.write_all(b"\x81\x85\0\0\0\0hello")?;
        read_until(&mut stream, b"\x81\x05hello")
    })
}

fn ask_tls(address: &str, count: usize) -> Failable<()> {
    let mut pem = String::new();
    std::io::stdin().read_to_string(&mut pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    let mut stream = StreamOwned::new(session, stream);
    (0..count).try_for_each(|_| {
        stream.write_all(REQUEST)?;
        read_until(&mut stream, b"\r\n\r\nhello")
    })
}

fn read_until(stream: &mut impl Read, end: &[u8]) -> Failable<()> {
    let mut read = [0; 1024];
    let mut length = 0;
    while !read[..length].ends_with(end) {
        match stream.read(&mut read[length..])? {
            0 => return Err(format!("not the answer: {}", read[..length].escape_ascii()).into()),
            more => length += more,
        }
    }
    Ok(())
}

/// What a browser's request to a small API is like.
const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nhost: localhost:8080\r\naccept: */*\r\nuser-agent: bench\r\n\r\n";

const UPGRADE_REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nhost: localhost:8080\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
