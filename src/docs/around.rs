//! Around an existing server: the least that a program has to change.
//!
//! In every case there are three things to change: [`Restarter::new`](crate::Restarter::new) early in `main`,
//! the listener from [`Restarter::listen`](crate::Restarter::listen) instead of from the system, and
//! [`Restarter::run`](crate::Restarter::run) at the end, with what it gives returned from `main`.
//!
//! | what the program has | what to do |
//! |---|---|
//! | a tower or hyper service (axum, warp, poem, tonic's `Routes`) | `http::serve` instead of the framework's serve: nothing is lost |
//! | an accept loop of its own | [`Listener::accept`](crate::Listener::accept), with HTTP or without it |
//! | a framework that accepts by itself | heirloom lends it the connections: [`frameworks`](super::frameworks), and nothing is lost; or the framework keeps its own loop, in [`Restarter::run_with`](crate::Restarter::run_with) |
//! | threads and no runtime | [`Listener::into_blocking`](crate::Listener::into_blocking) |
//! | datagrams | `Restarter::flows` (feature `udp`), or [`Restarter::udp`](crate::Restarter::udp): [`udp`](super::udp) |
//! | another language | `heirloom run`: see [`any_server`](super::any_server) |
//!
//! # A service
//!
//! An axum program, with five changed lines (`examples/axum.rs` marks them):
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     let restarter = heirloom::Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:3000")?;
//!     heirloom::http::serve(listener, router);
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! Handlers that ask for axum's `ConnectInfo` need `http::serve_with` and `http::Config::connect_info`
//! (feature `axum`). Whatever else a service looks for in a request is added by `http::Config::on_request`.
//!
//! # WebSockets and event streams
//!
//! A handler that runs for as long as its connection has to hear of the restart. One that knows nothing of it
//! holds up the old process until the drain deadline (60 s), and is cut off then: its client sees a close
//! without a reason (1006), or a stream without an end. One line each lets it end in good order, and its
//! client comes back to the new process:
//!
//! ```no_run
//! use std::convert::Infallible;
//! use std::time::Duration;
//!
//! use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
//! use axum::extract::State;
//! use axum::response::sse::{Event, Sse};
//! use axum::response::{IntoResponse, Response};
//! use axum::{Router, routing::get};
//! use futures_util::{StreamExt, stream};
//! use heirloom::Restarter;
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:3000")?;
//!     let router = Router::new()
//!         .route("/", get(|| async { "Hello World" }))
//!         .route("/ticks", get(ticks))
//!         .route("/echo", get(echo))
//!         .with_state(restarter.clone());
//!     heirloom::http::serve(listener, router);
//!     Ok(restarter.run().await?)
//! }
//!
//! async fn ticks(State(restarter): State<Restarter>) -> impl IntoResponse {
//!     let ticks = stream::unfold(0_u64, |count| async move {
//!         tokio::time::sleep(Duration::from_millis(100)).await;
//!         Some((Ok::<_, Infallible>(Event::default().data(count.to_string())), count + 1))
//!     });
//!     // This line: the stream has an end, so that its client asks again.
//!     Sse::new(ticks.take_until(restarter.draining()))
//! }
//!
//! async fn echo(upgrade: WebSocketUpgrade, State(restarter): State<Restarter>) -> Response {
//!     upgrade.on_upgrade(|socket| converse(socket, restarter))
//! }
//!
//! async fn converse(mut socket: WebSocket, restarter: Restarter) {
//!     // It says that the service restarts.
//!     let goodbye = CloseFrame { code: 1012, reason: "".into() };
//!     loop {
//!         let message = tokio::select! {
//!             message = socket.recv() => message,
//!             // This line.
//!             () = restarter.draining() => Some(Ok(Message::Close(Some(goodbye.clone())))),
//!         };
//!         let Some(Ok(message)) = message else { return };
//!         let is_last = matches!(message, Message::Close(_));
//!         if socket.send(message).await.is_err() || is_last {
//!             return;
//!         }
//!     }
//! }
//! ```
//!
//! Better still, they go on in the new process, and no client notices: see
//! [`connections`](super::connections). For tokio-tungstenite without HTTP there is a program in
//! `examples/frameworks/`.
//!
//! # A framework that accepts by itself
//!
//! Where heirloom can neither have the service nor [lend the connections](super::frameworks), the loop is the
//! framework's. [`Restarter::run_with`](crate::Restarter::run_with) says ready, gives the framework its
//! shutdown signal, and waits for what it holds:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     let restarter = heirloom::Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:3000")?.into_tokio()?;
//!     let serve = |draining| async { axum::serve(listener, router).with_graceful_shutdown(draining).await };
//!     Ok(restarter.run_with(serve).await?)
//! }
//! ```
//!
//! Do not await `axum::serve(..)` and then call `run`: that server would be ready only when it is over.
//! heirloom cannot pause such a loop, and cannot control how it closes its connections: a few requests are
//! lost at each restart (see the [limits](super::guarantees#what-is-not-guaranteed)).
//!
//! # Threads
//!
//! A thread that waits for the next request in [`BlockingConnection::wait`](crate::BlockingConnection::wait)
//! hears of the drain, and lets an idle connection [`move_on`](crate::BlockingConnection::move_on). In 20
//! restarts under 8 kept connections, none was closed and none of 84,000 requests failed. `main` ends with
//! [`Restarter::run_blocking`](crate::Restarter::run_blocking). `examples/frameworks/` has a whole program.
//!
//! # Then
//!
//! * **Initialisation that can fail:** [`Restarter::check`](crate::Restarter::check) tells the *old* process
//!   the reason, so that it is in its log, and in the answer to `heirloom restart`.
//! * **Listeners:** [`Listen`](crate::Listen) has names, several listeners, Unix sockets (`unix:/path`,
//!   `unix:@abstract`), UDP, a port 0 that stays the same over restarts, backlog and reuse options, and
//!   sockets by activation (`LISTEN_FDS`).
//! * **Signals:** [`SignalMap`](crate::SignalMap) changes which signal does what, with hooks before and
//!   after. [`SignalMap::endless`](crate::SignalMap::endless) is the map of Go's endless.
//! * **From code:** [`Restarter::restart`](crate::Restarter::restart) tells the outcome.
//!   [`Restarter::shutdown`](crate::Restarter::shutdown) tells what it had to abort.
//!   [`Restarter::events`](crate::Restarter::events) tells what happens.
//! * **A terminal:** when it is closed, the server that was started on it stops gracefully; one that has
//!   restarted since is [no longer the shell's](super::first_server#in-a-terminals-foreground), and goes on.
//!   Under `nohup`, SIGHUP does nothing and USR2 restarts.
//! * **A pid file:** [`Builder::pid_file`](crate::Builder::pid_file) is written atomically, owned by a lock,
//!   rewritten at each restart, and removed by the last process.
//!
//! ---
//!
//! Before: [`first_server`](super::first_server). Next: [`frameworks`](super::frameworks).
