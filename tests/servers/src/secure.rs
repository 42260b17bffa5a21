//! An HTTPS server whose certificate lies in `cert.pem` and `key.pem` beside it, and whose tickets and
//! connections outlive restarts.
//!
//! ```text
//! --stay       only the tickets do
//! --clients    clients have to show a certificate that the one in `clients.pem` has signed
//!
//! GET /        the process that answers; with --clients 401 if the client is not known
//! GET /who     that process, and in hexadecimal the certificate that the client has shown
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::get;
use axum::{Extension, Router};
use heirloom::Restarter;
use heirloom::http::{Config, Peer, Server};
use heirloom::tls::Tls;
use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use heirloom::tls::tokio_rustls::rustls::server::WebPkiClientVerifier;
use heirloom::tls::tokio_rustls::rustls::{RootCertStore, ServerConfig};

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let beside = |name: &str| PathBuf::from(&arguments[0]).with_file_name(name);
    let restarter = Restarter::builder().probation(Duration::from_millis(200)).start()?;
    let is_given = |option: &str| arguments.iter().any(|argument| argument == option);
    let asks = is_given("--clients");
    let tls = match asks {
        true => of_known_clients(beside)?,
        false => restarter.check(Tls::from_pem_files(beside("cert.pem"), beside("key.pem"))).await?,
    };
    let tls = tls.move_connections(!is_given("--stay"));
    tls.inherit_tickets(&restarter).await;
    let router = Router::new().route("/who", get(who)).route(
        "/",
        get(move |Extension(peer): Extension<Peer>| async move {
            let is_known = !asks || peer.certificates().is_some();
            let status = if is_known { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
            (status, std::process::id().to_string())
        }),
    );
    let server = Server::tower(Config::new().peer(true), router);
    for pair in arguments.windows(2).filter(|pair| pair[0] == "--listen") {
        let listener = restarter.check(restarter.listen(&pair[1])).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_tls_from(listener, &tls);
    }
    Ok(restarter.run().await?.into())
}

async fn who(Extension(peer): Extension<Peer>) -> String {
    let shown = peer.certificates().and_then(<[_]>::first).map(AsRef::as_ref).unwrap_or_default();
    let bytes: String = shown.iter().map(|byte: &u8| format!("{byte:02x}")).collect();
    format!("{} {bytes}", std::process::id())
}

fn of_known_clients(beside: impl Fn(&str) -> PathBuf) -> Result<Tls, Box<dyn Error>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(beside("clients.pem"))?)?;
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let chain = vec![CertificateDer::from_pem_file(beside("cert.pem"))?];
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(beside("key.pem"))?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    Ok(Tls::new(config)?)
}
