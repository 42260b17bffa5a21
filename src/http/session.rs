//! What a handler knows of the session that a request begins, and how it hands that to the successor.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use hyper::body::{Body, Incoming};
use hyper::header::UPGRADE;
use hyper::{Method, Request, Version};
use thiserror::Error;
use tokio::time::Sleep;

use super::baggage::Baggage;
use super::carried::SessionKind;
use super::gate::{Begins, RequestBody};
use crate::drain::{DrainSignal, Entry, TOO_MUCH};

/// A WebSocket or an event stream that may outlive this process, in the extensions of the request that begins
/// it, where [`Config::move_websockets`](super::Config::move_websockets) or
/// [`move_streams`](super::Config::move_streams) says so. The chapter [`sessions`](super::sessions) has an
/// example.
///
/// Clones are of the same session. Every request of such a server has one. What cannot move (over HTTP/2 and
/// TLS 1.2, a request with a body of more than 64 KiB) has one that goes nowhere: [`move_on`](Self::move_on)
/// says so.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` where nothing can move.
    door: Option<Arc<dyn Door>>,
    draining: DrainSignal,
    /// `Some` if it has come from a predecessor.
    state: Option<Vec<u8>>,
    baggage: Option<Baggage>,
    /// Without a door: it was tried once, and is not asked to leave again.
    stays: AtomicBool,
    /// It counts for itself among what did not move.
    counts: bool,
}

/// Why a session did not move.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmoved {
    /// A message was on its way, in one of the directions, for too long; or the response was not begun yet.
    #[error("it was in the middle of a message for {:?}", super::gate::PATIENCE)]
    Busy,
    /// One of the two sides has ended it already.
    #[error("it is at its end")]
    Ending,
    /// Its compression remembers earlier messages (`permessage-deflate` with context takeover), or it has
    /// another extension.
    #[error("a WebSocket extension keeps what only its library knows")]
    Extension,
    /// There is no successor, or it does not take this: it is older than that, listens elsewhere, or has
    /// died.
    #[error("no successor takes it")]
    Refused,
    /// The state that was given, the request, and what was read and not dealt with are too much together.
    #[error("{bytes} bytes would have to go along, and the limit is {limit}; give a smaller state")]
    TooMuch {
        /// What would have had to go along.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// Over HTTP/2 and TLS that does not move (1.2, say), none moves; nor one whose request has more than 64
    /// KiB of body, or 16 KiB of head.
    #[error("a session over HTTP/2 or TLS 1.2, or of a request of more than 64 KiB, cannot move")]
    Unsupported,
}

impl Unmoved {
    /// For a status and the metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Unmoved::Busy => "busy",
            Unmoved::Ending => "ending",
            Unmoved::Extension => "extension",
            Unmoved::Refused => "refused",
            Unmoved::TooMuch { .. } => TOO_MUCH,
            Unmoved::Unsupported => "unsupported",
        }
    }

    /// For the client, in a Close frame: at most 123 bytes.
    pub(super) fn told(self) -> &'static str {
        match self {
            Unmoved::Busy => "the server restarts in the middle of a message, come again",
            _ => "the server restarts, come again",
        }
    }
}

impl Session {
    /// Whether it was begun in a predecessor, and goes on here. Then the request is a copy of the one that
    /// began it: what is done once for a session (a rate limit, a line in a log) was done.
    pub fn resumed(&self) -> bool {
        self.shared.state.is_some()
    }

    /// What the handler in the predecessor gave to [`move_on`](Self::move_on); `None` for a session that
    /// begins.
    ///
    /// A handler that sends something without having asked for this has begun anew, which its client would
    /// not understand: the connection is ended instead (with Close 1012, or by cutting a stream). That is not
    /// so if the state is empty.
    pub fn state(&self) -> Option<&[u8]> {
        if let Some(door) = &self.shared.door {
            door.state_is_known();
        }
        self.shared.state.as_deref()
    }

    /// Resolves when it is time to go: the process drains, and a WebSocket is between two messages in both
    /// directions, or has been told to be for 5 s. From then on the client's next message waits, for the
    /// successor.
    ///
    /// It never resolves again once a session did not move, and not for a WebSocket that is closing.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is made for a `select!` with what the handler waits for, in a loop.
    pub async fn leaving(&self) {
        self.shared.draining.clone().await;
        let mut timer = None;
        match &self.shared.door {
            Some(door) => poll_fn(|cx| door.poll_leaving(cx, &mut timer)).await,
            None if self.shared.stays.load(Relaxed) => std::future::pending().await,
            None => {}
        }
    }

