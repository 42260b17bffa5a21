//! Options of a datagram socket that neither nix nor socket2 has.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Lets the kernel send in fragments what is longer than the path's MTU, as it does by default.
pub(crate) fn allow_fragments(socket: &impl AsFd, is_v6: bool) -> io::Result<()> {
    set(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT)?;
    if is_v6 {
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT)?;
        set(socket, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0)?;
    }
    Ok(())
}

/// Lets as much wait in its queue as the system allows (net.core.rmem_max), as nobody reads for a moment of
/// each restart.
pub(crate) fn widen(socket: &impl AsFd) {
    // The kernel cuts what is too much, and refuses nothing.
    let _ = socket2::SockRef::from(socket).set_recv_buffer_size(1 << 22);
}

/// Makes the kernel give each datagram by itself, for a reader that does not know of coalesced ones.
pub(crate) fn never_coalesce(socket: &impl AsFd) -> io::Result<()> {
    set(socket, libc::SOL_UDP, libc::UDP_GRO, 0)
}

fn set(socket: &impl AsFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed for the call, and the kernel reads `length` bytes from `value`,
    // which outlives it.
    let done = unsafe {
        libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, (&raw const value).cast(), length)
    };
    Errno::result(done).map(drop).map_err(io::Error::from)
}
