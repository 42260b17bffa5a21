//! Datagrams with their sender's credentials, as `sd_notify` sends them.
//!
//! The socket is a file in a directory whose name nobody can guess. (What /proc/net/unix shows to everybody
//! is the name that bind was given: one by way of /proc/self/fd, which leads nowhere else.) Or it lies in the
//! abstract namespace, under a name that the kernel chooses: there anybody in the network namespace can send
//! to it. Every datagram carries the sender's process id as the kernel vouches for it, and it is for the
//! reader to ask whether that process may speak.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::ptr;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt,
};

use super::channel::{MAX_FDS, header, take_fds};

/// A socket to be told at, non-blocking: wrap it in tokio's `AsyncFd` to wait.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    fd: OwnedFd,
    /// Removed with it, and the directory that it is alone in.
    path: Option<PathBuf>,
}

/// What was told.
#[derive(Debug)]
pub(crate) struct Told {
    /// The datagram; longer ones than [`MAX_DATAGRAM`] are cut off there.
    pub(crate) bytes: Vec<u8>,
    /// Who sent it; `None` when it is no process that can be seen from here.
    pub(crate) sender: Option<i32>,
    /// Descriptors that came along. Closing them is the answer that `BARRIER=1` waits for.
    pub(crate) fds: Vec<OwnedFd>,
}

/// As much as systemd reads of one.
pub(crate) const MAX_DATAGRAM: usize = 4096;

/// How the socket is called in its directory.
pub(crate) const NAME: &str = "notify";

impl NotifySocket {
    /// In this directory, which is new and its own. Any process that knows the path can send to it.
    pub(crate) fn bind_in(directory: &Path) -> io::Result<NotifySocket> {
        let path = directory.join(NAME);
        // A variable that no program could connect to is worse than none.
        UnixAddr::new(&path)?;
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY | libc::O_NOFOLLOW);
        let opened: File = options.open(directory)?;
        let fd = with_credentials()?;
        let way = format!("/proc/self/fd/{}/{NAME}", opened.as_raw_fd());
        bind(fd.as_raw_fd(), &UnixAddr::new(way.as_str())?)?;
        let socket = NotifySocket { fd, path: Some(path.clone()) };
        // For a worker that changes its user as well.
        fs::set_permissions(path, fs::Permissions::from_mode(0o666))?;
        Ok(socket)
    }

    /// In the abstract namespace.
    pub(crate) fn bind_abstract() -> io::Result<NotifySocket> {
        let fd = with_credentials()?;
        // An address without a name asks the kernel for one.
        bind(fd.as_raw_fd(), &UnixAddr::new_unnamed())?;
        Ok(NotifySocket { fd, path: None })
    }

    /// Its name as `NOTIFY_SOCKET` has it.
    pub(crate) fn name(&self) -> io::Result<OsString> {
        if let Some(path) = &self.path {
            return Ok(path.clone().into());
        }
        let address: UnixAddr = getsockname(self.fd.as_raw_fd())?;
        let name = address.as_abstract().unwrap_or_default();
        Ok(OsStr::from_bytes(&[b"@", name].concat()).to_owned())
    }

    /// The next datagram. `WouldBlock` while there is none.
    pub(crate) fn recv(&self) -> io::Result<Told> {
        let mut buffer = vec![0_u8; MAX_DATAGRAM];
        let mut control = [0_u64; CONTROL_WORDS];
        loop {
            let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let mut header = header(&mut part);
            header.msg_control = control.as_mut_ptr().cast();
            header.msg_controllen = size_of_val(&control) as _;
            // SAFETY: the header points to `buffer` and `control` with their true sizes; both outlive the
            // call.
            let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
            let length = match Errno::result(length) {
                Ok(length) => length as usize,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            // SAFETY: recvmsg has just filled in the header, and nobody has taken descriptors from it yet.
            let fds = unsafe { take_fds(&header) };
            // SAFETY: as above; reading the credentials takes nothing.
            let sender = unsafe { sender(&header) };
            buffer.truncate(length);
            return Ok(Told { bytes: buffer, sender, fds });
        }
    }
}

impl Drop for NotifySocket {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
            let _ = path.parent().map(fs::remove_dir);
        }
    }
}

fn with_credentials() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
    // Before the bind: nothing arrives without them.
    setsockopt(&fd, sockopt::PassCred, &true)?;
    Ok(fd)
}

