//! Workers that are not heirloom programs: any command, in any language.
//!
//! ```text
//!  supervisor         shim (this binary, for a millisecond)          worker
//!    sockets at 3.., ──▶ LISTEN_PID, own session, signal at ──▶  its program
//!    environment         the supervisor's death
//!    tells the watcher ─▶ exec
//!               ◀── why it could not be executed, or the socket's end
//!               ◀────────────────────────── ready: a word, a line, an answer, or time
//!               ─────────── the stop signal, and SIGKILL for the group at the deadline ──▶
//! ```
//!
//! What the supervisor decides, it decides as for its own kind ([`supervise`](crate::handover::supervise));
//! what it cannot say to a foreign program, it leaves out: such a worker is not paused while its successor is
//! on probation, so both accept, and taking back is doing nothing.
//!
//! # Hazards
//!
//! - O_NONBLOCK belongs to the socket, and so to every worker at once. It is set or cleared before the first
//!   worker starts and never touched again: clearing it under a worker that relies on it makes that one hang
//!   in accept.
//! - A worker's pid is its process group's as long as it has not been reaped: the group is killed first.
//! - The signal at the supervisor's death comes when the *thread* ends that started the worker: the
//!   [`spawner`] is one that lasts.
//! - That signal is forgotten when the worker changes its user: the [`watcher`] is for those.
//! - A check of a shared socket is answered by the old worker: see [`readiness`].

mod asking;
mod builder;
mod environment;
mod foreign;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod listening;
mod making;
mod numbers;
mod readiness;
mod shim;
mod spawner;
mod status_file;
mod stopped;
mod timed;
mod watcher;

pub use builder::WorkerCommand;
pub use environment::{EnvironmentError, EnvironmentSource};
pub use listening::Listening;
pub use numbers::NumberError;
pub use readiness::{Readiness, ReadinessError};
pub use shim::become_worker;
