//! TLS through restarts: no request lost, sessions resumed instead of a storm of full handshakes, certificates read anew.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use heirloom::tls::tokio_rustls::rustls::client::Resumption;
use heirloom::tls::tokio_rustls::rustls::crypto::CryptoProvider;
use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use heirloom::tls::tokio_rustls::rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone, proc, says};

#[test]
fn clients_resume_their_sessions_with_the_successor() {
    let _alone = alone();
    let (server, client) = secure();
    assert_eq!(connect(&server, &client).1, HandshakeKind::Full, "the first one has no ticket");
    let mut shares = Vec::new();
    for _ in 0..4 {
        let kinds: Vec<_> = (0..25).map(|_| connect(&server, &client).1).collect();
        shares.push(kinds.iter().filter(|kind| **kind == HandshakeKind::Resumed).count());
        restart(&server, &client);
    }
    println!("resumed of 25, in the first generation and after each restart: {shares:?}");
    assert_eq!(shares, [25; 4]);
}

#[test]
fn g2_no_request_over_tls_is_lost() {
    let _alone = alone();
    let (server, client) = secure();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut stream = None;
                while !stop.load(Relaxed) {
                    let answer = ask(stream.get_or_insert_with(|| connect(&server, &client).0));
                    asked.fetch_add(1, Relaxed);
                    if answer.to_ascii_lowercase().contains("connection: close") {
                        stream = None;
                    }
                }
            });
        }
        for _ in 0..10 {
            restart(&server, &client);
            let before = asked.load(Relaxed);
            while asked.load(Relaxed) < before + 100 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Relaxed);
    });
    println!("{} requests over TLS in 10 restarts, none lost", asked.into_inner());
}

#[test]
fn g2_a_client_that_says_no_more_over_tls_gets_its_answer() {
    let _alone = alone();
    let (server, client) = secure();
    for _ in 0..20 {
        let mut stream = connect(&server, &client).0;
        stream.conn.writer().write_all(REQUEST).unwrap();
        stream.conn.send_close_notify();
        assert!(heard(&mut stream).starts_with("HTTP/1.1 200"));
    }
}

#[test]
fn g3_certificates_are_read_by_each_generation_and_bad_ones_change_nothing() {
    let _alone = alone();
    let (server, client) = secure();
    let pid = serving(&server, &client);
    fs::write(beside(&server, "key.pem"), "no key").unwrap();
    let mark = server.mark();
    proc::signal(pid, Signal::SIGUSR2);
    let line = server.wait_for_line(mark, says::FAILED);
    assert!(line.contains("private key") && line.contains("key.pem"), "{line}");
    assert_eq!(serving(&server, &client), pid);
    // A client that trusts the new certificate alone.
    let renewed = write_certificate(server.binary.path().parent().expect("a folder"));
    restart(&server, &client);
    assert_eq!(connect(&server, &renewed).1, HandshakeKind::Full);
}

pub(super) fn secure() -> (Server, Arc<ClientConfig>) {
    secure_with(&[])
}

pub(super) fn secure_with(args: &[&str]) -> (Server, Arc<ClientConfig>) {
    let (setup, client) = set_up(args);
    (setup.start(), client)
}

pub(super) fn set_up(args: &[&str]) -> (Setup, Arc<ClientConfig>) {
    let setup = Setup::example("secure").listen("127.0.0.1:0").args(args);
    let client = write_certificate(&setup.dir().join("bin"));
    (setup, client)
}

/// The process that answers.
pub(super) fn serving(server: &Server, client: &Arc<ClientConfig>) -> i32 {
    let answer = ask(&mut connect(server, client).0);
    answer.rsplit('\n').next().and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

/// Until the old process is gone.
fn restart(server: &Server, client: &Arc<ClientConfig>) {
    let (old, mark) = (serving(server, client), server.mark());
    proc::signal(old, Signal::SIGUSR2);
    server.wait_for_line(mark, "draining");
    server.wait_for_exit(old);
}

pub(super) fn beside(server: &Server, name: &str) -> PathBuf {
    server.binary.path().with_file_name(name)
}

/// Makes a certificate, and a client that trusts it and nothing else.
fn write_certificate(folder: &std::path::Path) -> Arc<ClientConfig> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    trusting(&made.cert.pem(), default_provider(), ALL_VERSIONS)
}

/// A client that trusts this server, with what it can do.
pub(super) fn client_of(
    server: &Server,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let pem = fs::read_to_string(beside(server, "cert.pem")).expect("its certificate");
    trusting(&pem, provider, versions)
}

fn trusting(
    pem: &str,
    provider: CryptoProvider,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let mut client = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::in_memory_sessions(64);
    Arc::new(client)
}

pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(super) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// Connects and asks once: only then has the client its ticket for the next time.
pub(super) fn connect(server: &Server, client: &Arc<ClientConfig>) -> (Secure, HandshakeKind) {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let mut stream = StreamOwned::new(session(client), open(address));
    let answer = ask(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let kind = stream.conn.handshake_kind().expect("it is done");
    (stream, kind)
}

fn session(client: &Arc<ClientConfig>) -> ClientConnection {
    ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap()
}

fn open(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("accepting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// One request, and its whole answer.
pub(super) fn ask(stream: &mut Secure) -> String {
    stream.write_all(REQUEST).expect("open");
    heard(stream)
}

/// What comes, to the end of an answer.
pub(super) fn heard(stream: &mut Secure) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                return String::from_utf8(answer).expect("text");
            }
        }
        let read = stream.read(&mut chunk).expect("an answer");
        assert_ne!(read, 0, "cut off after {text:?}");
        answer.extend_from_slice(&chunk[..read]);
    }
}
