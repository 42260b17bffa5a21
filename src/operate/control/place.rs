//! Where control sockets lie, and whose they are.
//!
//! ```text
//! /run/heirloom/4711.heirloom                 a process's own, for root
//! $XDG_RUNTIME_DIR/heirloom/4711.heirloom     for other users; else /tmp/heirloom-UID/4711.heirloom
//!
//! /run/app/control -> control.4711.heirloom   with control_at("/run/app/control"): the one that serves
//! /run/app/control.4711.heirloom
//! /run/app/control.4723.heirloom              a successor's own
//! /run/app/control.lock                       held by all generations
//! ```
//!
//! A process binds its own name and nobody else's, so no two of them meet; what a killed one left behind is
//! recognised by asking the kernel whether anybody holds it, and removed by the next one that starts there.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};
use thiserror::Error;

use crate::aside::{FILE, FILES};
use crate::operate::wish::{Wish, Wishes};
use crate::sys::environment;
use crate::sys::lock::{LockError, PathLock, PathState, is_stale_socket};

/// Where the socket is to be.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// Where the command finds it by the process id.
    Somewhere,
    /// There as well.
    At(PathBuf),
}

/// The socket of this process, in the file system.
#[derive(Debug)]
pub(crate) struct Place {
    own: PathBuf,
    stable: Option<Stable>,
    /// Where the stable path is to lead.
    wishes: Wishes,
}

/// A path that leads to the process that serves.
#[derive(Debug)]
struct Stable {
    path: PathBuf,
    lock: PathLock,
}

