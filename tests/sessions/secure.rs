//! Over TLS nothing moves yet: a WebSocket is told so by its handler, and a stream ends where it began.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use heirloom::tls::tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tungstenite::{Message, client};

use super::tcp;
use support::{Server, Setup, Signal, alone, proc};

#[test]
fn over_tls_a_websocket_is_told_to_come_again_and_a_stream_ends_where_it_began() {
    let _alone = alone();
    let setup = Setup::example("live").listen("127.0.0.1:0");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| setup.dir().join(name));
    fs::write(&cert, made.cert.pem()).expect("a file");
    fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
    let server =
        setup.args(&["--probation", "100ms"]).arg("--tls-cert").arg(cert).arg("--tls-key").arg(key).start();
    let trust = made.cert.pem();

    let (mut socket, _) = client("wss://localhost/ws", connect(&server, &trust)).expect("a WebSocket");
    socket.send(Message::text("x")).expect("open");
    let answer = socket.read().expect("an answer");
    assert_eq!(answer, Message::text(format!("1 {} x", server.first_pid)));
    let mut stream = connect(&server, &trust);
    stream.write_all(b"GET /events?every=5ms&count=200 HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");

    proc::signal(server.first_pid, Signal::SIGUSR2);
    match socket.read().expect("a goodbye") {
        Message::Close(Some(frame)) => assert_eq!(u16::from(frame.code), 1012),
        other => panic!("{other:?}"),
    }
    while socket.read().is_ok() {}
    let (mut events, mut piece) = (String::new(), [0; 4096]);
    while !events.ends_with("\r\n0\r\n\r\n") {
        let count = stream.read(&mut piece).expect("more");
        assert!(count > 0, "cut off behind {events:?}");
        events.push_str(str::from_utf8(&piece[..count]).expect("text"));
    }
    assert!(events.contains(&format!("data: 200 {}\n", server.first_pid)));
    drop(stream);
    server.wait_for_exit(server.first_pid);
}

fn connect(server: &Server, trusted: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).expect("a certificate")).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a session"), tcp(server))
}
