//! What it costs that a WebSocket, a TLS connection and an HTTP/2 connection can move, in instructions: an echo of a
//! message, a request over TLS 1.3, and one over HTTP/2 with and without TLS, each beside the bare library.
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
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use heirloom::drain::{Kind, Tracker};
use heirloom::http::{Config, Server, Session};
use heirloom::stream::Stream;
use heirloom::tls::Tls;
use heirloom::tls::tokio_rustls::{TlsAcceptor, rustls};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
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
        ["ask-http2", address, count] => ask_http2(&mut connect(address)?, count.parse()?),
        ["ask-http2-tls", address, count] => ask_http2(&mut connect_tls(address, b"h2")?, count.parse()?),
        [mode, count] => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(mode, count))
        }
        _ => Err(
            "usage: bench-live websocket|tls|http2|http2-tls COUNT; also with -heirloom, http2 with -pings"
                .into(),
        ),
    }
}

async fn serve(mode: &str, count: &str) -> Failable<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let task = format!("ask-{}", mode.trim_end_matches("-heirloom").trim_end_matches("-pings"));
    let mut client = Command::new(std::env::current_exe()?);
    client.args([&task, &listener.local_addr()?.to_string(), count]).stdin(Stdio::piped());
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
        "http2" => _ = tokio::spawn(http2().serve_connection(TokioIo::new(stream), service_fn(hello))),
        // As heirloom has them, if it is asked to.
        "http2-pings" => {
            let mut builder = http2();
            builder.timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
            tokio::spawn(builder.serve_connection(TokioIo::new(stream), service_fn(hello)));
        }
        "http2-heirloom" => Server::new(Config::new(), service_fn(hello)).spawn(tracked(stream)),
        "http2-tls" => {
            let stream = TlsAcceptor::from(Arc::new(config(&made)?)).accept(stream).await?;
            tokio::spawn(http2().serve_connection(TokioIo::new(stream), service_fn(hello)));
        }
        "http2-tls-heirloom" => {
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
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn http2() -> http2::Builder<TokioExecutor> {
    http2::Builder::new(TokioExecutor::new())
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
    let mut stream = connect(address)?;
    stream.write_all(UPGRADE_REQUEST)?;
    read_until(&mut stream, b"\r\n\r\n")?;
    (0..count).try_for_each(|_| {
        // Masked with zeros.
        stream.write_all(b"\x81\x85\0\0\0\0hello")?;
        read_until(&mut stream, b"\x81\x05hello")
    })
}

fn ask_tls(address: &str, count: usize) -> Failable<()> {
    let mut stream = connect_tls(address, b"http/1.1")?;
    (0..count).try_for_each(|_| {
        stream.write_all(REQUEST)?;
        read_until(&mut stream, b"\r\n\r\nhello")
    })
}

/// One request at a time, as a client's encoder writes it once it has written it before.
fn ask_http2(stream: &mut (impl Read + Write), count: usize) -> Failable<()> {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    for at in 0..u32::try_from(count)? {
        let (block, id) = (if at == 0 { FIRST_BLOCK } else { BLOCK }, 2 * at + 1);
        let mut request = vec![0, 0, u8::try_from(block.len())?, HEADERS, END_STREAM | END_HEADERS];
        request.extend_from_slice(&id.to_be_bytes());
        request.extend_from_slice(block);
        stream.write_all(&request)?;
        while !hears_end(stream, id)? {}
    }
    Ok(())
}

/// Reads a frame, and answers SETTINGS. Whether it ends that stream. A window is never full: there is no need to
/// give more.
fn hears_end(stream: &mut (impl Read + Write), id: u32) -> Failable<bool> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let [_, a, b, kind, flags, of @ ..] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([a, b]))];
    stream.read_exact(&mut payload)?;
    if kind == SETTINGS && flags == 0 {
        stream.write_all(&[0, 0, 0, SETTINGS, 1, 0, 0, 0, 0])?;
    }
    Ok(matches!(kind, HEADERS | DATA) && u32::from_be_bytes(of) == id && flags & END_STREAM != 0)
}

fn connect(address: &str) -> Failable<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn connect_tls(address: &str, protocol: &[u8]) -> Failable<StreamOwned<ClientConnection, TcpStream>> {
    let mut pem = String::new();
    std::io::stdin().read_to_string(&mut pem)?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes())?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
    Ok(StreamOwned::new(session, connect(address)?))
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

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The same by HPACK: fields that are to be kept in the table, and then by their numbers there.
const FIRST_BLOCK: &[u8] = b"\x82\x86\x44\x06/hello\x41\x0elocalhost:8080\x53\x03*/*\x7a\x05bench";
const BLOCK: &[u8] = b"\x82\x86\xc1\xc0\xbf\xbe";

const UPGRADE_REQUEST: &[u8] = b"GET /ws HTTP/1.1\r\nhost: localhost:8080\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
