//! quinn as the client, which tries everything once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use heirloom::quic::quinn::crypto::rustls::QuicClientConfig;
use heirloom::quic::quinn::rustls::client::Resumption;
use heirloom::quic::quinn::{ClientConfig, Connection, Endpoint};

use crate::Failable;
use crate::counting::client_config;
use crate::server::Server;

/// After which a client gives up: nobody waits for a page much longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a client does with what it has of a connection before.
pub(crate) enum Sessions {
    /// Nothing: each handshake is a full one.
    New,
    /// It goes on with the session.
    Resumed,
    /// And sends with its first packet.
    Early,
}

/// A client with a port of its own.
pub(crate) struct Client {
    pub(crate) endpoint: Endpoint,
    address: SocketAddr,
    /// How many handshakes were full ones.
    pub(crate) verified: Arc<AtomicUsize>,
}

impl Client {
    pub(crate) fn new(server: &Server, sessions: Sessions) -> Failable<Client> {
        let verified = Arc::default();
        let mut tls = client_config(server.certificate.clone(), Arc::clone(&verified))?;
        match sessions {
            Sessions::New => tls.resumption = Resumption::disabled(),
            Sessions::Resumed => {}
            Sessions::Early => tls.enable_early_data = true,
        }
        let mut endpoint = Endpoint::client("127.0.0.1:0".parse()?)?;
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?)));
        Ok(Client { endpoint, address: server.address, verified })
    }

    pub(crate) async fn connect(&self) -> Failable<Connection> {
        let connecting = self.endpoint.connect(self.address, "localhost")?;
        Ok(tokio::time::timeout(PATIENCE, connecting).await.map_err(|_| "no connection in time")??)
    }
}

impl Client {
    /// Connects with a session of before, and asks with the first packet. Whether the server has taken it so.
    pub(crate) async fn ask_early(&self) -> Failable<bool> {
        let connecting = self.endpoint.connect(self.address, "localhost")?;
        let (connection, answered, is_taken) = match connecting.into_0rtt() {
            Ok((connection, accepted)) => {
                let answered = ask(&connection).await;
                (connection, answered.is_ok(), accepted.await)
            }
            Err(connecting) => (connecting.await?, false, false),
        };
        // What is asked after the handshake is answered after the sessions have come, which are for the next time.
        ask(&connection).await?;
        Ok(answered && is_taken)
    }
}

/// Who answers on a stream.
pub(crate) async fn ask(connection: &Connection) -> Failable<i32> {
    Ok(exchange(connection, b"who?").await?.parse()?)
}

async fn exchange(connection: &Connection, question: &[u8]) -> Failable<String> {
    let asked = async {
        let (mut send, mut answer) = connection.open_bi().await?;
        send.write_all(question).await?;
        send.finish()?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(answer.read_to_end(64).await?)
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| "no answer in time")??;
    Ok(String::from_utf8(answer)?)
}

/// Reads `count` bytes, of which `read` says how many there are by now.
pub(crate) async fn download(connection: &Connection, count: usize, read: &AtomicUsize) -> Failable<()> {
    let (mut send, mut answer) = connection.open_bi().await?;
    send.write_all(format!("give {count}").as_bytes()).await?;
    send.finish()?;
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let more =
            tokio::time::timeout(PATIENCE, answer.read(&mut buffer)).await.map_err(|_| "it stalls")??;
        let Some(more) = more else { break };
        read.fetch_add(more, Ordering::Relaxed);
    }
    match read.load(Ordering::Relaxed) {
        whole if whole == count => Ok(()),
        part => Err(format!("{part} bytes of {count}").into()),
    }
}

/// Writes `count` bytes, and has the server say how many it has read.
pub(crate) async fn upload(connection: &Connection, count: usize) -> Failable<()> {
    let (mut send, mut answer) = connection.open_bi().await?;
    let bytes = vec![7; 256 * 1024];
    let mut left = count;
    while left > 0 {
        let part = left.min(bytes.len());
        tokio::time::timeout(PATIENCE, send.write_all(&bytes[..part])).await.map_err(|_| "it stalls")??;
        left -= part;
    }
    send.finish()?;
    let said = tokio::time::timeout(PATIENCE, answer.read_to_end(64)).await.map_err(|_| "no answer")??;
    match String::from_utf8(said)?.parse::<usize>()? {
        whole if whole == count => Ok(()),
        part => Err(format!("{part} bytes of {count}").into()),
    }
}