/// A name that nobody can guess.
pub(crate) fn unguessable() -> io::Result<String> {
    let mut bytes = [0_u8; 16];
    // SAFETY: the kernel writes at most as many bytes as the array has, which outlives the call.
    let length = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    // As few as these come whole, or not at all.
    Errno::result(length)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for NotifySocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The process that a received header names as its sender.
///
/// # Safety
///
/// recvmsg has filled in the header, and its control buffer is still there.
unsafe fn sender(header: &libc::msghdr) -> Option<i32> {
    // SAFETY: the caller vouches for the header; the macros stay within its control buffer.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: a control header that the macros returned, in the buffer that the caller vouches for.
        let (level, kind) = unsafe { ((*next).cmsg_level, (*next).cmsg_type) };
        if (level, kind) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
            // SAFETY: the kernel wrote one ucred behind a header of this kind.
            let credentials: libc::ucred = unsafe { ptr::read_unaligned(libc::CMSG_DATA(next).cast()) };
            return (credentials.pid > 0).then_some(credentials.pid);
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    None
}

/// Room for the credentials and as many descriptors as one message can carry; words, so that it is aligned.
// SAFETY: CMSG_SPACE only computes.
const CONTROL_WORDS: usize = unsafe {
    libc::CMSG_SPACE((MAX_FDS * size_of::<RawFd>()) as u32)
        + libc::CMSG_SPACE(size_of::<libc::ucred>() as u32)
} as usize
    / size_of::<u64>();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::scratch;
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::io::{IoSlice, Read};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn sender_to(socket: &NotifySocket) -> UnixDatagram {
        let name = socket.name().unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        match name.as_bytes().strip_prefix(b"@") {
            Some(name) => {
                assert!(!name.is_empty());
                sender.connect_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
            }
            None => sender.connect(name).unwrap(),
        }
        sender
    }

    #[test]
    fn a_datagram_comes_with_its_sender() {
        let directory = scratch("notify");
        for socket in [NotifySocket::bind_in(&directory).unwrap(), NotifySocket::bind_abstract().unwrap()] {
            assert_eq!(socket.recv().unwrap_err().kind(), io::ErrorKind::WouldBlock);
            sender_to(&socket).send(b"READY=1\n").unwrap();
            let told = socket.recv().unwrap();
            assert_eq!(told.bytes, b"READY=1\n");
            assert_eq!(told.sender, Some(std::process::id() as i32));
            assert!(told.fds.is_empty());
        }
        assert!(!directory.exists(), "it goes with the socket");
    }

    #[test]
    fn what_the_kernel_shows_to_everybody_leads_nowhere() {
        let directory = scratch("notify-hidden");
        let _socket = NotifySocket::bind_in(&directory).unwrap();
        let shown = std::fs::read("/proc/net/unix").unwrap();
        let name = directory.file_name().unwrap().as_bytes();
        assert!(!shown.windows(name.len()).any(|part| part == name), "{}", String::from_utf8_lossy(&shown));
    }

    #[test]
    fn a_path_that_no_program_could_connect_to_is_refused() {
        let long = std::env::temp_dir().join("x".repeat(110));
        NotifySocket::bind_in(&long).unwrap_err();
    }

    #[test]
    fn descriptors_arrive_and_are_closed_with_the_message() {
        let _guard = crate::sys::alone::drops_at_once();
        let socket = NotifySocket::bind_abstract().unwrap();
        let (mut barrier, end) = io::pipe().unwrap();
        let fds = [end.as_raw_fd()];
        sendmsg::<()>(
            sender_to(&socket).as_raw_fd(),
            &[IoSlice::new(b"BARRIER=1")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        drop(end);
        let told = socket.recv().unwrap();
        assert_eq!((told.bytes.as_slice(), told.fds.len()), (&b"BARRIER=1"[..], 1));
        assert_eq!(told.sender, Some(std::process::id() as i32));
        drop(told);
        assert_eq!(barrier.read(&mut [0]).unwrap(), 0, "the barrier was not answered");
    }

    #[test]
    fn names_do_not_collide() {
        let sockets: Vec<_> = (0..8).map(|_| NotifySocket::bind_abstract().unwrap()).collect();
        let names: std::collections::BTreeSet<_> =
            sockets.iter().map(|socket| socket.name().unwrap()).collect();
        assert_eq!(names.len(), sockets.len());
        assert_ne!(unguessable().unwrap(), unguessable().unwrap());
    }
}
