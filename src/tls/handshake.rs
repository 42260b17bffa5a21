//! The handshake, within the same tracking and the same drain.

use std::io;

use tokio_rustls::TlsAcceptor;

use super::Tls;
use super::followed::Followed;
use super::stream::TlsStream;
use crate::drain::Connection;
use crate::drain::stream::Stream;

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
