//! The handover channel: a `SOCK_SEQPACKET` socketpair, for its message boundaries and for `SCM_RIGHTS`.
//!
//! Hazards: the end of the stream looks like an empty message, so there are none. A peer that dies with our
//! messages unread makes the *next* receive fail with ECONNRESET, ahead of what it had sent before: that has
//! to be read past. And descriptors that do not fit under our limit are dropped by the kernel, some or all of
//! them, while the bytes arrive: the flag for that must not be overlooked. All receiving is done here by
//! hand, since the wrappers at hand give up the descriptors that did arrive as soon as that flag is set.

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
#[cfg(feature = "quic")]
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use socket2::{Domain, SockRef, Type};

/// One end of a channel, non-blocking: wrap it in tokio's `AsyncFd` to wait.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
}

/// What a receive found.
#[derive(Debug)]
pub(crate) enum Received {
    /// The other end is closed everywhere, and everything it sent has been read.
    End,
    /// One message.
    Message {
        /// What was sent, cut off at [`MAX_MESSAGE`].
        bytes: Vec<u8>,
        /// The descriptors that came along, in order, close-on-exec.
        fds: Vec<OwnedFd>,
        /// The message was longer than [`MAX_MESSAGE`].
        truncated: bool,
        /// Some of the descriptors are missing: this process is at its limit.
        fds_lost: bool,
    },
}

/// Why a message is refused before it is sent, or a descriptor before it is a channel.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("a message on the handover channel has 1 to {MAX_MESSAGE} bytes, not {bytes}")]
    Size { bytes: usize },
    #[error("a message on the handover channel carries at most {MAX_FDS} descriptors, not {fds}")]
    Fds { fds: usize },
    #[error("fd {fd} is not a handover channel (a connected Unix socket that keeps message boundaries)")]
    NotAChannel { fd: RawFd },
}

/// The longest message: below what a socket buffers by default (208 KiB), so that one always fits whole.
pub(crate) const MAX_MESSAGE: usize = 128 * 1024;

/// The most descriptors in a message: the kernel's own limit, SCM_MAX_FD.
pub(crate) const MAX_FDS: usize = 253;

