//! What operators and service managers see of a process.

pub mod control;
pub(crate) mod event;
pub(crate) mod kept_file;
#[cfg(feature = "metrics")]
pub mod metrics;
pub(crate) mod pid_file;
pub(crate) mod service;
pub(crate) mod stderr;
#[cfg(feature = "systemd")]
pub mod systemd;
pub(crate) mod terminal;
mod wish;
