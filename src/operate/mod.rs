//! What operators and service managers see of a process.

#[cfg(feature = "control")]
pub(crate) mod control;
pub(crate) mod pid_file;
#[cfg(feature = "control")]
pub(crate) mod stderr;
