//! Connections that move: which go on in the new process, and what becomes of the others.
//!
//! A restart settles when the new process has accepted for the length of the probation. Then the old one lets
//! go of its connections. What can go on in the new process *moves* there, as a descriptor over a socket that
//! only the two have: the client notices nothing.
//!
//! | connection | at a restart | what the program does for it |
//! |---|---|---|
//! | HTTP/1, idle or between two requests | moves | nothing |
//! | HTTP/1 over TLS 1.3 | moves, with its keys (AES-256 or ChaCha20) and what the client has shown of itself | nothing |
//! | HTTP/1 with something kept for it in memory | moves with it, or stays | `http::Baggage` |
//! | WebSocket, event stream over HTTP/1 | moves between two messages | `http::sessions`: five lines; else one line, so that it [ends in good order](super::around#websockets-and-event-streams) |
//! | HTTP/2, also over TLS 1.3 | moves between streams; told to close where one lasts | nothing |
//! | TLS 1.2 | told to close, finishes what it has | nothing |
//! | a protocol of the program's own | moves when the program says so | [`Connection::move_on`](crate::drain::Connection::move_on), [`BlockingConnection::move_on`](crate::BlockingConnection::move_on) |
//! | HTTP/1 and HTTP/2, lent to a framework that serves by itself | moves | [`frameworks`](super::frameworks) |
//! | in a framework's own accept loop | as the framework closes it | [`around`](super::around#a-framework-that-accepts-by-itself) |
//!
//! Without a successor (the service stops) nothing moves. Connections are told to close, and after the
//! [idle linger](crate::Builder::idle_linger) they are closed.
//!
//! # A protocol of one's own
//!
//! Each line is answered with its number. The count goes with the connection, and so does a part of a line
//! that was read and not answered yet. It comes out of the accept loop of the new process like any other:
//!
//! ```no_run
//! use heirloom::drain::Connection;
//! use heirloom::stream::Stream;
//! use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     let mut listener = restarter.listen("127.0.0.1:7000")?;
//!     tokio::spawn(async move {
//!         while let Some(connection) = listener.accept().await {
//!             tokio::spawn(converse(connection));
//!         }
//!     });
//!     Ok(restarter.run().await?)
//! }
//!
//! async fn converse(mut connection: Connection<Stream>) -> std::io::Result<()> {
//!     let state = connection.take_state().and_then(|state| state.try_into().ok());
//!     let mut count = state.map_or(0, u64::from_le_bytes);
//!     let draining = connection.draining();
//!     let (mut connection, mut line) = (BufReader::new(connection), Vec::new());
//!     loop {
//!         tokio::select! {
//!             read = connection.read_until(b'\n', &mut line) => {
//!                 if read? == 0 {
//!                     return Ok(());
//!                 }
//!                 count += 1;
//!                 connection.write_all(format!("{count}: ").as_bytes()).await?;
//!                 connection.write_all(&line).await?;
//!                 line.clear();
//!             }
//!             () = draining.clone() => break,
//!         }
//!     }
//!     // What was read and not answered comes first there.
//!     line.extend_from_slice(connection.buffer());
//!     match connection.into_inner().move_on(line, Some(count.to_le_bytes().into())).await {
//!         Ok(()) => Ok(()),
//!         Err(mut connection) => {
//!             connection.write_all(b"goodbye\n").await?;
//!             connection.close().await
//!         }
//!     }
//! }
//! ```
//!
//! # A WebSocket
//!
//! Each message is answered with its number, in whichever process:
//!
//! ```no_run
//! use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
//! use axum::routing::{any, get};
//! use axum::{Extension, Router, response::Response};
//! use heirloom::http::{Config, Server, Session};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:3000")?;
//!     let router = Router::new().route("/", get(|| async { "Hello World" })).route("/count", any(count));
//!     Server::tower(Config::new().move_websockets(true), router).accept_from(listener);
//!     Ok(restarter.run().await?)
//! }
//!
//! async fn count(upgrade: WebSocketUpgrade, Extension(session): Extension<Session>) -> Response {
//!     upgrade.on_upgrade(|socket| talk(socket, session))
//! }
//!
//! async fn talk(mut socket: WebSocket, session: Session) {
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
//!             () = session.leaving() => {
//!                 // The handler in the new process goes on. If not, the client has been told to come again.
//!                 let _ = session.move_on(count.to_le_bytes()).await;
//!                 return;
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! `examples/chat.rs` is a chat room for browsers (two tabs of Chromium type through five restarts in the
//! tests, over `wss://`), `examples/live.rs` has event streams and TLS. The
//! [limits](super::guarantees#what-is-not-guaranteed) say when a session cannot move.
//!
//! # Why did it not move?
//!
//! `heirloom status` says for how many connections and why, and so does the line `connections moved` in the
//! log. The successor must listen at the same address (or under the same name), must be able to take a
//! descriptor, and must not have handed over by then itself.
//!
//! ---
//!
//! Before: [`deadlines`](super::deadlines). Next: [`state`](super::state).