    /// Moves the session to the successor, whose handler gets `state`: in a format that the next version of
    /// the program understands, at most 64 KiB. The client notices nothing.
    ///
    /// `Ok` once the successor has the connection: then return, and drop the WebSocket, or end the stream.
    /// What is written after that goes nowhere.
    ///
    /// Everything that was sent has to be flushed before (`send` does that, `feed` does not). A stream calls
    /// it from within itself, in place of its next item: what waits in a channel for its turn is lost.
    ///
    /// # Errors
    ///
    /// A WebSocket has been told to come again (Close 1012, service restart): drop it. Only for
    /// [`Unmoved::Unsupported`] that is left to the handler. A stream goes on here, up to the drain's
    /// deadline.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped before it is done, the connection may be the successor's or closed.
    pub async fn move_on(&self, state: impl Into<Vec<u8>>) -> Result<(), Unmoved> {
        let Some(door) = &self.shared.door else {
            if !self.shared.stays.swap(true, Relaxed) && self.shared.counts {
                self.shared.draining.could_not_move(Unmoved::Unsupported.name());
            }
            return Err(Unmoved::Unsupported);
        };
        let baggage = self.shared.baggage.clone().and_then(Baggage::into_state);
        door.depart(state.into(), baggage).await
    }
}

/// The connection below a session.
pub(super) trait Door: Send + Sync {
    /// hyper has a request. `Some` if it may become a session that can move.
    fn begin(&self, begins: Begins) -> Option<Offered>;
    /// The handler has looked at what came with it.
    fn state_is_known(&self);
    fn poll_leaving(&self, cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>) -> Poll<()>;
    fn depart<'a>(
        &'a self,
        state: Vec<u8>,
        baggage: Option<Vec<u8>>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Unmoved>> + Send + 'a>>;
}

/// A session that may begin.
pub(super) struct Offered {
    /// What came with it, if it goes on.
    pub(super) state: Option<Vec<u8>>,
}

/// Which sessions a server has move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kinds {
    pub(super) websockets: bool,
    pub(super) streams: bool,
}

impl Kinds {
    pub(super) fn has(self, kind: SessionKind) -> bool {
        match kind {
            SessionKind::WebSocket => self.websockets,
            SessionKind::Stream => self.streams,
        }
    }
}

/// Gives each request of one connection its session.
#[derive(Clone)]
pub(super) struct Sessions {
    pub(super) kinds: Kinds,
    pub(super) entry: Arc<Entry>,
    pub(super) door: Option<Arc<dyn Door>>,
    /// Not where their connection moves between them: then that is what moves, or is counted.
    pub(super) count: bool,
}

impl Sessions {
    /// `may_upgrade`: hyper would hand the connection over, if the response says so.
    pub(super) fn add(&self, request: &mut Request<Incoming>, may_upgrade: bool, baggage: Option<&Baggage>) {
        let offered = self.door.as_ref().and_then(|door| door.begin(self.begins(request, may_upgrade)));
        let door = self.door.clone().filter(|_| offered.is_some());
        let shared = Shared {
            door,
            draining: self.entry.draining(),
            state: offered.and_then(|offered| offered.state),
            baggage: baggage.cloned(),
            stays: AtomicBool::new(false),
            counts: self.count,
        };
        request.extensions_mut().insert(Session { shared: Arc::new(shared) });
    }

    fn begins(&self, request: &Request<Incoming>, may_upgrade: bool) -> Begins {
        let size = request.body().size_hint().exact();
        let body = match size {
            _ if request.body().is_end_stream() => RequestBody::None,
            Some(length) => RequestBody::Length(length),
            None => RequestBody::Chunks,
        };
        let is_websocket = may_upgrade
            && request
                .headers()
                .get(UPGRADE)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
        // A response to HEAD says that there are chunks, and has none.
        let method_fits = match is_websocket {
            true => *request.method() == Method::GET,
            false => *request.method() != Method::HEAD,
        };
        let is_plain = method_fits && request.version() == Version::HTTP_11;
        let kind = match (is_websocket, may_upgrade) {
            (true, _) => Some(SessionKind::WebSocket),
            (false, true) => None,
            (false, false) => Some(SessionKind::Stream),
        };
        Begins { kind: kind.filter(|kind| is_plain && self.kinds.has(*kind)), body, may_upgrade }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("resumed", &self.resumed()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("kinds", &self.kinds).finish_non_exhaustive()
    }
}
