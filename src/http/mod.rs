//! HTTP/1.1 and HTTP/2 on one port, with hyper, closed in a way that loses no request.
//!
//! A [`Server`] is a service and a [`Config`]. Give it tracked connections, and it serves them until
//! they end: by the client, by a limit, by the drain of their [`Tracker`](crate::drain::Tracker), or by
//! its hammer.
//!
//! # Goodbye
//!
//! | when the drain begins the connection is | then |
//! |---|---|
//! | in a request (HTTP/1) | it is answered in full, with `Connection: close` if the head is not out yet |
//! | idle, or has never spoken | kept for the idle linger; its next request is answered with `Connection: close`; then closed |
//! | halfway through a head | kept until that request is answered, or its time limit |
//! | HTTP/2, and there is a successor | moves between streams, without a word to the client; after 2 s in which it could not (up to 15 s where what is open has begun of late): |
//! | HTTP/2 | GOAWAY in two steps: what is on its way is served, what is open finishes; one without a stream that does not go is cut after the idle linger |
//! | upgraded | left alone: it is its owner's, and counted until dropped; a WebSocket may [move](sessions) |
//!
//! A close that the client did not ask for is a FIN and then reading on for a while, so that what
//! the client sends meanwhile does not turn into a reset that destroys the last answer.
//!
//! # How an idle connection is known
//!
//! hyper's `graceful_shutdown` closes a connection that has not spoken yet, with the request that is on its
//! way (hyperium/hyper#3792), so nothing here calls it to close an HTTP/1 connection. Instead the
//! connection is polled by our own future, which knows from the service, the response body and the
//! last flush that nothing is in flight. It then takes hyper apart. If hyper had read a part of a further
//! request, nothing is lost: the connection is put together again around those bytes.
//!
//! The service, the body and the socket tell what they know to the thread, since one task polls all of them:
//! a pointer to the connection in each future and each body would be moved with them several times a request.
//! A response that has to say that it is the last is held back until hyper was told, which adds the header
//! and closes after it.
//!
//! One thing hyper alone knows: whether the body of a request has been read to its end, where the handler
//! answered first. So once there was a request, and only where the response is out, hyper is asked to end the
//! connection (with an I/O object that ignores the shutdown): it does at once if it was idle, and then its
//! unread bytes are taken out in the same way. Otherwise it finishes reading, and closes. A body that the
//! handler has just dropped hyper would end in the middle, and that looks as if it had been idle; so it is
//! polled once before, without anything to read, and deals with such a body then. Where the
//! [gate](sessions) follows the bytes, it is known how much of an upload is to come: then hyper is not asked
//! before all of it was read from the socket, and what hyper closes after that is taken out instead.

mod baggage;
mod body;
mod carried;
mod config;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod gate;
mod h2;
mod io;
mod lent;
mod listen;
mod moving;
#[cfg(feature = "tls")]
mod over_tls;
mod peer;
mod server;
mod service;
mod serving;
mod session;
pub mod sessions;
mod sniff;
mod streams;
mod tower;
mod turn;

pub use baggage::Baggage;
pub use config::Config;
pub use io::Io;
#[cfg(feature = "axum")]
pub use lent::{AxumTcp, Inet};
pub use lent::{Connections, Incoming, Lent};
pub use listen::{RunError, run, serve, serve_with};
pub use peer::Peer;
pub use server::{Server, serve_connection};
pub use service::HttpService;
pub use serving::{ServeError, Serving};
pub use session::{Session, Unmoved};
pub use tower::{Called, Tower};
