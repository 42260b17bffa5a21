//! HTTPS, with connections and sessions that outlive a restart (feature `tls`).
//!
#![cfg_attr(feature = "tls", doc = "```no_run")]
#![cfg_attr(not(feature = "tls"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use heirloom::http::{Config, Server};
//! use heirloom::tls::Tls;
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     let listener = restarter.check(restarter.listen("127.0.0.1:8443")).await?;
//!     let tls = restarter.check(Tls::from_pem_files("cert.pem", "key.pem")).await?;
//!     tls.inherit_tickets(&restarter).await;
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     Server::tower(Config::new(), router).accept_tls_from(listener, &tls);
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! * **Certificates** are read by each generation at its start: a restart is how new ones come in. One that
//!   cannot be read fails the restart, with the file and the reason, and the old process serves on.
//! * **Connections** (HTTP/1 over TLS 1.3) move like those without TLS, with their keys. A client that keeps
//!   its connection makes one handshake, however many restarts there are.
//! * **Sessions** are resumed with the successor: it is handed the keys of the tickets.
//! * **Client certificates** are verified once, in the handshake. Handlers of every generation know them
//!   (`http::Peer::certificates`; `heirloom::tls` has an example, and what it means for revocation).
//! * **What does not move** (TLS 1.2, AES-128, HTTP/2 with streams that last) is told to close.
//!
//! The module `heirloom::tls` has the threat model: which keys leave rustls, where they are, and who could
//! read them. `Tls::move_connections(false)` turns it off. `examples/live.rs` is a server with WebSockets
//! and event streams over it.
//!
//! ---
//!
//! Before: [`state`](super::state). Next: [`udp`](super::udp).
