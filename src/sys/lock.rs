//! Whose a Unix socket's path is.
//!
//! Two starters can both find a path stale, and the slower one then unlinks the live socket of the faster. So
//! a path has an owner: the process that holds the lock on the file beside it. The lock belongs to the open
//! file description: a successor that inherits the descriptor holds the same lock, which ends with the last
//! copy. Nothing here ever *unlocks*, since that would take the lock from the other generation as well.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use socket2::{Domain, SockAddr, Socket, Type};

/// The ownership of one path, shared with the processes that inherit the descriptor. Dropping it closes this
/// copy and leaves the lock file where it is.
#[derive(Debug)]
pub(crate) struct PathLock {
    file: OwnedFd,
    lock_path: PathBuf,
}

/// Why a path is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LockError {
    /// Another process, or another generation of another server, owns the path.
    #[error("{} is locked: a running server owns the socket path beside it; stop that one, or choose another path", lock_path.display())]
    Held { lock_path: PathBuf },
    /// An inherited lock whose file somebody has removed: it protects nothing any more.
    #[error("the lock file {} was removed or replaced while it was in use", lock_path.display())]
    Lost { lock_path: PathBuf },
    /// A directory, a device, a symlink: nothing that we made.
    #[error("{} is in the way: it is not a regular file, so it is no lock of ours", lock_path.display())]
    NotALock { lock_path: PathBuf },
    /// The system refused.
    #[error("cannot lock {}", lock_path.display())]
    Other { lock_path: PathBuf, source: io::Error },
}

/// What is at a path where a socket is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathState {
    /// Nothing.
    Missing,
    /// Something that is not a socket, a symlink included: hands off.
    NotASocket,
    /// A socket that a process still holds.
    Live,
    /// A socket whose last process is gone.
    Stale,
}

impl PathLock {
    /// Takes the ownership of a socket path, whether or not there is a socket yet. Never waits.
    pub(crate) fn acquire(path: &Path) -> Result<PathLock, LockError> {
        let lock_path = beside(path);
        // The last owner removes the file while it holds it: a process that opened that file before then
        // locks a file that no path names any more, and has to look again.
        for _ in 0..ATTEMPTS {
            let file = open(&lock_path)?;
            lock(&file, &lock_path)?;
            if names(&lock_path, &file)? {
                return Ok(PathLock { file, lock_path });
            }
        }
        Err(LockError::Held { lock_path })
    }

    /// Whether there is a lock file, held or not.
    pub(crate) fn is_there(path: &Path) -> bool {
        std::fs::symlink_metadata(beside(path)).is_ok()
    }

    /// Takes the share of a lock that a predecessor handed down, and checks that it is the lock of this path.
    pub(crate) fn from_inherited(fd: OwnedFd, path: &Path) -> Result<PathLock, LockError> {
        let lock_path = beside(path);
        // Changes nothing on a description that holds the lock already.
        lock(&fd, &lock_path)?;
        if !names(&lock_path, &fd)? {
            return Err(LockError::Lost { lock_path });
        }
        Ok(PathLock { file: fd, lock_path })
    }

    /// Writes a note to every later owner into the lock file, in place of the last one.
    pub(crate) fn write(&self, note: &str) -> io::Result<()> {
        let file = File::from(self.file.try_clone()?);
        file.set_len(0)?;
        file.write_all_at(note.as_bytes(), 0)
    }

