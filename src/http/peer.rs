//! Who sent a request, for handlers that ask.

#[cfg(feature = "tls")]
use std::any::Any;
use std::sync::Arc;

#[cfg(feature = "tls")]
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::drain::{Connection, Entry};
use crate::sys::address::Address;
#[cfg(feature = "tls")]
use crate::tls::TlsStream;

/// The client of a request, in its extensions where [`Config::peer`](super::Config::peer) says so.
///
/// axum's `ConnectInfo` comes from axum's own accept loop, and is not there (a handler that asks for it
/// answers 500) unless a layer makes one of this:
///
/// ```
/// use std::net::SocketAddr;
/// use axum::extract::{ConnectInfo, Request};
/// use heirloom::http::{Config, Peer, Server};
///
/// async fn connect_info(mut request: Request) -> Request {
///     let peer = request.extensions().get::<Peer>().and_then(Peer::address);
///     if let Some(address) = peer.as_ref().and_then(|address| address.inet()) {
///         request.extensions_mut().insert(ConnectInfo(address));
///     }
///     request
/// }
///
/// # async fn example(listener: heirloom::Listener) {
/// let who = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
/// let router = axum::Router::new()
///     .route("/", axum::routing::get(who))
///     .layer(axum::middleware::map_request(connect_info));
/// Server::tower(Config::new().peer(true), router).accept_from(listener);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Peer {
    entry: Arc<Entry>,
    #[cfg(feature = "tls")]
    certificates: Option<Arc<[CertificateDer<'static>]>>,
}

impl Peer {
    pub(super) fn of<S: 'static>(connection: &Connection<S>) -> Self {
        Peer {
            entry: connection.entry().clone(),
            #[cfg(feature = "tls")]
            certificates: shown(connection.get_ref()).map(Arc::from),
        }
    }

    /// Its address, asked of the kernel now; `None` once the connection is gone.
    pub fn address(&self) -> Option<Address> {
        self.entry.peer()
    }

    /// The number of its connection, as in
    /// [`ConnectionStatus::id`](crate::drain::ConnectionStatus::id).
    pub fn connection_id(&self) -> u64 {
        self.entry.id()
    }

    /// What it has shown of itself over [`TlsStream`], its own certificate first. `None` if it was not asked
    /// for that ([how](crate::tls#client-certificates)), or had nothing.
    ///
    /// They are those of the connection's one handshake, in whichever process that was.
    #[cfg(feature = "tls")]
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.certificates.as_deref()
    }
}

#[cfg(feature = "tls")]
fn shown(stream: &dyn Any) -> Option<&[CertificateDer<'static>]> {
    stream.downcast_ref::<TlsStream>()?.peer_certificates()
}
