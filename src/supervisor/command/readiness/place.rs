//! Where a worker's `NOTIFY_SOCKET` lies.
//!
//! ```text
//! /run/heirloom-notify/4711-5f0c...a9/notify      root; else $RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR, or
//!                                                 /tmp/heirloom-notify-UID
//! ```
//!
//! A path, as systemd's: many programs take the variable for one whatever it begins with, and a name in the
//! abstract namespace does not reach into a worker with a network of its own. The directory with the random
//! name can be entered by everybody who knows it, since the worker may change its user, and nobody but this
//! user can list what holds it.

use std::env;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::sys::lock::{PathState, is_stale_socket};
use crate::sys::notify::{NAME, NotifySocket, unguessable};

/// Makes one. Without a directory there is an abstract name if the worker has to be heard (`is_needed`), and
/// none otherwise.
pub(super) fn bind(is_needed: bool) -> io::Result<Option<NotifySocket>> {
    bind_in_one_of(directories(), is_needed)
}

fn bind_in_one_of(directories: Vec<PathBuf>, is_needed: bool) -> io::Result<Option<NotifySocket>> {
    let mut refusal = None;
    for directory in directories {
        match prepare(&directory).and_then(|()| bind_below(&directory)) {
            Ok(socket) => return Ok(Some(socket)),
            Err(error) => refusal = Some((directory, error)),
        }
    }
    if let Some((directory, error)) = refusal {
        let directory = directory.display();
        if is_needed {
            say!(warn: %directory, %error, "no directory for NOTIFY_SOCKET: it is an abstract name (@...), which some programs \
                take for a path and other users can write to; give this process a writable /run, /tmp or RUNTIME_DIRECTORY");
        } else {
            say!(warn: %directory, %error, "no directory for NOTIFY_SOCKET: the worker goes without; give this process a \
                writable /run, /tmp or RUNTIME_DIRECTORY");
        }
    }
    is_needed.then(NotifySocket::bind_abstract).transpose()
}

fn bind_below(directory: &Path) -> io::Result<NotifySocket> {
    sweep(directory);
    let own = directory.join(format!("{}-{}", std::process::id(), unguessable()?));
    DirBuilder::new().mode(0o700).create(&own)?;
    // The umask has taken from what it was made with.
    fs::set_permissions(&own, Permissions::from_mode(ENTERED_NOT_LISTED))
        .and_then(|()| NotifySocket::bind_in(&own))
        .inspect_err(|_| drop(fs::remove_dir(&own)))
}

/// Best first. Not the control socket's: nobody else may enter that.
fn directories() -> Vec<PathBuf> {
    let uid = nix::unistd::geteuid();
    let variable = |name| {
        let value = env::var_os(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute()).map(|path| path.join(OURS))
    };
    // For root, since others than root enter there whatever the unit says of its own.
    let root = uid.is_root().then(|| Path::new("/run").join(OURS));
    // Several are separated by colons, and then there is no knowing.
    let runtime = variable("RUNTIME_DIRECTORY").filter(|path| !path.as_os_str().as_bytes().contains(&b':'));
    let session = variable("XDG_RUNTIME_DIR");
    let temporary = env::temp_dir().join(format!("{OURS}-{uid}"));
    [root, runtime, session, Some(temporary)].into_iter().flatten().collect()
}

/// Makes sure that nobody else can put anything there, or see what there is.
fn prepare(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(directory)?;
    if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is there, and not this user's own directory",
        ));
    }
    if found.mode() & 0o777 != ENTERED_NOT_LISTED {
        fs::set_permissions(directory, Permissions::from_mode(ENTERED_NOT_LISTED))?;
    }
    Ok(())
}

/// Removes what killed supervisors have left behind.
fn sweep(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().take(SWEPT) {
        let own = entry.path();
        let state = is_stale_socket(&own.join(NAME));
        let was_given_up = match state {
            Ok(PathState::Stale) => fs::remove_file(own.join(NAME)).is_ok(),
            // Its socket may be about to be made.
            Ok(PathState::Missing) => is_old(&own),
            _ => false,
        };
        if was_given_up {
            let _ = fs::remove_dir(&own);
        }
    }
}

fn is_old(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|found| found.modified()).ok();
    changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > MAKING)
}

const OURS: &str = "heirloom-notify";

/// Others pass through it, and do not see what is there.
const ENTERED_NOT_LISTED: u32 = 0o711;

/// How many entries a start looks at: a directory with more is in trouble of its own, and the start is not to
/// wait for it.
const SWEPT: usize = 1000;

/// A directory's socket is made within a millisecond of it, if the process is not stopped in between.
const MAKING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::scratch;
    use std::os::unix::net::UnixDatagram;

    fn path_of(socket: &NotifySocket) -> PathBuf {
        socket.name().unwrap().into()
    }

    #[test]
    fn others_enter_by_name_and_see_nothing() {
        let directory = scratch("place").join("ours");
        let socket = bind_in_one_of(vec![directory.clone()], false).unwrap().unwrap();
        let path = path_of(&socket);
        assert!(path.starts_with(&directory), "{}", path.display());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        let own = path.parent().unwrap();
        assert_eq!((mode(&directory), mode(own), mode(&path)), (0o711, 0o711, 0o666));
        UnixDatagram::unbound().unwrap().send_to(b"READY=1", &path).unwrap();
        assert_eq!(socket.recv().unwrap().bytes, b"READY=1");
        drop(socket);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "it is removed afterwards");
        fs::remove_dir_all(directory.parent().unwrap()).unwrap();
    }

    #[test]
    fn what_a_killed_supervisor_left_is_removed_and_nothing_else() {
        let scratch = scratch("place-stale");
        let directory = vec![scratch.join("ours")];
        let alive = bind_in_one_of(directory.clone(), false).unwrap().unwrap();
        let (stale, new) = (directory[0].join("1-stale"), directory[0].join("2-new"));
        fs::create_dir(&stale).unwrap();
        fs::create_dir(&new).unwrap();
        drop(UnixDatagram::bind(stale.join(NAME)).unwrap());
        let next = bind_in_one_of(directory, false).unwrap().unwrap();
        assert!(!stale.exists() && new.exists());
        assert!(path_of(&alive).exists() && path_of(&next).exists());
        drop((alive, next));
        fs::remove_dir_all(scratch).unwrap();
    }

    #[test]
    fn without_a_directory_only_who_must_be_heard_gets_a_name() {
        let scratch = scratch("place-none");
        fs::write(scratch.join("file"), "").unwrap();
        let none = vec![scratch.join("file"), scratch.join("missing/ours")];
        assert!(bind_in_one_of(none.clone(), false).unwrap().is_none());
        let socket = bind_in_one_of(none, true).unwrap().unwrap();
        assert!(socket.name().unwrap().as_bytes().starts_with(b"@"));
        fs::remove_dir_all(scratch).unwrap();
    }
}
