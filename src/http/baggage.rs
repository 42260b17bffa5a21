//! What a service keeps for a connection, and what goes with that when it moves.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::drain::Entry;

/// What the service keeps for the connection of a request, in its extensions where
/// [`Config::baggage`](super::Config::baggage) says so. It goes with the connection when that moves to the
/// successor, whose service finds it in the next request.
///
/// Clones are of the same connection. HTTP/2 connections have none.
///
/// ```
/// # use heirloom::http::{Baggage, Config, Server};
/// # use http_body_util::Full;
/// # use hyper::{Request, Response, body::{Bytes, Incoming}, service::service_fn};
/// async fn count(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
///     let mut count = 0;
///     if let Some(baggage) = request.extensions().get::<Baggage>() {
///         // How many requests this connection has had, in whichever process.
///         count = 1 + baggage.bytes().first().copied().unwrap_or(0);
///         baggage.set([count]);
///     }
///     Ok(Response::new(Full::new(count.to_string().into())))
/// }
///
/// let server = Server::new(Config::new().baggage(true), service_fn(count));
/// ```
#[derive(Clone)]
pub struct Baggage {
    entry: Arc<Entry>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Baggage {
    pub(super) fn new(entry: Arc<Entry>, bytes: Vec<u8>) -> Self {
        Baggage { entry, bytes: Arc::new(Mutex::new(bytes)) }
    }

    /// What was last [`set`](Self::set), here or in a predecessor. Empty at first.
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is to go with the connection: in a format that the next version of the program understands.
    ///
    /// At most 16 KiB, with what was read of a next request. A connection with more does not move: it is told
    /// to close, and the log says so.
    pub fn set(&self, bytes: impl Into<Vec<u8>>) {
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes.into();
    }

    /// This connection does not move from now on: at a restart it is told to close, as it would be without a
    /// successor. For what cannot be written down.
    pub fn stay(&self) {
        self.entry.cannot_move();
    }

    pub(super) fn into_state(self) -> Option<Vec<u8>> {
        let bytes = self.bytes();
        (!bytes.is_empty()).then_some(bytes)
    }
}

impl fmt::Debug for Baggage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baggage").field("bytes", &self.bytes().len()).finish_non_exhaustive()
    }
}
