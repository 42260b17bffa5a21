//! A client shows its certificate once, and handlers know it in every generation after that.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use heirloom::tls::tokio_rustls::TlsConnector;
use heirloom::tls::tokio_rustls::client::TlsStream;
use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use heirloom::tls::tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::client::conn::{http1::SendRequest as Http1, http2::SendRequest as Http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair};
use support::load::Target;
use support::{PATIENCE, Server, Signal, alone, beside_others, skip};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::tls::{beside, set_up};

#[tokio::test(flavor = "multi_thread")]
async fn handlers_know_what_a_client_has_shown_in_every_generation() {
    let _beside_others = beside_others();
    let server = asking();
    // The larger one is more than goes along with a connection between two requests without TLS.
    for name in ["client", "large"] {
        let shown = CertificateDer::from_pem_file(beside(&server, &format!("{name}.pem"))).expect("PEM");
        let shown: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        let config = showing(&server, name, "http/1.1");
        let mut http1 = over_http1(connect(&server, &config).await).await;
        let mut http2 = over_http2(connect(&server, &showing(&server, name, "h2")).await).await;
        let mut pid = who(http1.send_request(request())).await.0;
        for _ in 0..3 {
            http1.ready().await.expect("open");
            assert_eq!(who(http1.send_request(request())).await, (pid, shown.clone()), "HTTP/1");
            assert_eq!(who(http2.send_request(request())).await, (pid, shown.clone()), "HTTP/2");
            (pid, _) = tokio::task::block_in_place(|| server.replace(pid, Signal::SIGUSR2));
        }
        // And who comes again with its ticket has shown it before.
        let stream = connect(&server, &config).await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
        assert_eq!(who(over_http1(stream).await.send_request(request())).await, (pid, shown));
    }
}

/// Python's ssl, openssl s_client, curl and Node, by the same program that makes the full table:
/// `scripts/tls-test.sh`.
#[test]
fn clients_of_other_libraries_keep_their_connections_and_are_known() {
    let in_venv = support::python::venv_python();
    let python = if in_venv.is_file() { in_venv } else { "python3".into() };
    let has_tls = Command::new(&python).args(["-c", "import ssl; ssl.TLSVersion.TLSv1_3"]).status();
    if !has_tls.is_ok_and(|status| status.success()) {
        return skip("no Python with ssl");
    }
    let _alone = alone();
    let server = asking();
    let output = Command::new(python)
        .arg(support::programs::checkout("scripts/tls-load.py"))
        .args([&server.target().to_string(), &server.first_pid.to_string(), "16", "3"])
        .args(["client.pem", "client-key.pem"].map(|name| beside(&server, name)))
        .output()
        .expect("a Python");
    let shown = String::from_utf8_lossy(&output.stdout);
    println!("{shown}");
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
}

/// A server that asks clients for certificates. Beside it lie those of two clients.
fn asking() -> Server {
    let (setup, _) = set_up(&["--clients"]);
    let folder = setup.dir().join("bin");
    let mut root = CertificateParams::new([]).expect("no names");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    fs::write(folder.join("clients.pem"), root.self_signed(&key).expect("a root").pem()).expect("a file");
    let issuer = Issuer::new(root, key);
    write_client(&folder, "client", 10, &issuer);
    write_client(&folder, "large", 20_000, &issuer);
    setup.start()
}

fn write_client(folder: &Path, name: &str, bytes: usize, issuer: &Issuer<'_, KeyPair>) {
    let mut client = CertificateParams::new([name.to_owned()]).expect("a name");
    let padding = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 32473, 1], vec![0; bytes]);
    client.custom_extensions.push(padding);
    let key = KeyPair::generate().expect("a key");
    let certificate = client.signed_by(&key, issuer).expect("a certificate");
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("a file");
    fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem()).expect("a file");
}

/// A client with one of these certificates.
fn showing(server: &Server, name: &str, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let trusted = CertificateDer::from_pem_file(beside(server, "cert.pem")).expect("its certificate");
    roots.add(trusted).expect("a root");
    let [certificate, key] = ["", "-key"].map(|part| beside(server, &format!("{name}{part}.pem")));
    let mut client = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_file(certificate).expect("PEM")],
            PrivateKeyDer::from_pem_file(key).expect("PEM"),
        )
        .expect("a certificate and its key");
    client.alpn_protocols = vec![protocol.into()];
    Arc::new(client)
}

async fn connect(server: &Server, client: &Arc<ClientConfig>) -> TlsStream<TcpStream> {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let stream = TcpStream::connect(address).await.expect("accepting");
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(client.clone()).connect(name, stream).await.expect("TLS")
}

async fn over_http1(stream: TlsStream<TcpStream>) -> Http1<Empty<Bytes>> {
    let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1");
    tokio::spawn(connection);
    requests
}

async fn over_http2(stream: TlsStream<TcpStream>) -> Http2<Empty<Bytes>> {
    let (requests, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    requests
}

fn request() -> Request<Empty<Bytes>> {
    let request = Request::builder().uri("https://localhost/who").header("host", "localhost");
    request.body(Empty::new()).expect("a request")
}

/// The process that answers, and the certificate that it knows.
async fn who(answering: impl Future<Output = hyper::Result<hyper::Response<Incoming>>>) -> (i32, String) {
    let response = timeout(PATIENCE, answering).await.expect("an answer in time").expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let (pid, shown) = str::from_utf8(&body).expect("text").split_once(' ').expect("two words");
    (pid.parse().expect("a pid"), shown.to_owned())
}
