//! Workers that are not heirloom programs: any command, in any language.
//!
//! A worker finds its sockets from fd 3 on, announced as systemd announces them and as Server::Starter does; whether it is
//! ready, it says by a means of its own or is asked; and it is told to go by a signal.

mod builder;
mod environment;
mod foreign;
mod listening;
mod making;
mod numbers;
mod readiness;
mod shim;
mod spawner;
mod status_file;
mod timed;

pub use builder::WorkerCommand;
pub use environment::{EnvironmentError, EnvironmentSource};
pub use listening::Listening;
pub use numbers::NumberError;
pub use readiness::{Readiness, ReadinessError};
pub use shim::become_worker;
