//! Restart a network server without a single client noticing.

#[cfg(not(target_os = "linux"))]
compile_error!("heirloom needs Linux 5.4 or newer: it rests on pidfd, SO_COOKIE and SOCK_SEQPACKET");

pub mod drain;
#[cfg(feature = "http")]
pub mod http;
pub mod stream;
pub(crate) mod sys;
