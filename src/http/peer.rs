//! Who sent a request, for handlers that ask.

#[cfg(feature = "tls")]
use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use hyper::http::Extensions;
#[cfg(feature = "tls")]
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::drain::{Connection, Entry};
use crate::sys::address::Address;
#[cfg(feature = "tls")]
use crate::tls::TlsStream;

/// The client of a connection: in the extensions of its requests where [`Config::peer`](super::Config::peer)
/// says so, and what [`Config::on_request`](super::Config::on_request) gets.
///
/// ```
/// use axum::Extension;
/// use heirloom::http::{Config, Peer, Server};
///
/// # async fn example(listener: heirloom::Listener) {
/// let who = |peer: Extension<Peer>| async move { format!("{:?}", peer.address()) };
/// let router = axum::Router::new().route("/", axum::routing::get(who));
/// Server::tower(Config::new().peer(true), router).accept_from(listener);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Peer {
    known: Arc<Known>,
}

#[derive(Debug)]
struct Known {
    entry: Arc<Entry>,
    address: OnceLock<Address>,
    #[cfg(feature = "tls")]
    certificates: Option<Arc<[CertificateDer<'static>]>>,
}

impl Peer {
    fn of<S: 'static>(connection: &Connection<S>) -> Self {
        let known = Known {
            entry: connection.entry().clone(),
            address: OnceLock::new(),
            #[cfg(feature = "tls")]
            certificates: shown(connection.get_ref()).map(Arc::from),
        };
        Peer { known: Arc::new(known) }
    }

    /// Its address. The kernel is asked once for each connection; `None` if that is gone by then.
    pub fn address(&self) -> Option<Address> {
        let Known { entry, address, .. } = &*self.known;
        if address.get().is_none() {
            let _ = address.set(entry.peer()?);
        }
        address.get().cloned()
    }

    /// The number of its connection, as in
    /// [`ConnectionStatus::id`](crate::drain::ConnectionStatus::id).
    pub fn connection_id(&self) -> u64 {
        self.known.entry.id()
    }

    /// What it has shown of itself over [`TlsStream`], its own certificate first. `None` if it was not asked
    /// for that ([how](crate::tls#client-certificates)), or had nothing.
    ///
    /// They are those of the connection's one handshake, in whichever process that was.
    #[cfg(feature = "tls")]
    pub fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.known.certificates.as_deref()
    }
}

/// What is done with each request before its service sees it.
#[derive(Clone)]
pub(super) struct OnRequest(Arc<Hook>);

type Hook = dyn Fn(&Peer, &mut Extensions) + Send + Sync;

impl OnRequest {
    pub(super) fn new(
        before: Option<OnRequest>,
        hook: impl Fn(&Peer, &mut Extensions) + Send + Sync + 'static,
    ) -> OnRequest {
        let Some(before) = before else { return OnRequest(Arc::new(hook)) };
        OnRequest(Arc::new(move |peer: &Peer, extensions: &mut Extensions| {
            before.0(peer, extensions);
            hook(peer, extensions);
        }))
    }

    /// With the peer itself, before all else.
    pub(super) fn with_peer(peer: bool, hook: Option<OnRequest>) -> Option<OnRequest> {
        if !peer {
            return hook;
        }
        let add = OnRequest::new(None, |peer, extensions| drop(extensions.insert(peer.clone())));
        Some(match hook {
            Some(hook) => OnRequest::new(Some(add), move |peer, extensions| hook.0(peer, extensions)),
            None => add,
        })
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnRequest").finish_non_exhaustive()
    }
}

/// A connection's client, and what is done with each of its requests.
#[derive(Clone, Debug)]
pub(super) struct Introduction {
    peer: Peer,
    hook: OnRequest,
}

impl Introduction {
    pub(super) fn of<S: 'static>(connection: &Connection<S>, hook: &OnRequest) -> Introduction {
        Introduction { peer: Peer::of(connection), hook: hook.clone() }
    }

    pub(super) fn make(&self, extensions: &mut Extensions) {
        self.hook.0(&self.peer, extensions);
    }
}

#[cfg(feature = "tls")]
fn shown(stream: &dyn Any) -> Option<&[CertificateDer<'static>]> {
    stream.downcast_ref::<TlsStream>()?.peer_certificates()
}
