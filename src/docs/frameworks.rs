//! A framework that you use already: which of its parts heirloom takes the place of, and what is lost
//! otherwise.
//!
//! # Give heirloom the service where it can be had
//!
//! `http::serve` serves any tower service, and
//! `http::Server::new` any hyper service, with limits against slow clients. What
//! stays the framework's is its routes, extractors and middleware. For axum the service is the `Router`
//! itself.
//!
//! # Else lend it the connections
//!
//! A framework that accepts and serves by itself closes idle connections when it is told to shut down, and
//! each of these closes can cost a request that is on its way. So heirloom keeps the listener, and *lends*
//! the framework its connections: `Listener::into_incoming` gives
//! `http::Lent` ones, which are read and written like sockets. heirloom counts where requests
//! and responses end, over HTTP/1 and HTTP/2, and takes a connection from underneath the framework between
//! two of them: the framework reads an end, as if the client had left, and the client goes on with the
//! successor. The accept loop is heirloom's, so that it pauses while a successor is on probation.
//!
//! axum, with the feature `axum`:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     let restarter = heirloom::Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:3000")?.into_axum()?;
//!     let serve = |told| async { axum::serve(listener, router).with_graceful_shutdown(told).await };
//!     Ok(restarter.run_with(serve).await?)
//! }
//! ```
//!
//! hyper and hyper-util by hand:
//!
//! ```no_run
//! use std::convert::Infallible;
//!
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use hyper::service::service_fn;
//! use hyper::{Request, Response};
//! use hyper_util::rt::{TokioExecutor, TokioIo};
//! use hyper_util::server::conn::auto;
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     let mut incoming = restarter.listen("127.0.0.1:3000")?.into_incoming();
//!     tokio::spawn(async move {
//!         while let Some(lent) = incoming.accept().await {
//!             let builder = auto::Builder::new(TokioExecutor::new());
//!             let io = TokioIo::new(lent);
//!             tokio::spawn(async move { builder.serve_connection(io, service_fn(answer)).await });
//!         }
//!     });
//!     Ok(restarter.run().await?)
//! }
//!
//! async fn answer(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
//!     Ok(Response::new(Full::new("Hello World".into())))
//! }
//! ```
//!
//! # Programs
//!
//! `examples/frameworks/` in the repository has a program for each of these, beside the same program without
//! heirloom. `scripts/bench/frameworks` restarts them under load, and prints how many requests failed and how
//! many kept connections had to be opened again. In 20 restarts of each it was none. (On two busy cores, and
//! built without optimization: 3,586 requests to `key-value`, 5,878 calls to `tonic-incoming` and 5,517 to
//! `tonic`, 11,106 messages to `tokio-tungstenite`, and 19,404 to 28,161 requests to each of the others.)
//!
//! | program | what heirloom takes the place of | changed lines | and a file of `examples/frameworks/src/` to copy |
//! |---|---|---|---|
//! | `actix-web` | its `HttpServer`, for HTTP/1 | 4 | `actix_web.rs`, 94 lines |
//! | `axum` | the listener of its `serve` | 5 | |
//! | `hyper` | the listener of the program's own accept loop | 5 | |
//! | `hyper-util` | the listener of the program's own accept loop | 5 | |
//! | `key-value` | the listener of a server of Redis's protocol, whose data go along | 10 | `key_value.rs`, 90 lines |
//! | `poem` | its `Acceptor` | 5 | `poem.rs`, 47 lines |
//! | `salvo` | its `Acceptor` | 5 | `salvo.rs`, 73 lines |
//! | `threads` | the listener of threads without a runtime | 10 | `threads.rs`, 26 lines |
//! | `tokio-tungstenite` | the listener of a WebSocket server, and its handshake | 9 | `tokio_tungstenite.rs`, 87 lines |
//! | `tonic` | its server, for its `Routes` | 6, one for its health service | `tonic.rs`, 29 lines |
//! | `tonic-incoming` | the listener of tonic's own server | 6, one for its health service | `tonic_incoming.rs`, 74 lines, and `tonic.rs` |
//! | `tower` | the server behind a stack of layers (traces, a timeout, compression) | 5 | |
//! | `warp` | its server: it accepts on sockets of the kernel and nothing else, but gives its service | 5 | |
//!
//! Three programs speak no HTTP, or WebSockets alone. When such a connection can go, and what has to go with
//! it, nobody knows but the program, so more of it changes than the five lines of every program (what `main`
//! returns, the restarter, the listener, the accept loop, the end): the others name the connection's type,
//! and say when it goes, and with what.
//!
//! * **`tokio-tungstenite`** calls another `accept_async`, under which heirloom shakes hands and follows the
//!   messages. Each WebSocket goes on in the next process, with a count of its messages.
//! * **`key-value`** moves its connections between two commands, with those that were read ahead. The data
//!   are the [final state](super::state): the next process answers nothing before it has them. So no write is
//!   lost, and no read misses one; who asks during a restart waits, for half a second at the longest in those
//!   20, on a busy machine. Redis's own clients see no error either (`scripts/redis-test.sh`): in 20 restarts
//!   redis-benchmark had 90,000 commands answered, and four redis-cli that counted heard 3,121 numbers, each
//!   on one connection, with none missing or twice.
//! * **`threads`** waits for the next line where the drain wakes it.
//!
//! actix-web's `HttpServer` accepts on sockets of the kernel only. What is below it takes any connection,
//! and so its apps, extractors and middleware stay as they are; what is set on the `HttpServer` itself is
//! set on `actix_http::HttpService` instead.
//!
//! # Programs of others
//!
//! `examples/registry/` has two diffs. `scripts/registry-programs.sh` fetches the programs from crates.io,
//! applies and builds them, and restarts them under load; in 20 restarts no request failed, and no kept
//! connection had to be opened again.
//!
//! | program | what it is | lines that go | lines that come |
//! |---|---|---|---|
//! | dufs 0.47.0 | a file server on hyper-util, with TCP and Unix listeners, and TLS | 73 | 27 |
//! | tcpproxy 0.4.1 | a proxy of TCP connections | 8 | 11 |
//!
//! dufs is lent its connections. tcpproxy does not know what is in its tunnels, so each stays with the
//! process that has opened it, up to the [drain deadline](crate::Builder::drain_timeout).
//!
//! # tonic
//!
//! `http::serve` serves its `Routes`, and tonic's own server takes lent connections
//! (`serve_with_incoming_shutdown`, and `tonic_incoming.rs` to copy). Connections of its clients move between
//! calls, and tonic's channels stay connected: new calls wait, for a tenth of a second or a little longer,
//! until those that are open have ended. In 20 restarts of each on a busy machine no call failed:
//!
//! | | unary calls | calls with streams, of a tenth of a second each |
//! |---|---|---|
//! | `tonic`, through `http::serve` | 5,517 | 593 |
//! | `tonic-incoming`, its own server | 5,878 | 641 |
//!
//! A connection on which a stream lasts (longer than 15 s) is told to go. The channel connects anew then, but
//! a call that is being sent at that moment can be cancelled, and no channel repeats it.
//!
//! A restart is no change of health. [`Restarter::draining`](crate::Restarter::draining) resolves at a
//! restart and at a stop, and [`Restarter::is_ready`](crate::Restarter::is_ready) says no from a stop on:
//! only then say NOT_SERVING. At a restart end the streams of those who watch, so that they ask the
//! successor.
//!
//! `Request::remote_addr` finds what `http::Config::on_request` adds.
//!
//! # When the framework is told to stop
//!
//! Not when the drain begins: then it would close connections that heirloom would move, and refuse requests
//! on those that are to be told first. The signal that [`Restarter::run_with`](crate::Restarter::run_with)
//! gives comes when heirloom has taken back all that it has lent. A framework needs no signal for HTTP/1 at
//! all.
//!
//! What heirloom cannot take back is the framework's to end. If there is any, the signal comes at the end of
//! the [idle linger](crate::Builder::idle_linger) at the latest. That is:
//!
//! * connections on which something else than HTTP was spoken from the beginning;
//! * HTTP/2 connections without a successor, and those on which a stream lasts;
//! * HTTP/2 connections whose client leaves the window of the whole connection at HTTP/2's own 65,535 bytes
//!   and has not given back all that it has read (hyper and curl give far more): the successor's framework
//!   would believe that it may send more than that;
//! * HTTP/2 connections that were promised more than the successor's framework bears, after a change of its
//!   settings: smaller windows of streams, fewer streams at once.
//!
//! Over HTTP/2 heirloom says GOAWAY as soon as it knows that the connection stays, whatever the framework
//! does: the client asks elsewhere from then on, and what it has asked is answered. If it has no stream and
//! does not go, the connection is closed after the idle linger. So a framework that is never told to stop
//! loses its clients nothing but the streams that last beyond the drain deadline.
//!
//! Before: [`around`](super::around). Next: [`restart`](super::restart).
