//! From a number in the environment to an owned descriptor, once.
//!
//! A number says nothing about what is behind it: another part of the program may have opened its own file
//! there. So compare what was announced with [`peek_cookie`] or [`peek_identity`] first, adopt early, and
//! never adopt a number that this process has made itself.

use std::collections::BTreeSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;

/// Why a number was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AdoptError {
    /// 0 to 2, or negative: never handed down.
    #[error("fd {fd} cannot be an inherited socket: inherited descriptors start at 3")]
    Standard { fd: RawFd },
    /// Once owned, the number can be closed and mean something else: a second owner would close a stranger's.
    #[error("fd {fd} has already been taken over by this process; an inherited descriptor has one owner")]
    AlreadyTaken { fd: RawFd },
    /// Announced, but nothing is there.
    #[error("fd {fd} is announced but not open; the process that started this one did not pass it on")]
    Closed { fd: RawFd },
    /// What is there was made by this process: nothing comes through an exec with close-on-exec set. The
    /// program's runtime opens its own before anybody asks for what was inherited, at the lowest free
    /// numbers.
    #[error(
        "fd {fd} is announced but was not passed on, and is open to something of this process's own; \
         the process that started this one closed it"
    )]
    OurOwn { fd: RawFd },
    /// The system refused to mark it close-on-exec.
    #[error("fd {fd} cannot be taken over")]
    Other { fd: RawFd, source: io::Error },
}

/// Takes ownership of an inherited descriptor, and keeps it from any further exec.
pub(crate) fn adopt(fd: RawFd) -> Result<OwnedFd, AdoptError> {
    if fd < FIRST {
        return Err(AdoptError::Standard { fd });
    }
    // Held to the end: of two callers with one number, exactly one is the owner.
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if taken.contains(&fd) {
        return Err(AdoptError::AlreadyTaken { fd });
    }
    // SAFETY: F_GETFD takes integers only, and a number that is not open is an error.
    match Errno::result(unsafe { libc::fcntl(fd, libc::F_GETFD) }) {
        Ok(flags) if flags & libc::FD_CLOEXEC != 0 => return Err(AdoptError::OurOwn { fd }),
        Ok(_) => {}
        Err(Errno::EBADF) => return Err(AdoptError::Closed { fd }),
        Err(errno) => return Err(AdoptError::Other { fd, source: errno.into() }),
    }
    // SAFETY: F_SETFD takes integers only.
    if let Err(errno) = Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }) {
        return Err(AdoptError::Other { fd, source: errno.into() });
    }
    taken.insert(fd);
    // SAFETY: the descriptor is open, was handed to this process for the taking, and the set above sees to it
    // that this is its only owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The SO_COOKIE of whatever has this number, without taking it: `None` if that is no socket, or nothing.
pub(crate) fn peek_cookie(fd: RawFd) -> Option<u64> {
    let mut cookie = 0_u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `cookie` and `length` are ours, outlive the call, and agree in size; the number need not be
    // open.
    let got = unsafe {
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_COOKIE, (&raw mut cookie).cast(), &mut length)
    };
    (got == 0).then_some(cookie)
}

/// The device and the inode of whatever has this number, without taking it: `None` if that is nothing.
/// Descriptors that the kernel keeps no file for (epoll, timers, pidfds) share one inode.
pub(crate) fn peek_identity(fd: RawFd) -> Option<(u64, u64)> {
    let mut status = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: the kernel writes one `stat` to memory that is ours and big enough; the number need not be
    // open.
    let got = unsafe { libc::fstat(fd, status.as_mut_ptr()) };
    // SAFETY: fstat succeeded, so it has filled in all of it.
    (got == 0).then(|| unsafe { status.assume_init() }).map(|status| (status.st_dev, status.st_ino))
}

/// What this process has taken so far. Nothing is ever given back: see [`AdoptError::AlreadyTaken`].
static TAKEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// After standard input, output and error.
const FIRST: RawFd = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::alone;
    use std::net::UdpSocket;
    use std::os::fd::{AsRawFd, IntoRawFd};

    #[test]
    fn a_number_is_taken_once_and_never_again() {
        alone("sys::inherit::tests::a_number_is_taken_once_and_never_again", &[], || {
            let fd = UdpSocket::bind("127.0.0.1:0").unwrap().into_raw_fd();
            assert!(matches!(adopt(fd), Err(AdoptError::OurOwn { fd: it }) if it == fd), "close-on-exec");
            // SAFETY: F_SETFD and F_GETFD take integers only.
            unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
            let owned = adopt(fd).unwrap();
            // SAFETY: as above.
            assert_eq!(unsafe { libc::fcntl(owned.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
            assert!(matches!(adopt(fd), Err(AdoptError::AlreadyTaken { fd: it }) if it == fd));
            drop(owned);
            let reused = UdpSocket::bind("127.0.0.1:0").unwrap();
            assert_eq!(reused.as_raw_fd(), fd);
            assert!(matches!(adopt(fd), Err(AdoptError::AlreadyTaken { .. })));
            reused.local_addr().unwrap();
        });
    }

    #[test]
    fn numbers_that_nobody_hands_down_are_refused() {
        for fd in [-1, 0, 1, 2] {
            assert!(matches!(adopt(fd), Err(AdoptError::Standard { .. })), "{fd}");
        }
        let error = adopt(900_000).unwrap_err();
        assert!(matches!(error, AdoptError::Closed { fd: 900_000 }));
        assert!(error.to_string().contains("fd 900000"), "{error}");
    }

    #[test]
    fn a_cookie_is_of_the_socket_and_not_of_the_number() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let copy = socket.try_clone().unwrap();
        let other = UdpSocket::bind("127.0.0.1:0").unwrap();
        let cookie = peek_cookie(socket.as_raw_fd());
        assert!(cookie.is_some());
        assert_eq!(cookie, peek_cookie(copy.as_raw_fd()));
        assert_ne!(cookie, peek_cookie(other.as_raw_fd()));
        assert_eq!(peek_cookie(std::fs::File::open("/dev/null").unwrap().as_raw_fd()), None);
        assert_eq!(peek_cookie(900_000), None);
    }

    #[test]
    fn an_identity_is_of_the_file_and_not_of_the_number() {
        let (pipe, _writer) = std::io::pipe().unwrap();
        let copy = pipe.try_clone().unwrap();
        let (other, _writer) = std::io::pipe().unwrap();
        let identity = peek_identity(pipe.as_raw_fd());
        assert!(identity.is_some());
        assert_eq!(identity, peek_identity(copy.as_raw_fd()));
        assert_ne!(identity, peek_identity(other.as_raw_fd()));
        assert_eq!(peek_identity(900_000), None);
    }
}
