//! Who sent a request, for handlers that ask.

use std::sync::Arc;

use crate::drain::Entry;
use crate::sys::address::Address;

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
}

impl Peer {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Peer { entry }
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
}
