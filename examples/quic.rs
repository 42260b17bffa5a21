//! A QUIC server: it reads each stream to its end, and answers with its process id.
//!
//! `quic --listen ADDR --cert PEM --key PEM [--drain-timeout 60s] [--pid-file PATH] [--retry] [--early-data]`,
//! then `kill -USR2 PID`: connections stay with the process that they began with, until they end or the drain
//! timeout is over. New ones are with the new process. `--retry` has clients prove their address, and
//! `--early-data` lets those that come back ask with their first packet. To answer such a question twice does
//! no harm here.

use std::error::Error;
use std::path::PathBuf;

use heirloom::quic::quinn::rustls::ServerConfig;
use heirloom::quic::quinn::{Connection, ConnectionError, Incoming, VarInt};
use heirloom::quic::{Quic, quinn};
use heirloom::tls::tokio_rustls::rustls::pki_types::pem::PemObject;
use heirloom::tls::tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use heirloom::{Ending, Restarter};
use lexopt::{Arg, ValueExt};

/// The code for connections that are left when the drain timeout is over.
const MOVED: VarInt = VarInt::from_u32(1);
/// How many sessions are kept for clients that come back.
const SESSIONS: usize = 10_000;
/// The longest question.
const MOST: usize = 64 * 1024;

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let (mut listen, mut cert, mut key) = (String::from("127.0.0.1:4433"), PathBuf::new(), PathBuf::new());
    let (mut retry, mut early_data) = (false, false);
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
            "retry" => retry = true,
            "early-data" => early_data = true,
            "pid-file" => builder = builder.pid_file(parser.value()?),
            name => return Err(Arg::Long(name).unexpected().into()),
        }
    }
    let restarter = builder.start()?;
    let tls = restarter.check(certificate(cert, key)).await?;
    let quic = restarter.check(Quic::inherit(&restarter).await).await?;
    let mut quic = quic.close_with(MOVED, "this process ends");
    if early_data {
        quic = quic.early_data(SESSIONS);
    }
    let config = restarter.check(quic.server_config(tls)).await?;
    let endpoint = restarter.check(quic.endpoint(&listen, config)).await?;
    println!("listening on {}", endpoint.local_addr()?);
    tokio::spawn(async move {
        while let Some(incoming) = endpoint.accept().await {
            if retry && !incoming.remote_address_validated() {
                // It fails for who has been validated, and this one has not.
                let _ = incoming.retry();
                continue;
            }
            tokio::spawn(async move {
                if let Err(error) = serve(incoming, early_data).await {
                    tracing::debug!(%error, "a connection has ended");
                }
            });
        }
    });
    Ok(restarter.run().await?)
}

fn certificate(cert: PathBuf, key: PathBuf) -> Result<ServerConfig, Box<dyn Error>> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let provider = quinn::rustls::crypto::ring::default_provider();
    let config = ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&quinn::rustls::version::TLS13])?
        .with_no_client_auth();
    Ok(config.with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
}

async fn serve(incoming: Incoming, early_data: bool) -> Result<(), ConnectionError> {
    let connecting = incoming.accept()?;
    let connection: Connection = match early_data {
        // For who has been asked to connect this is always possible.
        true => connecting.into_0rtt().map_err(|_| ConnectionError::LocallyClosed)?.0,
        false => connecting.await?,
    };
    loop {
        let (mut answer, mut question) = connection.accept_bi().await?;
        tokio::spawn(async move {
            if question.is_0rtt() {
                // An answer that must not be given twice would have to wait for the handshake.
                tracing::info!("a question comes with the first packet");
            }
            question.read_to_end(MOST).await?;
            answer.write_all(std::process::id().to_string().as_bytes()).await?;
            Ok::<_, Box<dyn Error + Send + Sync>>(answer.finish()?)
        });
    }
}
