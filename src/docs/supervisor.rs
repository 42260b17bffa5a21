//! A parent with a stable PID (feature `supervisor`).
//!
//! A process that replaces itself changes its PID. As PID 1 of a container, or as the main process of a
//! systemd unit that cannot be told, heirloom therefore *refuses* to restart and says why, instead of taking
//! the service down. What works:
//!
//! * systemd, told by its own protocol: see [`systemd`](super::systemd);
//! * a supervisor, for a container or anything else that knows one PID: this chapter;
//! * a pid file ([`Builder::pid_file`](crate::Builder::pid_file)), for anything that reads one.
//!
//! The same binary is parent and worker (`examples/supervised.rs`):
//!
#![cfg_attr(all(feature = "supervisor", feature = "http"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "supervisor", feature = "http")), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use heirloom::{Ending, Restarter, Supervisor, SupervisorError};
//!
//! fn main() -> Result<std::process::ExitCode, SupervisorError> {
//!     Supervisor::new().run(program)
//! }
//!
//! // In a process of its own.
//! #[tokio::main]
//! async fn program(restarter: Restarter) -> Result<Ending, Box<dyn std::error::Error>> {
//!     let router = Router::new().route("/", get(|| async { "Hello World" }));
//!     heirloom::http::serve(restarter.listen("127.0.0.1:8080")?, router);
//!     Ok(restarter.run().await?)
//! }
//! ```
//!
//! `kill -USR2` to the parent replaces the worker. The old worker serves until the new one is ready.
//! Connections and state move as they do without a parent. `heirloom restart` may name the parent or a
//! worker: the parent acts, and tells each step.
//!
//! A worker that dies is replaced, first at once and then with a backoff; connections wait in the kernel
//! meanwhile. A new version that keeps dying is given up for the last good one, even if that one's file is
//! gone.
//!
//! When the parent itself is killed, the worker stops in order, or serves on, as you set it.
//!
//! A server that is not built with heirloom gets the same parent from a command:
//! [`any_server`](super::any_server). The module `heirloom::supervisor` has the settings and the hazards.
//!
//! ---
//!
//! Before: [`command`](super::command). Next: [`any_server`](super::any_server).
