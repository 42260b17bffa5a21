//! Who sent a request, for handlers that ask.

use std::fmt;
use std::sync::{Arc, OnceLock};

use hyper::http::Extensions;

use crate::drain::Entry;
use crate::sys::address::Address;

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
}

impl Peer {
    pub(super) fn new(entry: Arc<Entry>) -> Self {
        Peer { known: Arc::new(Known { entry, address: OnceLock::new() }) }
    }

    /// Its address. The kernel is asked once for each connection; `None` if that is gone by then.
    pub fn address(&self) -> Option<Address> {
        let Known { entry, address } = &*self.known;
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
    pub(super) fn new(hook: &OnRequest, entry: &Arc<Entry>) -> Introduction {
        Introduction { peer: Peer::new(entry.clone()), hook: hook.clone() }
    }

    pub(super) fn make(&self, extensions: &mut Extensions) {
        self.hook.0(&self.peer, extensions);
    }
}
