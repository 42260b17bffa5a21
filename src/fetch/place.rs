//! Where the binary lies: how a new one gets there, and the previous one back.
//!
//! Everything happens in one directory, since only a rename within a file system is atomic: a process that
//! starts the program at any moment finds a whole one. The order: the new file is complete on the disk, then
//! the present one gets a second name (`NAME.previous`), then the new one takes its name. A machine that
//! loses power in between has one of the two.
//!
//! A process at a time works here, by a lock on a file beside the binary: a predecessor and its successor
//! both poll for a while. Its holder may remove what killed ones left.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use thiserror::Error;

use crate::sys::lock::{self, LockError};

/// Where a program's binary lies.
///
/// ```no_run
/// // What an operator's "go back" does; a restart is to follow.
/// heirloom::fetch::Place::new("/srv/app/server").roll_back()?;
/// # Ok::<(), heirloom::fetch::InstallError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
}

/// Why a binary could not be put in its place. What was there is there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The system refused.
    #[error("cannot {action} {path:?}; its directory must exist, be writable and have room")]
    #[non_exhaustive]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else is where the lock has its file.
    #[error("{path:?} is in the way: it is not a regular file, so it is no lock of ours; remove it")]
    #[non_exhaustive]
    NotALock {
        /// The path.
        path: PathBuf,
    },
    /// There is no previous one.
    #[error("there is no {path:?} to go back to")]
    #[non_exhaustive]
    NoPrevious {
        /// Where it would be.
        path: PathBuf,
    },
}

/// Whether there is a way back from an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Previous {
    Kept,
    None,
}

/// The right to work at a place, until it is dropped.
#[derive(Debug)]
pub(super) struct Lock(File);

/// A file that is removed unless it is given another name.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
}

impl Place {
    /// The binary at `path`. Of a symbolic link, the file that it leads to is meant, and the link stays.
    pub fn new(path: impl Into<PathBuf>) -> Place {
        let path = path.into();
        // Absolute, since the program may change its directory.
        Place { path: std::path::absolute(&path).unwrap_or(path) }
    }

    /// The path that it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the binary is kept that the present one replaced: `NAME.previous` beside it.
    pub fn previous(&self) -> PathBuf {
        self.beside(PREVIOUS)
    }

    /// Puts the previous binary back, atomically; it is the previous one no more. Blocks for the disk.
    ///
    /// # Errors
    ///
    /// There is none, or the system refused; the present one stays.
    pub fn roll_back(&self) -> Result<(), InstallError> {
        let previous = self.previous();
        fs::rename(&previous, self.file()).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => InstallError::NoPrevious { path: previous.clone() },
            _ => failed("reinstate", &previous)(source),
        })?;
        self.sync_directory()
    }

    /// Puts `new` in place, with the mode and the owner of what was there, which is kept as the previous one.
    pub(super) fn install(&self, new: Temporary) -> Result<Previous, InstallError> {
        let path = self.file();
        let present = match fs::metadata(&path) {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let file = File::open(&new.path).map_err(failed("read", &new.path))?;
        let mut mode = FIRST_MODE;
        if let Some(present) = &present {
            let own = file.metadata().map_err(failed("read", &new.path))?;
            if (own.uid(), own.gid()) != (present.uid(), present.gid()) {
                // Root may, and then it matters; for anybody else the file is the updater's own, as its copy
                // by hand would be. Before the mode: a change of owner takes the set-user-id bit away.
                let _ = fchown(&file, Some(present.uid()), Some(present.gid()));
            }
            mode = present.mode() | EXECUTABLE;
        }
        let mode = fs::Permissions::from_mode(mode & ALL_BITS);
        file.set_permissions(mode).map_err(failed("set the mode of", &new.path))?;
        file.sync_all().map_err(failed("write", &new.path))?;
        if present.is_some() {
            self.keep(&path)?;
        }
        new.rename(&path)?;
        self.sync_directory()?;
        Ok(if present.is_some() { Previous::Kept } else { Previous::None })
    }

    /// The right to work here; none if another process has it.
    pub(super) fn lock(&self) -> Result<Option<Lock>, InstallError> {
        let path = self.lock_path();
        let file = File::from(lock::open(&path).map_err(|error| match error {
            LockError::Other { source, .. } => failed("open", &path)(source),
            _ => InstallError::NotALock { path: path.clone() },
        })?);
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(source)) => Err(failed("lock", &path)(source)),
        }
    }

    /// Where the lock is: a process that has that file open can hold updates off.
    pub(super) fn lock_path(&self) -> PathBuf {
        self.hidden(LOCK)
    }

    /// Removes what processes that were killed left here. The holder of the lock owns every temporary file.
    pub(super) fn clean(&self, _: &Lock) {
        let prefix = self.hidden(TEMPORARY);
        let (Some(directory), Some(prefix)) = (prefix.parent(), prefix.file_name()) else { return };
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                say!(info: path = %entry.path().display(), "removed what a killed process left");
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A name for a temporary file.
    pub(super) fn temporary(&self) -> PathBuf {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        self.hidden(&format!("{TEMPORARY}{}-{number}", std::process::id()))
    }

    fn keep(&self, path: &Path) -> Result<(), InstallError> {
        let (second, previous) = (Temporary { path: self.temporary() }, self.previous());
        // File systems without hard links, and files that are another user's, leave only a copy.
        if fs::hard_link(path, &second.path).is_err() {
            fs::copy(path, &second.path).map_err(failed("copy the present binary to", &second.path))?;
            let copy = File::open(&second.path).and_then(|copy| copy.sync_all());
            copy.map_err(failed("write", &second.path))?;
        }
        // Dropped afterwards all the same: between two names of one file, a rename does nothing.
        fs::rename(&second.path, &previous).map_err(failed("keep the present binary as", &previous))
    }

    /// The file behind a symbolic link, as it leads now; of a link that leads nowhere, the link.
    fn file(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    fn sync_directory(&self) -> Result<(), InstallError> {
        let path = self.file();
        let directory = path.parent().unwrap_or(Path::new("/"));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("sync", directory))
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let path = self.file();
        let mut name = path.file_name().map(OsString::from).unwrap_or_default();
        name.push(suffix);
        path.with_file_name(name)
    }

    fn hidden(&self, suffix: &str) -> PathBuf {
        let path = self.beside(suffix);
        let mut name = OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        path.with_file_name(name)
    }
}

impl Temporary {
    /// Nobody else can read or run it before it is checked.
    pub(super) fn create(path: &Path) -> io::Result<(File, Temporary)> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
        Ok((file, Temporary { path: path.to_owned() }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn rename(self, to: &Path) -> Result<(), InstallError> {
        // The drop then removes nothing: the name is gone.
        fs::rename(&self.path, to).map_err(failed("replace", to))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread forks has the descriptor, and with it the lock,
        // until it executes its program.
        let _ = self.0.unlock();
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    move |source| InstallError::Io { action, path, source }
}

static NEXT: AtomicU64 = AtomicU64::new(0);

const PREVIOUS: &str = ".previous";
const LOCK: &str = ".heirloom-fetch.lock";
const TEMPORARY: &str = ".heirloom-fetch-";

/// Of a binary where none was: anybody may run it, its owner may replace it.
const FIRST_MODE: u32 = 0o755;

/// Whatever the present one's mode is, at least its owner runs the new one.
const EXECUTABLE: u32 = 0o100;

/// Permissions, without the file's type.
const ALL_BITS: u32 = 0o7777;

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
