//! From a listener to HTTPS: the handshake, within the same tracking and the same drain.

use std::io;

use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::Tls;
use super::followed::Followed;
use super::stream::TlsStream;
use crate::drain::Connection;
use crate::drain::stream::Stream;
use crate::http::{HttpService, Server};
use crate::sockets::accept::Listener;

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

impl Tls {
    /// Makes the server's side of a handshake. The connection is tracked throughout, and the hammer ends
    /// it. One that has moved here from a predecessor has its handshake behind it: it goes on at once.
    ///
    /// # Errors
    ///
    /// The client does not speak TLS, nothing both sides can agree on, too slow, or the hammer. The
    /// connection is closed; rustls has told the client why where it could.
    ///
    /// # Cancel safety
    ///
    /// Dropped before it is done, the connection is closed.
    pub async fn shake_hands(&self, mut connection: Connection<Stream>) -> io::Result<Connection<TlsStream>> {
        if let Some(session) = connection.take_session() {
            return self.resume(connection, &session);
        }
        connection.entry().is_over_tls();
        let hammered = connection.hammered();
        let (registration, stream) = connection.into_registered();
        let (config, witness) = self.config_of_one();
        let mut handshake = TlsAcceptor::from(config).accept(Followed::new(stream)).into_fallible();
        let shaken = tokio::select! {
            shaken = &mut handshake => shaken.map_err(|(error, stream)| (error, Some(stream))),
            () = tokio::time::sleep(self.handshake_timeout) => Err((io::ErrorKind::TimedOut.into(), None)),
            () = hammered => Err((io::ErrorKind::ConnectionAborted.into(), None)),
        };
        match shaken {
            Ok(stream) => {
                let stream = TlsStream::fresh(stream, witness);
                Ok(Connection::from_registered(registration, stream, Vec::new()))
            }
            Err((error, stream)) => {
                // In this order: an entry names its descriptor for as long as it is registered.
                drop(registration);
                drop((stream, handshake));
                Err(error)
            }
        }
    }
}
