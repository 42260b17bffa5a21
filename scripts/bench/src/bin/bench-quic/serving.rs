//! The server beside `examples/quic.rs`: the same endpoint or a plain one, and answers of any size.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use heirloom::quic::quinn::crypto::rustls::QuicServerConfig;
use heirloom::quic::quinn::rustls::pki_types::pem::PemObject;
use heirloom::quic::quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use heirloom::quic::quinn::rustls::{self, crypto::ring::default_provider};
use heirloom::quic::quinn::{Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime};
use heirloom::quic::{Quic, quinn};
use heirloom::{Ending, Restarter};

use crate::Failable;

pub(crate) struct Options {
    pub(crate) listen: String,
    pub(crate) cert: String,
    pub(crate) key: String,
    /// A socket that both generations read, each with an endpoint that knows nothing of the other.
    pub(crate) is_plain: bool,
    pub(crate) retry: bool,
}

pub(crate) async fn serve(options: Options) -> Failable<Ending> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let restarter = Restarter::builder().drain_timeout(Duration::from_secs(100)).start()?;
    let chain = CertificateDer::pem_file_iter(&options.cert)?.collect::<Result<_, _>>()?;
    let tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&options.key)?)?;
    let endpoint = match options.is_plain {
        true => plain(&restarter, &options.listen, tls)?,
        false => {
            let quic = restarter.check(Quic::inherit(&restarter).await).await?;
            quic.endpoint(&options.listen, quic.server_config(tls)?)?
        }
    };
    println!("listening on {}", endpoint.local_addr()?);
    let retry = options.retry;
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if retry && !incoming.remote_address_validated() {
                let _ = incoming.retry();
                continue;
            }
            tokio::spawn(answer(incoming));
        }
    });
    Ok(restarter.run().await?)
}

/// With sessions in memory, as rustls has them by itself. As quinn's documentation has it: once it drains it refuses who is new, and waits until it is idle.
fn plain(restarter: &Restarter, listen: &str, mut tls: rustls::ServerConfig) -> Failable<Endpoint> {
    tls.max_early_data_size = u32::MAX;
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let socket = restarter.udp(listen)?;
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(TokioRuntime))?;
    let (draining, hold, drained) = (restarter.draining(), restarter.hold(), endpoint.clone());
    tokio::spawn(async move {
        draining.await;
        drained.set_server_config(None);
        drained.wait_idle().await;
        drop(hold);
    });
    Ok(endpoint)
}

/// `who?` is answered with the process id, `give N` with so many bytes, and anything else with its length.
async fn answer(incoming: Incoming) -> Result<(), quinn::ConnectionError> {
    // With what came in the first packet, which nothing is harmed by here.
    let (connection, _) =
        incoming.accept()?.into_0rtt().map_err(|_| quinn::ConnectionError::LocallyClosed)?;
    loop {
        let (mut answer, mut question) = connection.accept_bi().await?;
        tokio::spawn(async move {
            let (mut read, mut length, mut buffer) = (Vec::new(), 0, vec![0; 64 * 1024]);
            while let Some(more) = question.read(&mut buffer).await? {
                length += more;
                if read.is_empty() {
                    read.extend_from_slice(&buffer[..more.min(32)]);
                }
            }
            if let Some(count) = read.strip_prefix(b"give ") {
                let mut left: usize = std::str::from_utf8(count)?.parse()?;
                let bytes = vec![7; 64 * 1024];
                while left > 0 {
                    let part = left.min(bytes.len());
                    answer.write_all(&bytes[..part]).await?;
                    left -= part;
                }
            } else {
                let text = if read == b"who?" { std::process::id().to_string() } else { length.to_string() };
                answer.write_all(text.as_bytes()).await?;
            }
            Ok::<_, Box<dyn Error + Send + Sync>>(answer.finish()?)
        });
    }
}
