//! From a listener to HTTPS.

use tokio::task::JoinHandle;

use super::server::Server;
use super::service::HttpService;
use crate::sockets::accept::Listener;
use crate::tls::Tls;

impl<H: HttpService> Server<H> {
    /// As [`accept_from`](Server::accept_from), over TLS.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn accept_tls_from(&self, mut listener: Listener, tls: &Tls) -> JoinHandle<()> {
        let (server, tls) = (self.clone(), tls.clone());
        tokio::spawn(async move {
            while let Some(connection) = listener.accept().await {
                let (server, tls) = (server.clone(), tls.clone());
                tokio::spawn(async move {
                    let id = connection.id();
                    match tls.shake_hands(connection).await {
                        Ok(connection) => server.spawn(connection),
                        Err(error) => say!(debug: connection = id, %error, "no TLS handshake"),
                    }
                });
            }
        })
    }
}