    /// The note in the lock file.
    pub(crate) fn read(&self) -> io::Result<String> {
        let mut buffer = [0; NOTE];
        // By position: the other generations share the description, and so its offset.
        let length = File::from(self.file.try_clone()?).read_at(&mut buffer, 0)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Removes the lock file, as the path's last owner: with a successor that holds the lock too, drop it
    /// instead. The socket itself must be gone by now, since the next starter may own the path from here on.
    pub(crate) fn remove(&self) -> Result<(), LockError> {
        // A file that is not ours any more is somebody else's lock.
        if !names(&self.lock_path, &self.file)? {
            return Err(LockError::Lost { lock_path: self.lock_path.clone() });
        }
        std::fs::remove_file(&self.lock_path)
            .map_err(|source| LockError::Other { lock_path: self.lock_path.clone(), source })
    }
}

impl AsFd for PathLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Finds out what is at a path, without disturbing it.
///
/// The probe is a *datagram* connect: a stream socket that lives refuses it by its type (EPROTOTYPE), bound
/// or listening, and no connection that nobody meant appears in its queue.
pub(crate) fn is_stale_socket(path: &Path) -> io::Result<PathState> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(PathState::Missing),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return Ok(PathState::NotASocket),
        Ok(_) => {}
    }
    let probe = Socket::new(Domain::UNIX, Type::DGRAM.nonblocking(), None)?;
    let Err(error) = probe.connect(&SockAddr::unix(path)?) else { return Ok(PathState::Live) };
    match error.raw_os_error() {
        // EPERM: a datagram socket that is connected, and so alive, but not to us.
        Some(libc::EPROTOTYPE | libc::EAGAIN | libc::EINPROGRESS | libc::EPERM) => Ok(PathState::Live),
        Some(libc::ECONNREFUSED) => Ok(PathState::Stale),
        // Removed since we looked.
        Some(libc::ENOENT) => Ok(PathState::Missing),
        _ => Err(error),
    }
}

/// Room for two numbers of 64 bits.
const NOTE: usize = 64;

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".lock");
    name.into()
}

/// Opens a lock file, making it if need be: for its owner alone, since a lock wants no right to write;
/// following no link and waiting for nobody.
pub(crate) fn open(lock_path: &Path) -> Result<OwnedFd, LockError> {
    let mut options = OpenOptions::new();
    // Non-blocking is for a FIFO in this place, which would make the open wait.
    options.read(true).write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let other = |source| LockError::Other { lock_path: lock_path.into(), source };
    let file: File = match options.open(lock_path) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ELOOP | libc::EISDIR | libc::ENXIO)) => {
            return Err(LockError::NotALock { lock_path: lock_path.into() });
        }
        opened => opened.map_err(other)?,
    };
    if !file.metadata().map_err(other)?.is_file() {
        return Err(LockError::NotALock { lock_path: lock_path.into() });
    }
    // An earlier release may have made it for all to read. (Of another user's file it is that one's mode.)
    if file.metadata().is_ok_and(|found| found.mode() & 0o077 != 0) {
        let _ = file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600));
    }
    Ok(file.into())
}

/// Not through a type that unlocks when it is dropped: see the head of this file.
fn lock(file: &OwnedFd, lock_path: &Path) -> Result<(), LockError> {
    loop {
        // SAFETY: flock takes integers only; the descriptor is open while `file` is borrowed.
        let locked = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        match Errno::result(locked) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(Errno::EWOULDBLOCK) => return Err(LockError::Held { lock_path: lock_path.into() }),
            Err(errno) => {
                return Err(LockError::Other { lock_path: lock_path.into(), source: errno.into() });
            }
        }
    }
}

/// Whether the path still leads to this very file.
fn names(lock_path: &Path, file: &OwnedFd) -> Result<bool, LockError> {
    let other = |source| LockError::Other { lock_path: lock_path.into(), source };
    let there = match std::fs::symlink_metadata(lock_path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        there => there.map_err(other)?,
    };
    let held = nix::sys::stat::fstat(file).map_err(|errno| other(errno.into()))?;
    Ok((there.dev(), there.ino()) == (held.st_dev as u64, held.st_ino as u64))
}