impl Channel {
    /// A channel, and the end of it that is for another process.
    pub(crate) fn pair() -> io::Result<(Channel, OwnedFd)> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let (near, far) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        Ok((Channel { fd: near }, far))
    }

    /// Takes the end that another process handed down, and checks that it is one. Whether the other end still
    /// lives is for the first receive to find: what a dead peer sent can be read all the same.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Channel> {
        let socket = SockRef::from(&fd);
        let fits = socket.domain().is_ok_and(|domain| domain == Domain::UNIX)
            && socket.r#type().is_ok_and(|kind| kind == Type::SEQPACKET)
            && socket.is_listener().is_ok_and(|listening| !listening);
        if !fits {
            return Err(refuse(Misuse::NotAChannel { fd: fd.as_raw_fd() }));
        }
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Channel { fd })
    }

    /// Sends one message, whole or not at all. The descriptors stay the caller's; the message holds copies.
    /// `WouldBlock` while the peer is behind.
    pub(crate) fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        if !(1..=MAX_MESSAGE).contains(&bytes.len()) {
            return Err(refuse(Misuse::Size { bytes: bytes.len() }));
        }
        if fds.len() > MAX_FDS {
            return Err(refuse(Misuse::Fds { fds: fds.len() }));
        }
        let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = Control::new();
        let mut header = header(&mut part);
        if !fds.is_empty() {
            let length = size_of_val(fds);
            header.msg_control = control.0.as_mut_ptr().cast();
            // SAFETY: CMSG_SPACE only computes.
            header.msg_controllen = unsafe { libc::CMSG_SPACE(length as u32) } as _;
            // SAFETY: the control buffer has room for MAX_FDS descriptors, which is checked above, and is
            // aligned for a cmsghdr, so the first header lies in it with its data. A BorrowedFd is laid out
            // as its number.
            unsafe {
                let first = libc::CMSG_FIRSTHDR(&header);
                (*first).cmsg_level = libc::SOL_SOCKET;
                (*first).cmsg_type = libc::SCM_RIGHTS;
                (*first).cmsg_len = libc::CMSG_LEN(length as u32) as _;
                ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), length);
            }
        }
        loop {
            // SAFETY: the header points to `part`, which points to `bytes`, and to `control`; all outlive the
            // call, and sendmsg writes to none of them.
            let sent = unsafe { libc::sendmsg(self.fd.as_raw_fd(), &header, libc::MSG_NOSIGNAL) };
            match Errno::result(sent) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receives one message without descriptors into `buffer`, and says how long it is; 0 at the end. What is
    /// longer than the buffer is cut. `WouldBlock` while there is neither.
    #[cfg(feature = "udp")]
    pub(crate) fn recv_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match nix::sys::socket::recv(self.fd.as_raw_fd(), buffer, nix::sys::socket::MsgFlags::empty()) {
                Ok(length) => return Ok(length),
                Err(Errno::EINTR) => {}
                Err(Errno::ECONNRESET) => return Ok(0),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Whether something has arrived that nobody has received, or the end has.
    #[cfg(feature = "quic")]
    pub(crate) fn is_readable(&self) -> bool {
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO).is_ok_and(|found| found > 0)
    }

    /// Lets as much wait in it as the system allows.
    #[cfg(feature = "udp")]
    pub(crate) fn widen(&self) {
        // The kernel cuts it to net.core.wmem_max, and refuses nothing.
        let _ = SockRef::from(&self.fd).set_send_buffer_size(1 << 22);
    }

    /// Receives one message, or finds the end. `WouldBlock` while there is neither.
    pub(crate) fn recv(&self) -> io::Result<Received> {
        let mut buffer = vec![0_u8; MAX_MESSAGE];
        let mut control = Control::new();
        let mut was_reset = false;
        loop {
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut header = header(&mut part);
            header.msg_control = control.0.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control.0) as _;
            // SAFETY: the header points to `buffer` and `control` with their true sizes; both outlive the
            // call.
            let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
            let length = match Errno::result(length) {
                Ok(length) => length as usize,
                Err(Errno::EINTR) => continue,
                // Said once, and ahead of the messages that the peer sent before it died: they come next.
                Err(Errno::ECONNRESET) if !was_reset => {
                    was_reset = true;
                    continue;
                }
                Err(Errno::ECONNRESET) => return Ok(Received::End),
                Err(errno) => return Err(errno.into()),
            };
            // Before anything else can go wrong: from here on each descriptor has an owner that closes it.
            // SAFETY: recvmsg has just filled in the header, and nobody has taken descriptors from it yet.
            let fds = unsafe { take_fds(&header) };
            let fds_lost = header.msg_flags & libc::MSG_CTRUNC != 0;
            if length == 0 && fds.is_empty() && !fds_lost {
                return Ok(Received::End);
            }
            buffer.truncate(length);
            buffer.shrink_to_fit();
            let truncated = header.msg_flags & libc::MSG_TRUNC != 0;
            return Ok(Received::Message { bytes: buffer, fds, truncated, fds_lost });
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Channel> for OwnedFd {
    fn from(channel: Channel) -> OwnedFd {
        channel.fd
    }
}

/// Room for one control message with [`MAX_FDS`] descriptors; words, so that it is aligned for its header.
struct Control([u64; CONTROL_WORDS]);

// SAFETY: CMSG_SPACE only computes.
const CONTROL_WORDS: usize =
    unsafe { libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as u32) } as usize / size_of::<u64>();

impl Control {
    fn new() -> Control {
        Control([0; CONTROL_WORDS])
    }
}

/// A message header without address and control data.
pub(super) fn header(part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: msghdr is plain data, for which all zeroes (null, empty) is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = part;
    header.msg_iovlen = 1;
    header
}

/// Takes ownership of every descriptor that a received header carries.
///
/// # Safety
///
/// recvmsg has filled in the header, its control buffer is still there, and nobody else takes these
/// descriptors.
pub(super) unsafe fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the caller vouches for the header; the macros stay within its control buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: a control header that the macros returned, in the buffer that the caller vouches for.
        let (level, kind, length) = unsafe { ((*next).cmsg_level, (*next).cmsg_type, (*next).cmsg_len) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: CMSG_LEN only computes; the data begins behind this header.
            let (empty, data) = unsafe { (libc::CMSG_LEN(0) as usize, libc::CMSG_DATA(next)) };
            #[allow(clippy::unnecessary_cast, reason = "the C libraries disagree about the type")]
            let count = (length as usize).saturating_sub(empty) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the kernel wrote `count` numbers here, each of a descriptor it made for us just
                // now.
                fds.push(unsafe {
                    OwnedFd::from_raw_fd(ptr::read_unaligned(data.cast::<RawFd>().add(index)))
                });
            }
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    fds
}

fn refuse(misuse: Misuse) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, misuse)
}

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;
