//! The only place with `unsafe`: each file one family of system calls, no policy. (And `reading` and
//! `process`, which need none.)
//!
//! What every file here keeps to:
//!
//! - A descriptor is an [`OwnedFd`](std::os::fd::OwnedFd) from the moment the kernel hands it out, and is
//!   close-on-exec from that moment too: no other thread's exec can carry it away.
//! - A bare number becomes an owned descriptor in one place only, `inherit`, and once per process.
//! - Nothing waits, except `spawn` (until the exec) and its clean-up (until a killed child is gone).
//!
//! Hazards that the callers share: `O_NONBLOCK` and `flock` belong to the open file description, so a change
//! to them reaches every process that holds a copy; and a process id names a process only until somebody
//! reaps it, which is why everything after the spawn goes through a pidfd.
#![allow(unsafe_code)]

pub(crate) mod address;
#[cfg(test)]
pub(crate) mod alone;
pub(crate) mod arrivals;
pub(crate) mod channel;
pub(crate) mod directory;
pub(crate) mod environment;
pub(crate) mod inherit;
pub(crate) mod lock;
pub(crate) mod memfd;
#[cfg(feature = "supervisor")]
pub(crate) mod notify;
#[cfg(feature = "supervisor")]
pub(crate) mod orphan;
pub(crate) mod pidfd;
pub(crate) mod process;
#[cfg(feature = "http")]
pub(crate) mod reading;
pub(crate) mod signals;
pub(crate) mod socket;
pub(crate) mod spawn;
#[cfg(feature = "udp")]
pub(crate) mod udp;
#[cfg(feature = "supervisor")]
pub(crate) mod waiting;
pub(crate) mod watched;
