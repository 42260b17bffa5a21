//! WebSockets and event streams that go on over a restart.
//!
//! A restart need not end them: the connection moves to the successor between two messages, as idle HTTP
//! connections do, and the client, which may be a browser or anybody's library, notices nothing. It takes a
//! server that is told so and a handler that says when, with what the successor's handler needs to know:
//!
//! ```no_run
//! use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
//! use axum::{Extension, Router, response::Response, routing::any};
//! use heirloom::http::{Config, Server, Session};
//!
//! async fn count(upgrade: WebSocketUpgrade, Extension(session): Extension<Session>) -> Response {
//!     upgrade.on_upgrade(|socket| talk(socket, session))
//! }
//!
//! async fn talk(mut socket: WebSocket, session: Session) {
//!     // 1: what the predecessor's handler has said, if this one goes on.
//!     let mut count = session.state().and_then(|state| state.try_into().ok()).map_or(0, u64::from_le_bytes);
//!     loop {
//!         tokio::select! {
//!             received = socket.recv() => {
//!                 let Some(Ok(Message::Text(_))) = received else { return };
//!                 count += 1;
//!                 if socket.send(Message::text(count.to_string())).await.is_err() {
//!                     return;
//!                 }
//!             }
//!             // 2: this process is to be left, and the WebSocket is between two messages.
//!             () = session.leaving() => {
//!                 // 3: the successor's handler goes on. If not, the client has been told to come again.
//!                 let _ = session.move_on(count.to_le_bytes()).await;
//!                 return;
//!             }
//!         }
//!     }
//! }
//!
//! # async fn example() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//! let restarter = heirloom::Restarter::new()?;
//! let listener = restarter.listen("127.0.0.1:3000")?;
//! let router = Router::new().route("/ws", any(count));
//! // 4: was heirloom::http::serve(listener, router).
//! Server::tower(Config::new().move_websockets(true), router).accept_from(listener);
//! # Ok(restarter.run().await?) }
//! ```
//!
//! It is the same with hyper and tokio-tungstenite, or any other library above hyper: what is below them
//! knows where messages end. `examples/chat.rs` is a chat room, `examples/live.rs` has an event stream too.
//!
//! # What happens
//!
//! 1. When the process drains (after its successor has settled), [`Session::leaving`] lets the message that
//!    is on its way come to its end, and holds the next one back.
//! 2. [`Session::move_on`] takes the connection from under the library, answers a ping that the library has
//!    read and not answered, and sends the successor the socket, the request that began the session, what was
//!    read and not dealt with, and the state.
//! 3. The successor gives its service the request once more. The service does what it always does, and its
//!    answer (`101 Switching Protocols`, or the head of the stream) is kept from the client, which has had
//!    it.
//! 4. The handler there finds the state in [`Session::state`].
//!
//! So authentication, rate limits and logs see the request once more, in another process:
//! [`Session::resumed`], in the extensions of the request, tells them. An answer that is another than the
//! first (another status, subprotocol, extension, content type) means that the new version does not go on
//! with it: a WebSocket is told so with Close 1012 (service restart), and a stream is cut.
//!
//! # Streams
//!
//! A response in chunks moves between two of them, once hyper has written and flushed all that it was given
//! ([`Config::move_streams`](super::Config::move_streams)). Its state is a cursor. The stream itself awaits
//! [`leaving`](Session::leaving) beside its next item, and ends when [`move_on`](Session::move_on) has
//! succeeded; if that fails it goes on here, up to the drain's deadline. The successor's handler begins at
//! the cursor. Requests that the client has sent meanwhile are answered there, after the stream's end.
//!
//! A request may have a body, as those to language models have (`POST /v1/chat/completions` with JSON). Up to
//! 64 KiB of it are kept as long as its answer is a stream, and go along: the successor's handler gets the
//! same request. What the first handler did with it, an entry in a database perhaps, is not to be done again:
//! see [`Session::resumed`]. The body has to be read to its end before the stream can move.
//!
//! # What does not move
//!
//! | | then |
//! |---|---|
//! | HTTP/2, TLS 1.2 and what else of TLS does not move, a request with more than 16 KiB of head or 64 KiB of body, a WebSocket's with any body | [`Unmoved::Unsupported`]: say goodbye in the way of your protocol |
//! | no successor, or a release of heirloom without this, or one that does not listen there | Close 1012; a stream goes on here |
//! | half a message for 5 s | the same |
//! | `permessage-deflate` unless both sides have `no_context_takeover`; other extensions | the same |
//! | more than 96 KiB in all: request, state, baggage and what was read | the same |
//! | a Close frame under way | it ends by itself |
//!
//! # What it costs
//!
//! Nothing where neither kind is on. Else hyper's reads and writes go through a layer that follows heads,
//! frames and chunks (a lock and a look at the bytes' headers), and a request has a [`Session`] to carry.
//! Messages of up to 16 KiB wait until they are whole before a library sees the first byte of them.

#[expect(unused_imports, reason = "for the links above")]
use super::session::{Session, Unmoved};
