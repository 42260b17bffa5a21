//! A parent with a stable PID that owns the listening sockets and replaces its workers.

pub(crate) mod command;

pub use command::{EnvironmentError, EnvironmentSource, Listening, NumberError, Readiness, ReadinessError, become_worker};