/// Why there is no control socket.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Another server owns the path.
    #[error(
        "the control path {path:?} belongs to a server that is running; stop that one, or choose another path"
    )]
    #[non_exhaustive]
    Held {
        /// The path.
        path: PathBuf,
    },
    /// Something is there that heirloom did not make.
    #[error(
        "{path:?} exists and is not a control socket; it was left alone, remove it or choose another path"
    )]
    #[non_exhaustive]
    InTheWay {
        /// The path.
        path: PathBuf,
    },
    /// A directory is not this user's alone.
    #[error(
        "{directory:?} is not a directory that only this user may enter; remove it, or set its mode to 0700"
    )]
    #[non_exhaustive]
    NotOurs {
        /// The directory.
        directory: PathBuf,
    },
    /// The system refused.
    #[error("cannot make the control socket {path:?}")]
    #[non_exhaustive]
    Other {
        /// The path of the socket or of what lies beside it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How a socket's file is called that answers to the protocol of [`message`](super::message).
pub(crate) const SUFFIX: &str = ".heirloom";

/// How many requests may wait to be accepted: a thousand at once are turned away one after the other, and not
/// by the kernel without a word.
const BACKLOG: i32 = 128;

/// A control socket that listens, and where.
pub(crate) type Bound = (UnixListener, Arc<Place>);

/// The wanted one. Where nobody relies on where it is, there may be none: the service matters more.
pub(crate) fn bound(wanted: &Wanted, inherited: Option<OwnedFd>) -> Result<Option<Bound>, ControlError> {
    match (Place::take(wanted, inherited), wanted) {
        (Ok((listener, place)), _) => Ok(Some((listener, Arc::new(place)))),
        (Err(error), Wanted::At(_)) => Err(error),
        (Err(error), Wanted::Somewhere) => {
            say!(warn: error = &error as &(dyn std::error::Error + 'static), "there is no place for a control socket; starting without");
            Ok(None)
        }
    }
}

impl Place {
    /// Binds, and listens. `inherited` is the predecessor's lock on its stable path.
    pub(crate) fn take(
        wanted: &Wanted,
        inherited: Option<OwnedFd>,
    ) -> Result<(UnixListener, Place), ControlError> {
        match wanted {
            Wanted::Somewhere => {
                let mut refusal = None;
                for directory in directories() {
                    match prepare(&directory).and_then(|()| bind(&directory, OsStr::new(""))) {
                        Ok((listener, own)) => return Ok((listener, Place::new(own, None))),
                        Err(error) => refusal = Some(error),
                    }
                }
                Err(refusal.unwrap_or_else(|| ControlError::Other {
                    path: env::temp_dir(),
                    source: io::ErrorKind::NotFound.into(),
                }))
            }
            Wanted::At(path) => {
                let stable = Stable::claim(path, inherited)?;
                let (directory, name) = parts(&stable.path)?;
                let mut prefix = name.to_owned();
                prefix.push(".");
                let (listener, own) = bind(directory, &prefix)?;
                Ok((listener, Place::new(own, Some(stable))))
            }
        }
    }

    fn new(own: PathBuf, stable: Option<Stable>) -> Place {
        Place { own, stable, wishes: Wishes::default() }
    }

    /// This process's own socket.
    pub(crate) fn own(&self) -> &Path {
        &self.own
    }

    /// Where the socket of another generation is, if it has one.
    pub(crate) fn of(&self, pid: u32) -> Option<PathBuf> {
        sibling(&self.own, pid).filter(|path| path.exists())
    }

    /// Makes the stable path lead to `pid`, unless that has no socket. A failure is logged and changes
    /// nothing else: the service matters more. If it is to lead here, that is tried again until it does or is
    /// to lead elsewhere; another process sees to that itself. Waits for the file system, but not for long.
    pub(crate) fn point_to(self: &Arc<Self>, pid: u32) {
        let wish = self.wishes.overtake();
        self.aside(move |place| place.first_try_to_point_to(pid, wish));
    }

    /// Removes what a dead generation left behind. Waits for the file system, but not for long.
    pub(crate) fn clear(self: &Arc<Self>, pid: u32) {
        self.aside(move |place| place.of(pid).iter().for_each(|path| remove_if_stale(path)));
    }

    /// Removes what is this process's own, and the stable path if it leads here: then there is nobody else.
    /// Waits for the file system, but not for long.
    pub(crate) fn give_up(self: &Arc<Self>) {
        self.wishes.overtake();
        self.aside(|place| place.remove());
    }

    fn aside(self: &Arc<Self>, job: impl FnOnce(&Arc<Place>) + Send + 'static) {
        let place = Arc::clone(self);
        if FILES.ask(FILE, move || job(&place)).is_none() {
            say!(warn: path = %self.own.display(), "the file system hangs: going on before the control socket's path is right");
        }
    }

    fn first_try_to_point_to(self: &Arc<Self>, pid: u32, wish: Wish) {
        let Err(error) = self.try_to_point_to(pid, &wish) else { return };
        let path = self.stable_path();
        if pid == std::process::id() {
            say!(warn: %error, path, "cannot swap the control socket's path yet: trying again until there is a way");
            let (place, tried) = (Arc::clone(self), wish.clone());
            let tell = move || say!(info: path, "the control socket's path leads here after all");
            wish.try_again(move || place.try_to_point_to(pid, &tried), tell);
        } else {
            say!(warn: %error, path, "cannot swap the control socket's path");
        }
    }

    /// Whether that was still wanted, and possible.
    fn try_to_point_to(&self, pid: u32, wish: &Wish) -> io::Result<bool> {
        let (Some(stable), Some(target)) = (&self.stable, self.of(pid)) else { return Ok(false) };
        if !wish.stands() {
            return Ok(false);
        }
        stable.point_to(&target).map(|()| true)
    }

    fn stable_path(&self) -> String {
        self.stable.as_ref().map(|stable| stable.path.display().to_string()).unwrap_or_default()
    }

    fn remove(&self) {
        let _ = fs::remove_file(&self.own);
        if let Some(stable) = &self.stable
            && fs::read_link(&stable.path)
                .is_ok_and(|target| Some(target.as_os_str()) == self.own.file_name())
        {
            let _ = fs::remove_file(&stable.path);
            let _ = stable.lock.remove();
        }
    }

    /// The lock that goes to a successor.
    pub(crate) fn lock_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stable.as_ref().map(|stable| stable.lock.as_fd())
    }
}

impl Stable {
    fn claim(path: &Path, inherited: Option<OwnedFd>) -> Result<Stable, ControlError> {
        let other = |source| ControlError::Other { path: path.to_owned(), source };
        // Absolute, since the program may change its directory.
        let path = std::path::absolute(path).map_err(other)?;
        // A link is ours to swap, wherever a killed server has left it pointing.
        if fs::symlink_metadata(&path).is_ok_and(|file| !file.file_type().is_symlink()) {
            return Err(ControlError::InTheWay { path });
        }
        let lock = match inherited.map(|fd| PathLock::from_inherited(fd, &path)) {
            Some(Ok(lock)) => lock,
            // The predecessor's is another path, or somebody has removed its lock.
            Some(Err(_)) | None => PathLock::acquire(&path).map_err(|error| match error {
                LockError::Held { .. } => ControlError::Held { path: path.clone() },
                error => other(io::Error::other(error)),
            })?,
        };
        Ok(Stable { path, lock })
    }

    /// By rename: a client finds the old process or the new one. The target is relative, so that the
    /// directory may be mounted elsewhere, in a container say.
    fn point_to(&self, target: &Path) -> io::Result<()> {
        let mut draft = self.path.clone().into_os_string();
        draft.push(format!(".{}.new", std::process::id()));
        let _ = fs::remove_file(&draft);
        symlink(target.file_name().unwrap_or_default(), &draft)?;
        fs::rename(&draft, &self.path).inspect_err(|_| drop(fs::remove_file(&draft)))
    }
}

/// The path of another process's socket beside this one.
pub fn sibling(own: &Path, pid: u32) -> Option<PathBuf> {
    let name = own.file_name()?.as_bytes().strip_suffix(SUFFIX.as_bytes())?;
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let prefix = OsStr::from_bytes(&name[..name.len() - digits]);
    Some(own.with_file_name(name_for(prefix, pid)))
}

fn name_for(prefix: &OsStr, pid: u32) -> OsString {
    let mut name = prefix.to_owned();
    name.push(format!("{pid}{SUFFIX}"));
    name
}

/// Where a socket may be that nobody named a place for, best first.
fn directories() -> Vec<PathBuf> {
    let uid = nix::unistd::geteuid();
    let variable = |name| {
        let value = environment::variable(name).map(PathBuf::from);
        value.filter(|path| path.is_absolute()).map(|path| path.join("heirloom"))
    };
    // systemd's, for a service with RuntimeDirectory=; several are separated by colons, and then there is no
    // knowing.
    let runtime = variable("RUNTIME_DIRECTORY").filter(|path| !path.as_os_str().as_bytes().contains(&b':'));
    let root = uid.is_root().then(|| PathBuf::from("/run/heirloom"));
    let session = variable("XDG_RUNTIME_DIR");
    let temporary = if environment::is_trusted() { env::temp_dir() } else { PathBuf::from("/tmp") };
    let temporary = temporary.join(format!("heirloom-{uid}"));
    [runtime, root, session, Some(temporary)].into_iter().flatten().collect()
}

/// Where the socket of a process may lie that was started with an environment like this one's. Of one with
/// privileges of its own, glibc takes TMPDIR away.
pub(crate) fn usual_places(pid: u32) -> impl Iterator<Item = PathBuf> {
    let temporary = PathBuf::from(format!("/tmp/heirloom-{}", nix::unistd::geteuid()));
    directories()
        .into_iter()
        .chain([temporary])
        .map(move |directory| directory.join(name_for(OsStr::new(""), pid)))
}

/// Makes sure that nobody else can put anything there, or come in.
fn prepare(directory: &Path) -> Result<(), ControlError> {
    let other = |source| ControlError::Other { path: directory.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(other(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(directory).map_err(other)?;
    let is_ours = found.uid() == nix::unistd::geteuid().as_raw();
    if found.is_dir() && is_ours && found.permissions().mode() & 0o077 == 0 {
        Ok(())
    } else {
        Err(ControlError::NotOurs { directory: directory.to_owned() })
    }
}

fn bind(directory: &Path, prefix: &OsStr) -> Result<(UnixListener, PathBuf), ControlError> {
    sweep(directory, prefix);
    let path = directory.join(name_for(prefix, std::process::id()));
    let other = |source| ControlError::Other { path: path.clone(), source };
    let bound = (|| {
        let address = SockAddr::unix(&path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec().nonblocking(), None)?;
        socket.bind(&address)?;
        // Before it listens: until then nobody can connect, whatever mode the umask gave it.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    })();
    Ok((OwnedFd::from(bound.map_err(other)?).into(), path))
}

/// Removes what killed processes have left behind: of this server, or in a directory that is for such sockets
/// alone.
fn sweep(directory: &Path, prefix: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten().take(SWEPT) {
        let name = entry.file_name();
        let rest = name.as_bytes().strip_prefix(prefix.as_bytes());
        let number = rest.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        if number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit)) {
            remove_if_stale(&entry.path());
        }
    }
}

/// How many files a start looks at: a directory with more is in trouble of its own, and the start is not to
/// wait for it.
const SWEPT: usize = 1000;

fn remove_if_stale(path: &Path) {
    if is_stale_socket(path).is_ok_and(|state| state == PathState::Stale) {
        let _ = fs::remove_file(path);
    }
}

fn parts(path: &Path) -> Result<(&Path, &OsStr), ControlError> {
    path.parent().zip(path.file_name()).ok_or_else(|| ControlError::Other {
        path: path.to_owned(),
        source: io::ErrorKind::InvalidFilename.into(),
    })
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
