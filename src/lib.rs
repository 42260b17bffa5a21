//! Restart a network server without a single client noticing.
//!
//! On SIGHUP or SIGUSR2 the process starts its own program again and hands its listening sockets down to it,
//! as inherited file descriptors, the first of them fd 3, announced in an environment variable. The successor
//! initialises, says that it is ready, and accepts. The predecessor watches it for a moment, then finishes
//! what it holds, and exits. If the successor fails, the predecessor serves on as if nothing had happened.
//!
//! # One line
//!
//! ```no_run
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, heirloom::http::RunError> {
//!     let router = axum::Router::new().route("/", axum::routing::get(|| async { "Hello World" }));
//!     heirloom::http::run("127.0.0.1:8080", router).await
//! }
//! ```
//!
//! `kill -USR2 PID` restarts it, under full load, and not one request fails. `kill PID` stops it gracefully.
//! A restart that fails is told on standard error, or in the program's log if it has one (`tracing`).
//!
//! # Around an existing server
//!
//! [`Restarter::new`] early in `main`, listeners from [`Restarter::listen`] instead of from the system, and
//! [`Restarter::run`] at the end:
//!
//! ```no_run
//! use heirloom::drain::Connection;
//! use heirloom::stream::Stream;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! #[tokio::main]
//! async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
//!     let restarter = heirloom::Restarter::new()?;
//!     // The predecessor logs an error of the start as well: an operator looks there first.
//!     let mut listener = restarter.check(restarter.listen("127.0.0.1:7000")).await?;
//!     tokio::spawn(async move {
//!         // Accepts nothing before the predecessor has stopped, and ends when a successor has taken over.
//!         while let Some(connection) = listener.accept().await {
//!             tokio::spawn(echo(connection));
//!         }
//!     });
//!     // Ready: from here on the listener accepts. Returns when this process has nothing left to do.
//!     Ok(restarter.run().await?)
//! }
//!
//! async fn echo(mut connection: Connection<Stream>) -> std::io::Result<()> {
//!     let draining = connection.draining();
//!     let mut bytes = [0; 1024];
//!     loop {
//!         tokio::select! {
//!             read = connection.read(&mut bytes) => match read? {
//!                 0 => return Ok(()),
//!                 count => connection.write_all(&bytes[..count]).await?,
//!             },
//!             // A successor has taken over: the connection goes on there, or ends here.
//!             () = draining.clone() => match connection.move_on(Vec::new(), None).await {
//!                 Ok(()) => return Ok(()),
//!                 Err(connection) => return connection.close().await,
//!             },
//!         }
//!     }
//! }
//! ```
//!
//! A connection from [`Listener::accept`] is counted until it is dropped. It knows when it has to end
//! ([`drain::Connection::draining`]), and it can move to the successor instead
//! ([`drain::Connection::move_on`]). [`http::serve`] does all of that for a tower or hyper service. A
//! framework that accepts by itself takes the socket from [`Listener::into_tokio`], and runs in
//! [`Restarter::run_with`]: see [`docs::around`].
//!
//! # What else goes to the successor
//!
//! The program can hand down its own state, with [`Restarter::provide_state`] in the predecessor and
//! [`Restarter::state`] in the successor. It can hand down descriptors of any kind, with
//! [`Restarter::hand_down`] and [`Restarter::inherited_fd`].
//!
//! # Where to read on
//!
//! The guide is the module [`docs`], from [`docs::first_server`] on, in an order in which it can be read.
//! [`guarantees`] has what holds, by number, and what does not; [`docs::troubleshooting`] begins with what
//! one sees. Who knows tableflip (`Upgrade`, `Ready`, `Exit`, `Fds`), endless, axum-server's `Handle`,
//! listenfd or Server::Starter finds their words in [`docs::coming_from`].
//!
//! # Where things are
//!
//! * [`Builder`]: every deadline, with its default and the reason for it.
//! * [`SignalMap`]: which signal does what. [`Event`]: what happens, as it happens.
//! * [`drain`]: how connections are counted and told to close. [`http`]: the same for HTTP. `tls` (a
//!   feature): HTTPS.
//! * `supervisor` (a feature): the parent with a stable PID. `fetch` (a feature): new binaries from a file, a
//!   URL, GitHub's releases or an object store.
//! * `systemd` (a feature): what systemd is told. `metrics` (a feature): what is counted.
//! * [`control`]: how a process is operated from outside, which the command `heirloom` does.
#![cfg_attr(
    not(feature = "http"),
    doc = "

[`http`]: https://docs.rs/heirloom/latest/heirloom/http/
[`http::serve`]: https://docs.rs/heirloom/latest/heirloom/http/fn.serve.html"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(not(target_os = "linux"))]
compile_error!("heirloom needs Linux 5.4 or newer: it rests on pidfd, SO_COOKIE and SOCK_SEQPACKET");

#[macro_use]
mod error;
#[macro_use]
mod aside;

pub mod docs;
pub mod drain;
#[cfg(feature = "fetch")]
pub mod fetch;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod handdown;
// The protocol, as pure state machines. Not public: tests and fuzz targets come in here.
#[doc(hidden)]
pub mod handover;
#[cfg(feature = "http")]
pub mod http;
mod operate;
#[cfg(feature = "quic")]
pub mod quic;
mod restarter;
mod sockets;
#[cfg(feature = "supervisor")]
pub mod supervisor;
mod sys;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "udp")]
pub mod udp;

pub use drain::stream;
pub use operate::control;
#[cfg(feature = "metrics")]
pub use operate::metrics;
#[cfg(feature = "systemd")]
pub use operate::systemd;

pub use docs::{design, guarantees};
pub use error::Cause;
pub use handdown::descriptors::{HandDownError, NameTooLong};
pub use handdown::inherited::InheritError;
pub use handdown::state::{State, StateError, StateWriter};
pub use handover::{Failure, Refusal};
pub use operate::event::Event;
pub use operate::pid_file::PidFileError;
pub use restarter::ending::{Ending, Reason};
pub use restarter::signals::{Reaction, Signal, SignalMap, SignalParseError};
pub use restarter::{
    Builder, Draining, Outcome, ReadyError, RestartError, Restarter, RunWithError, StartError, Status,
};
pub use sockets::accept::Listener;
pub use sockets::blocking::{BlockingConnection, BlockingListener, Waited};
pub use sockets::inherited::DescriptorError;
pub use sockets::listen::{IntoListen, Listen, ListenParseError};
pub use sockets::listen_error::ListenError;
#[cfg(feature = "supervisor")]
pub use supervisor::{Orphans, Supervisor, SupervisorError, SupervisorHandle};
pub use sys::address::Address;
