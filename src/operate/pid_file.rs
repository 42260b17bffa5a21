//! The pid file: always whole, always the main process's, gone with the last one.
//!
//! Its owner is the process that holds the lock on the file beside it (`PATH.lock`), which a successor
//! inherits. So a live owner is told from what a killed one left behind without a guess at process ids, which
//! are reused.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::kept_file::{KeptFile, read_start};
use crate::sys::lock::{LockError, PathLock};

/// A pid file that this process owns, or shares with its predecessor.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: KeptFile,
    lock: Arc<PathLock>,
}

/// Why a pid file cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// Another server owns it.
    #[error(
        "the pid file {path:?} belongs to a server that is running (process {owner}); stop that one, or name another file"
    )]
    #[non_exhaustive]
    Held {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        owner: String,
    },
    /// Something else than a regular file is there, which would be replaced.
    #[error("the pid file {path:?} is there and is not a regular file; it was left alone, name another one")]
    #[non_exhaustive]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot own the pid file {path:?}; its directory must exist and be writable")]
    #[non_exhaustive]
    Other {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl PidFile {
    /// Takes the ownership, from the predecessor if `inherited` is the lock of this very file. Writes nothing
    /// yet.
    pub(crate) fn claim(path: &Path, inherited: Option<OwnedFd>) -> Result<PidFile, PidFileError> {
        let other = |source| PidFileError::Other { path: path.to_owned(), source };
        // Absolute, since the program may change its directory.
        let path = std::path::absolute(path).map_err(other)?;
        let not_a_file = |_| PidFileError::NotAFile { path: path.clone() };
        let file = KeptFile::new("pid file", path.clone(), true).map_err(not_a_file)?;
        let had_lock = inherited.is_some() || PathLock::is_there(&path);
        let lock = match inherited.map(|fd| PathLock::from_inherited(fd, &path)) {
            Some(Ok(lock)) => lock,
            // The predecessor's is another file, or somebody has removed its lock.
            Some(Err(_)) | None => PathLock::acquire(&path).map_err(|error| match error {
                LockError::Held { .. } => {
                    let owner = text_of(&path).unwrap_or_default();
                    PidFileError::Held { path: path.clone(), owner }
                }
                error => other(io::Error::other(error)),
            })?,
        };
        // Without a lock beside it the file is not heirloom's, or somebody has tidied the lock away: then the
        // number in it is all that there is to go by. With one it is a dead owner's, whatever the number has
        // come to mean.
        if !had_lock && let Some(owner) = live_stranger(&path) {
            let _ = lock.remove();
            return Err(PidFileError::Held { path, owner });
        }
        Ok(PidFile { file, lock: Arc::new(lock) })
    }

    /// Makes this process the main one, at once or as soon as the file system lets it.
    pub(crate) fn write_own(&self) {
        self.file.write(format!("{}\n", std::process::id()));
    }

    /// Makes a successor the main process. If that cannot be written, it does so itself.
    pub(crate) fn write_successors(&self, pid: u32) {
        self.file.write_once(format!("{pid}\n"));
    }

    /// Removes the file, if it still names this process, as the last owner.
    pub(crate) fn remove(&self) {
        let lock = Arc::clone(&self.lock);
        self.file.remove(move |path| {
            if text_of(path).is_ok_and(|text| text == std::process::id().to_string()) {
                if let Err(error) = fs::remove_file(path) {
                    say!(warn: %error, path = %path.display(), "cannot remove the pid file");
                }
                let _ = lock.remove();
            }
        });
    }
}

impl AsFd for PidFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.lock.as_fd()
    }
}

/// The process that the file names, if that is alive and another one.
fn live_stranger(path: &Path) -> Option<String> {
    let text = text_of(path).ok()?;
    let pid = text.parse().ok().filter(|pid: &i32| *pid > 0 && pid.unsigned_abs() != std::process::id())?;
    let asked = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    // Any other answer than that there is none, such as a lack of permission, comes from a process.
    (asked != Err(nix::errno::Errno::ESRCH)).then(|| pid.to_string())
}

fn text_of(path: &Path) -> io::Result<String> {
    let bytes = read_start(path, LONGEST)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// More than a number, and a newline.
const LONGEST: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::drops_at_once;
    use std::os::unix::fs::PermissionsExt;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("heirloom-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn it_names_one_process_and_goes_with_it() {
        let _guard = drops_at_once();
        let directory = directory("pid-file");
        let path = directory.join("server.pid");
        let file = PidFile::claim(&path, None).unwrap();
        assert!(!path.exists(), "a claim writes nothing");
        file.write_successors(4711);
        assert_eq!(fs::read_to_string(&path).unwrap(), "4711\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        file.remove();
        assert!(path.exists(), "another process's is left alone");
        file.write_own();
        file.remove();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "nothing stays behind");
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn a_live_owner_is_named_and_a_dead_one_is_no_hindrance() {
        let _guard = drops_at_once();
        let directory = directory("pid-file-owner");
        let path = directory.join("server.pid");
        let owner = PidFile::claim(&path, None).unwrap();
        owner.write_successors(4711);
        let refused = PidFile::claim(&path, None).unwrap_err().to_string();
        assert!(refused.contains("4711") && refused.contains("server.pid"), "{refused}");
        // As a SIGKILL leaves it: the file is there, and nobody holds the lock.
        drop(owner);
        let next = PidFile::claim(&path, None).unwrap();
        let inherited = next.as_fd().try_clone_to_owned().unwrap();
        PidFile::claim(&path, Some(inherited)).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_of_another_make_is_respected_while_its_process_lives() {
        let _guard = drops_at_once();
        let directory = directory("pid-file-stranger");
        let path = directory.join("server.pid");
        // Alive for longer than this test.
        let parent = std::os::unix::process::parent_id();
        fs::write(&path, format!("{parent}\n")).unwrap();
        let refused = PidFile::claim(&path, None).unwrap_err().to_string();
        assert!(refused.contains(&parent.to_string()), "{refused}");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "not even a lock is left");
        for dead in ["5000000", "no number", "", &std::process::id().to_string()] {
            fs::write(&path, dead).unwrap();
            let file = PidFile::claim(&path, None).unwrap();
            file.write_own();
            file.remove();
        }
        // With the lock of a killed heirloom beside it, the number says nothing.
        fs::write(&path, format!("{parent}\n")).unwrap();
        fs::write(directory.join("server.pid.lock"), "").unwrap();
        PidFile::claim(&path, None).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = PidFile::claim(Path::new("/nowhere/server.pid"), None).unwrap_err();
        assert!(error.to_string().contains("/nowhere/server.pid"), "{error}");
    }
}
