//! What operators and service managers see of a process.

pub(crate) mod pid_file;
