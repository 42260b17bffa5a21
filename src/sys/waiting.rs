//! How many connections wait in a listener's queue.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::address::Address;

/// Connections to `listener`, which is bound to `address`, that nobody has accepted yet.
pub(crate) fn waiting(listener: BorrowedFd<'_>, address: &Address) -> io::Result<u32> {
    // Nearly always there is none, and this is the cheapest way to know.
    let mut watched = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut watched, PollTimeout::ZERO)? == 0 {
        return Ok(0);
    }
    match address {
        Address::Inet(_) => queued(listener),
        // What makes it readable waits, whether or not the table of this network namespace shows it.
        Address::UnixPath(path) => Ok(in_table(path.as_os_str().as_bytes())?.max(1)),
        Address::UnixAbstract(name) => Ok(in_table(&[b"@", &name[..]].concat())?.max(1)),
        Address::Unnamed => Ok(1),
    }
}

/// Of a TCP socket that listens, the kernel gives the queue's length in the place of segments on their way.
fn queued(listener: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: tcp_info is plain data, for which all zeroes is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: `info` is ours, `length` is its true size, and both outlive the call; the descriptor is
    // borrowed.
    let asked = unsafe {
        let into = (&raw mut info).cast();
        libc::getsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, into, &mut length)
    };
    Errno::result(asked)?;
    Ok(info.tcpi_unacked)
}

/// Unix sockets with the listener's name that belong to no process yet: their inode is 0.
fn in_table(name: &[u8]) -> io::Result<u32> {
    let table = fs::read("/proc/net/unix")?;
    let waits = |line: &&[u8]| {
        let Some(rest) = line.strip_suffix(name) else { return false };
        rest.strip_suffix(b" 0 ").is_some()
    };
    Ok(table.split(|byte| *byte == b'\n').filter(waits).count() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::scratch;
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};

    #[test]
    fn a_queue_is_as_long_as_what_was_not_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let length = || waiting(listener.as_fd(), &Address::Inet(at)).unwrap();
        assert_eq!(length(), 0);
        let _clients: Vec<_> = (0..3).map(|_| TcpStream::connect(at).unwrap()).collect();
        assert_eq!(length(), 3);
        let _accepted = listener.accept().unwrap();
        assert_eq!(length(), 2);
    }

    #[test]
    fn of_unix_sockets_too() {
        let directory = scratch("waiting");
        let path = directory.join("a socket");
        let name = format!("heirloom-waiting-{}", std::process::id()).into_bytes();
        let hidden = SocketAddr::from_abstract_name(&name).unwrap();
        for (at, address) in [
            (SocketAddr::from_pathname(&path).unwrap(), Address::UnixPath(path)),
            (hidden, Address::UnixAbstract(name)),
        ] {
            let listener = UnixListener::bind_addr(&at).unwrap();
            let length = || waiting(listener.as_fd(), &address).unwrap();
            assert_eq!(length(), 0);
            let _clients: Vec<_> = (0..3).map(|_| UnixStream::connect_addr(&at).unwrap()).collect();
            assert_eq!(length(), 3);
            let _accepted = listener.accept().unwrap();
            assert_eq!(length(), 2);
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