/// Each attempt fails only if an owner has left within microseconds; so many in a row mean that the path is
/// in others' hands.
const ATTEMPTS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{drops_at_once, scratch};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    #[test]
    fn one_owner_at_a_time() {
        let _guard = drops_at_once();
        let directory = scratch("one-owner");
        let path = directory.join("socket");
        let owner = PathLock::acquire(&path).unwrap();
        let mode = std::fs::metadata(directory.join("socket.lock")).unwrap().mode();
        assert_eq!(mode & 0o177, 0, "others may lock it: {mode:o}");
        let error = PathLock::acquire(&path).unwrap_err();
        assert!(matches!(&error, LockError::Held { lock_path } if lock_path.ends_with("socket.lock")));
        drop(owner);
        PathLock::acquire(&path).unwrap().remove().unwrap();
        assert!(!directory.join("socket.lock").exists());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_heir_keeps_the_lock_when_the_first_owner_goes() {
        let _guard = drops_at_once();
        let directory = scratch("heir");
        let path = directory.join("socket");
        let owner = PathLock::acquire(&path).unwrap();
        let handed_down = owner.as_fd().try_clone_to_owned().unwrap();
        let heir = PathLock::from_inherited(handed_down, &path).unwrap();
        drop(owner);
        assert!(matches!(PathLock::acquire(&path), Err(LockError::Held { .. })));
        drop(heir);
        PathLock::acquire(&path).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_lock_whose_file_is_gone_or_another_is_lost() {
        let _guard = drops_at_once();
        let directory = scratch("lost");
        let path = directory.join("socket");
        let owner = PathLock::acquire(&path).unwrap();
        std::fs::remove_file(directory.join("socket.lock")).unwrap();
        let copy = owner.as_fd().try_clone_to_owned().unwrap();
        assert!(matches!(PathLock::from_inherited(copy, &path), Err(LockError::Lost { .. })));
        let newer = PathLock::acquire(&path).unwrap();
        assert!(matches!(owner.remove(), Err(LockError::Lost { .. })));
        assert!(directory.join("socket.lock").exists(), "the newer owner's file was removed");
        drop(newer);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn many_starters_and_leavers_never_own_a_path_together() {
        let _guard = drops_at_once();
        let directory = scratch("contended");
        let path = directory.join("socket");
        let owners = std::sync::atomic::AtomicUsize::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Ok(lock) = PathLock::acquire(&path) else { continue };
                        assert_eq!(owners.fetch_add(1, order), 0);
                        assert_eq!(owners.fetch_sub(1, order), 1);
                        lock.remove().unwrap();
                    }
                });
            }
        });
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_lock_of_ours_is_left_alone() {
        let directory = scratch("no-lock");
        std::os::unix::fs::symlink("elsewhere", directory.join("link.lock")).unwrap();
        std::fs::create_dir(directory.join("directory.lock")).unwrap();
        let _socket = UnixListener::bind(directory.join("socket.lock")).unwrap();
        for name in ["link", "directory", "socket"] {
            let error = PathLock::acquire(&directory.join(name)).unwrap_err();
            assert!(matches!(error, LockError::NotALock { .. }), "{name}: {error:?}");
        }
        assert!(!directory.join("elsewhere").exists());
        let error = PathLock::acquire(&directory.join("missing/socket")).unwrap_err();
        assert!(matches!(error, LockError::Other { .. }), "{error:?}");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_path_is_judged_without_disturbing_its_server() {
        let _guard = drops_at_once();
        let directory = scratch("judged");
        let path = directory.join("socket");
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Missing);
        let listener = UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Live);
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        // A full backlog is a busy server, not a dead one.
        socket2::SockRef::from(&listener).listen(0).unwrap();
        let _queued = UnixStream::connect(&path).unwrap();
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Live);
        drop(listener);
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Stale);
        std::fs::remove_file(&path).unwrap();

        // Between bind and listen.
        let bound = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        bound.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Live);
        drop(bound);
        std::fs::remove_file(&path).unwrap();

        let datagram = UnixDatagram::bind(&path).unwrap();
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Live);
        drop(datagram);
        assert_eq!(is_stale_socket(&path).unwrap(), PathState::Stale);

        let link = directory.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(is_stale_socket(&link).unwrap(), PathState::NotASocket);
        std::fs::write(directory.join("file"), "").unwrap();
        assert_eq!(is_stale_socket(&directory.join("file")).unwrap(), PathState::NotASocket);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
