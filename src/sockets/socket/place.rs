//! The path of a Unix socket that this process owns: taken with a lock, made again where somebody has removed
//! it, and given up at the end.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::backlog;
use crate::sockets::listen::Listen;
use crate::sockets::listen_error::ListenError;
use crate::sys::address::Address;
use crate::sys::lock::{LockError, PathLock, PathState, is_stale_socket};
use crate::sys::socket;

#[derive(Debug)]
pub(super) struct Place {
    lock: PathLock,
    path: PathBuf,
    /// Device and inode of the socket that was made there: what somebody else put there is not ours to
    /// remove.
    made: Option<(u64, u64)>,
    /// Whether a predecessor made it, or made the one that this is in the place of.
    inherited: bool,
    /// What the lock said of that one.
    before: Option<String>,
}

impl Place {
    /// Takes the path's lock and clears away what a killed server left there. Anything else that lies there
    /// is left alone.
    pub(super) fn taken(path: &Path, address: &Address) -> Result<Place, ListenError> {
        let lock = own_path(path, address)?;
        Ok(Place { lock, path: path.to_owned(), made: None, inherited: false, before: None })
    }

    /// Without its lock (somebody has tidied it away) a path is still served, and left in place at the end.
    pub(super) fn inherited(lock: OwnedFd, path: &Path) -> Option<Place> {
        match PathLock::from_inherited(lock, path) {
            Ok(lock) => {
                let made = noted(&lock);
                Some(Place { lock, path: path.to_owned(), made, inherited: true, before: None })
            }
            Err(error) => {
                say!(warn: %error, "the socket's path is not ours any more");
                None
            }
        }
    }

    /// Where another socket is to be in the place of one that is lost; the lock is from [`made_again`].
    pub(super) fn again(lock: PathLock, path: &Path, inherited: bool) -> Place {
        let before = lock.read().ok();
        Place { lock, path: path.to_owned(), made: None, inherited, before }
    }

    pub(super) fn is_inherited(&self) -> bool {
        self.inherited
    }

    pub(super) fn lock(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }

    /// Has the socket listen that has just been bound here.
    pub(super) fn open(&mut self, fd: BorrowedFd<'_>, listen: &Listen) -> Result<(), ListenError> {
        self.made = identity(&self.path);
        self.admit(fd, listen).inspect_err(|_| self.undo())?;
        // For the generations to come: looked up there and then, it could be what somebody else has put
        // there.
        if let Some((device, inode)) = self.made
            && let Err(error) = self.lock.write(&format!("{device} {inode}\n"))
        {
            say!(warn: %error, path = %self.path.display(), "the socket's path will stay behind");
        }
        Ok(())
    }

    /// Nobody can connect before it listens: whom it admits is said first.
    fn admit(&self, fd: BorrowedFd<'_>, listen: &Listen) -> Result<(), ListenError> {
        let address = || listen.address.clone();
        listen
            .access
            .grant(&self.path)
            .map_err(|source| ListenError::Access { address: address(), source })?;
        socket::listen(fd, backlog(listen)).map_err(|source| ListenError::Bind { address: address(), source })
    }

    /// The lock to make it again with, if the path leads here no more.
    #[cfg(feature = "supervisor")]
    pub(super) fn lost(&self) -> Option<(&Path, PathLock)> {
        Some((&self.path, made_again(&self.path, self.lock.as_fd())?))
    }

    /// What was made in the place of a lost one goes, and the lock stays.
    pub(super) fn give_back(&self) {
        if self.before.is_some() {
            self.undo();
        }
    }

    /// As if the socket had not been made.
    fn undo(&self) {
        if self.is_still_ours() {
            let _ = fs::remove_file(&self.path);
        }
        let _ = match &self.before {
            Some(note) => self.lock.write(note).map_err(|_| ()),
            None => self.lock.remove().map_err(|_| ()),
        };
    }

    pub(super) fn give_up(&self) {
        if self.is_still_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            say!(warn: %error, path = %self.path.display(), "cannot remove the socket's path");
        }
        // A process that has made the socket again with this lock goes on with both.
        let is_another_s = noted(&self.lock).is_some_and(|noted| Some(noted) != self.made);
        if !is_another_s && let Err(error) = self.lock.remove() {
            say!(warn: %error, path = %self.path.display(), "cannot remove the socket's lock file");
        }
    }

    fn is_still_ours(&self) -> bool {
        self.made.is_some() && identity(&self.path) == self.made
    }
}

/// The lock with which a path is to be made again, whose lock is or was `held`: somebody has removed the
/// socket there. What a successor left that was killed over it goes. If there is another server's socket now,
/// or anything else, it is left alone.
pub(in crate::sockets) fn made_again(path: &Path, held: BorrowedFd<'_>) -> Option<PathLock> {
    let lock = PathLock::from_inherited(held.try_clone_to_owned().ok()?, path);
    let (lock, is_new) = match lock {
        Ok(lock) => (lock, false),
        // It has gone the way of the socket.
        Err(LockError::Lost { .. }) => (PathLock::acquire(path).ok()?, true),
        Err(_) => return None,
    };
    match is_stale_socket(path) {
        Ok(PathState::Missing) => return Some(lock),
        Ok(PathState::Stale) if fs::remove_file(path).is_ok() => return Some(lock),
        _ => {}
    }
    if is_new {
        let _ = lock.remove();
    }
    None
}

/// The lock of a path at which a killed process made a socket that is still there; `None` if that socket is
/// there no more, or the path somebody else's.
pub(in crate::sockets) fn regain_place(path: &Path) -> Option<OwnedFd> {
    let lock = PathLock::acquire(path).ok()?;
    let made = noted(&lock);
    (made.is_some() && identity(path) == made).then(|| lock.as_fd().try_clone_to_owned().ok())?
}

fn own_path(path: &Path, address: &Address) -> Result<PathLock, ListenError> {
    let lock = PathLock::acquire(path).map_err(|error| ListenError::of_lock(address, error))?;
    let failed = |source| ListenError::Bind { address: address.clone(), source };
    let refusal = match is_stale_socket(path).map_err(failed)? {
        PathState::Missing => return Ok(lock),
        PathState::Stale => {
            say!(info: path = %path.display(), "removing the socket of a server that is gone");
            fs::remove_file(path).map_err(failed)?;
            return Ok(lock);
        }
        PathState::NotASocket => ListenError::NotASocket { path: path.to_owned() },
        PathState::Live => ListenError::Live { address: address.clone() },
    };
    // The lock file is ours, made a moment ago: nothing of this try stays behind.
    let _ = lock.remove();
    Err(refusal)
}

/// What the lock file says of the socket that was made there.
fn noted(lock: &PathLock) -> Option<(u64, u64)> {
    let text = lock.read().ok()?;
    let (device, inode) = text.trim().split_once(' ')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}
