//! Over TLS 1.3 sessions go on as without TLS. Over 1.2 a WebSocket is told to come again by its handler,
//! and a stream ends where it began.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use heirloom::tls::tokio_rustls::rustls::version::{TLS12, TLS13};
use heirloom::tls::tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use tungstenite::{Message, client};

use super::tcp;
use support::{Server, Setup, Signal, alone, proc};

#[test]
fn over_tls_websockets_and_streams_go_on_through_restarts() {
    let _alone = alone();
    let (server, trust) = start();
    let (mut socket, _) =
        client("wss://localhost/ws", connect(&server, &trust, &TLS13)).expect("a WebSocket");
    let mut stream = connect(&server, &trust, &TLS13);
    stream.write_all(b"GET /events?every=5ms&count=400 HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
    let mut pid = server.first_pid;
    for asked in 1..=6 {
        socket.send(Message::text("x".repeat(30_000))).expect("open");
        let answer = socket.read().expect("an answer").into_text().expect("text");
        assert_eq!(answer.as_str(), format!("{asked} {pid} {}", "x".repeat(30_000)));
        // The client's keys change in the middle.
        socket.get_mut().conn.refresh_traffic_keys().expect("TLS 1.3");
        if asked % 2 == 0 {
            (pid, _) = server.replace(pid, Signal::SIGUSR2);
        }
    }
    let events = to_the_end(&mut stream);
    let numbers: Vec<u32> = events.lines().filter_map(event).collect();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>());
    // Its connection serves the next request.
    stream.write_all(b"GET /pid HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
    let count = stream.read(&mut [0; 4096]).expect("an answer");
    assert!(count > 0);
}

#[test]
fn over_tls_1_2_a_websocket_is_told_to_come_again_and_a_stream_ends_where_it_began() {
    let _alone = alone();
    let (server, trust) = start();
    let (mut socket, _) =
        client("wss://localhost/ws", connect(&server, &trust, &TLS12)).expect("a WebSocket");
    socket.send(Message::text("x")).expect("open");
    let answer = socket.read().expect("an answer");
    assert_eq!(answer, Message::text(format!("1 {} x", server.first_pid)));
    let mut stream = connect(&server, &trust, &TLS12);
    stream.write_all(b"GET /events?every=5ms&count=200 HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");

    proc::signal(server.first_pid, Signal::SIGUSR2);
    match socket.read().expect("a goodbye") {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1012),
        other => panic!("{other:?}"),
    }
    while socket.read().is_ok() {}
    let events = to_the_end(&mut stream);
    assert!(events.contains(&format!("data: 200 {}\n", server.first_pid)));
    drop(stream);
    server.wait_for_exit(server.first_pid);
}

/// The server, and the certificate to trust.
pub(super) fn start() -> (Server, String) {
    let (setup, trust) = certified(Setup::example("live").listen("127.0.0.1:0"));
    (setup.args(&["--probation", "100ms"]).start(), trust)
}

/// A server over TLS, and the certificate to trust.
pub(super) fn certified(setup: Setup) -> (Setup, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| setup.dir().join(name));
    fs::write(&cert, made.cert.pem()).expect("a file");
    fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    (setup.arg("--tls-cert").arg(cert).arg("--tls-key").arg(key), made.cert.pem())
}

fn to_the_end(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> String {
    let (mut events, mut piece) = (String::new(), [0; 4096]);
    while !events.ends_with("\r\n0\r\n\r\n") {
        let count = stream.read(&mut piece).expect("more");
        assert!(count > 0, "cut off behind {events:?}");
        events.push_str(str::from_utf8(&piece[..count]).expect("text"));
    }
    events
}

/// The number in `data: I PID`.
fn event(line: &str) -> Option<u32> {
    line.strip_prefix("data: ")?.split(' ').next()?.parse().ok()
}

fn connect(
    server: &Server,
    trusted: &str,
    version: &'static SupportedProtocolVersion,
) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a session"), tcp(server))
}
