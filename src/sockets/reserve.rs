//! The descriptors that clients do not get: the last ones are for the operator, and for a restart.
//!
//! Connections can use up a process's descriptors. Were they to have all of them, nobody could ask the
//! process for its status, stop it by its socket, or restart it, until the clients please to go. So the
//! accept loop waits, as it does when there is none at all, while fewer are free than a restart and its
//! operators may need.
//!
//! Nothing is counted: the kernel hands out the lowest number that is free. A connection whose number is
//! among the last ones says that all the lower ones are taken.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::resource::{Resource, getrlimit};

/// The process has one table of descriptors, so all its accept loops share this. Relaxed: it orders nothing,
/// and a reader that sees it late takes one more connection.
static IS_SHORT: AtomicBool = AtomicBool::new(false);

/// What is kept back. An operator takes one, and there may be 32 of them; a restart takes two for its
/// channel, one for its start directory, two for the new process, one for each state that is handed down, and
/// one for each descriptor that is handed down and has to move out of another's place (a handful).
const RESERVE: u64 = 64;

/// A process with few descriptors keeps no more back than this part of them.
const SHARE: u64 = 4;

/// Descriptors are short: what is left is not for connections.
#[derive(Debug, thiserror::Error)]
#[error(
    "of {limit} file descriptors only the last {reserve} are free, which are kept for operating and restarting; raise the \
     limit (ulimit -n), or have fewer idle connections"
)]
struct Short {
    limit: u64,
    reserve: u64,
}

/// Whether another connection may be accepted from this listener.
///
/// # Errors
///
/// Not now: descriptors are short, or none is left.
pub(crate) fn admit(listener: BorrowedFd<'_>) -> io::Result<()> {
    if !IS_SHORT.load(Ordering::Relaxed) {
        return Ok(());
    }
    // It has the number that the connection would have.
    let next = listener.try_clone_to_owned()?;
    match short_at(next.as_raw_fd()) {
        Some(short) => Err(io::Error::new(io::ErrorKind::QuotaExceeded, short)),
        None => {
            IS_SHORT.store(false, Ordering::Relaxed);
            Ok(())
        }
    }
}

/// A connection was accepted.
pub(crate) fn accepted(connection: &impl AsFd) {
    if is_reserved(connection) {
        IS_SHORT.store(true, Ordering::Relaxed);
    }
}

/// Whether a descriptor that this process has just come by is one of those that are kept back.
pub(crate) fn is_reserved(fd: &impl AsFd) -> bool {
    short_at(fd.as_fd().as_raw_fd()).is_some()
}

fn short_at(next: RawFd) -> Option<Short> {
    // Asked each time: it can be changed from outside.
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let reserve = RESERVE.min(limit / SHARE);
    let is_short = u64::try_from(next).is_ok_and(|next| next >= limit - reserve);
    is_short.then_some(Short { limit, reserve })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::alone;
    use nix::sys::resource::setrlimit;
    use std::fs::File;
    use std::net::TcpListener;

    #[test]
    fn the_last_descriptors_are_not_for_connections() {
        alone("sockets::reserve::tests::the_last_descriptors_are_not_for_connections", &[], || {
            let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
            setrlimit(Resource::RLIMIT_NOFILE, 100, hard).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut connections = Vec::new();
            while admit(listener.as_fd()).is_ok() {
                connections.push(File::open("/dev/null").unwrap());
                accepted(connections.last().unwrap());
            }
            let last = connections.last().unwrap().as_raw_fd();
            assert_eq!(last, 75, "a quarter is kept back, but for the one that shows it");
            let said = admit(listener.as_fd()).unwrap_err().to_string();
            assert!(said.contains("of 100 file descriptors only the last 25 are free"), "{said}");

            connections.truncate(connections.len() - 2);
            assert!(admit(listener.as_fd()).is_ok(), "there is room again");
            setrlimit(Resource::RLIMIT_NOFILE, 60, hard).unwrap();
            accepted(connections.last().unwrap());
            assert!(admit(listener.as_fd()).is_err(), "the limit has become lower");
            setrlimit(Resource::RLIMIT_NOFILE, 1000, hard).unwrap();
            assert!(admit(listener.as_fd()).is_ok(), "it has been raised");
        });
    }
}
