//! Descriptors that a tokio runtime watches.
//!
//! epoll goes by the number and the open file description together, so what is registered must stay open
//! under its number until it is deregistered: that is what [`Steady`] vouches for.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::channel::Channel;
use super::pidfd::Pidfd;

/// What owns one descriptor for its whole life.
///
/// # Safety
///
/// `as_raw_fd` gives the same open descriptor until the value is dropped, whatever is done with a shared
/// reference.
pub(crate) unsafe trait Steady: AsRawFd {}

// SAFETY: an OwnedFd is open under one number until the last Arc drops it.
unsafe impl Steady for Arc<OwnedFd> {}
// SAFETY: it holds an OwnedFd in a private field that nothing replaces.
unsafe impl Steady for Channel {}
#[cfg(feature = "udp")]
// SAFETY: as above, and shared by an Arc.
unsafe impl Steady for Arc<Channel> {}
// SAFETY: as above.
unsafe impl Steady for Pidfd {}
#[cfg(feature = "supervisor")]
// SAFETY: as above, and shared by an Arc.
unsafe impl Steady for Arc<super::notify::NotifySocket> {}

/// Registers `inner` with the current runtime, to learn when it is readable. Dropping the result deregisters
/// it, and then drops `inner`.
pub(crate) fn watch<T: Steady>(inner: T) -> io::Result<AsyncFd<T>> {
    watch_for(inner, Interest::READABLE)
}

/// As [`watch`], to learn of something else or more.
pub(crate) fn watch_for<T: Steady>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `Steady` promises just what the call asks for, and the AsyncFd owns `inner` until it has
    // deregistered.
    unsafe { AsyncFd::register_with_interest(inner, interest) }.map_err(io::Error::from)
}
