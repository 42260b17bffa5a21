//! From a process id, or a pid file, to the control socket: the kernel knows which sockets a process holds.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::place::{SUFFIX, usual_places};
use super::trust::Guides;
use crate::sys::process::{Identity, Process, socket_inode};

/// Why there is nobody to ask.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// There is no such process.
    #[error("no process {pid} is running")]
    #[non_exhaustive]
    NotRunning {
        /// Its id.
        pid: u32,
    },
    /// It is another user's.
    #[error(
        "process {pid} belongs to another user, or has privileges that this one lacks: run this as root, or as that user"
    )]
    #[non_exhaustive]
    NoPermission {
        /// Its id.
        pid: u32,
    },
    /// It is a thread of another one.
    #[error("{pid} is a thread of process {process}, which is the one to name")]
    #[non_exhaustive]
    Thread {
        /// The id that was named.
        pid: u32,
        /// The process.
        process: u32,
    },
    /// It is this user's, and still the kernel does not tell what it has open.
    #[error(
        "process {pid} has privileges of its own (file capabilities, say), so the kernel hides its control socket from its \
         own user too: name the socket (`--control PATH`, of `Builder::control_at(PATH)`), or run this as root"
    )]
    #[non_exhaustive]
    Shielded {
        /// Its id.
        pid: u32,
    },
    /// It runs, and holds no control socket.
    #[error(
        "process {pid} has no control socket: it is no heirloom server, or has none on purpose (`Restarter::bare()`, \
         `Builder::control(false)`), or found no place where it may write (its log says so)"
    )]
    #[non_exhaustive]
    NoControl {
        /// Its id.
        pid: u32,
    },
    /// The pid file cannot be read.
    #[error("cannot read the pid file {path:?}")]
    #[non_exhaustive]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pid file names no process.
    #[error("the pid file {path:?} holds no process id but {text:?}")]
    #[non_exhaustive]
    NoPid {
        /// The file.
        path: PathBuf,
        /// Its text, or the start of it.
        text: String,
    },
    /// What is there can be no pid file.
    #[error("{path:?} is no pid file: it is not a regular file")]
    #[non_exhaustive]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A user could have put the number there whose process it does not name.
    #[error(
        "the pid file {path:?} is not trusted: user {stranger} decides what is in it, and process {pid} is another \
         user's; name the process with --pid"
    )]
    #[non_exhaustive]
    Strange {
        /// The file.
        path: PathBuf,
        /// The process that it names.
        pid: u32,
        /// Who owns the file, its directory, or a link on the way.
        stranger: u32,
    },
    /// The pid file is what a killed server left behind.
    #[error("the pid file {path:?} is stale: process {pid}, which it names, {what}")]
    #[non_exhaustive]
    Stale {
        /// The file.
        path: PathBuf,
        /// The process that it names.
        pid: u32,
        /// What is the matter with that.
        what: &'static str,
    },
}

/// The control socket of a process. Whether it is that process that answers there is for
/// [`Client::ask_process`](super::client::Client::ask_process) to see.
///
/// # Errors
///
/// There is no such process, or it has none, or it may not be asked.
pub fn socket_of(pid: u32) -> Result<PathBuf, FindError> {
    let process = directory_of(pid);
    let is_over = || Process::at(&process).is_none_or(Process::has_ended);
    if is_over() {
        return Err(FindError::NotRunning { pid });
    }
    let identity = Identity::at(&process);
    if let Some(Identity { process, .. }) = identity.filter(|identity| identity.process != pid) {
        return Err(FindError::Thread { pid, process });
    }
    let denied = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied if !is_over() => usual_socket_of(pid, identity),
        _ => Err(FindError::NotRunning { pid }),
    };
    let held = match sockets(&process) {
        Ok(held) => held,
        Err(error) => return denied(error),
    };
    // In the process's own network namespace.
    let table = match fs::read(process.join("net/unix")) {
        Ok(table) => table,
        Err(error) => return denied(error),
    };
    let mut lines = table.split(|byte| *byte == b'\n').filter_map(listening);
    let Some((_, path)) = lines.find(|(inode, _)| held.contains(inode)) else {
        // Closed a moment ago, by its end?
        return Err(if is_over() { FindError::NotRunning { pid } } else { FindError::NoControl { pid } });
    };
    Ok(from_here(&process, path))
}

/// Where the kernel hides what a process has open (it has privileges of its own, or this one lacks some), its
/// socket may still lie where such sockets usually do.
fn usual_socket_of(pid: u32, identity: Option<Identity>) -> Result<PathBuf, FindError> {
    let own = nix::unistd::geteuid().as_raw();
    if own != 0 && identity.is_none_or(|identity| identity.user != own) {
        return Err(FindError::NoPermission { pid });
    }
    let found = usual_places(pid).find(|path| fs::symlink_metadata(path).is_ok());
    found.ok_or(FindError::Shielded { pid })
}

/// The process that a pid file names, if it is alive. Where the file is heirloom's, the process must own it:
/// a number that a killed server has left behind may have come to mean another one. And a user who could have
/// put the number there names processes of their own alone.
///
/// # Errors
///
/// The file cannot be read, or names no process that is running, or one that is not its owner's to name.
pub fn process_in(pid_file: &Path) -> Result<u32, FindError> {
    let mut found = look_into(pid_file);
    for _ in 0..LOOKS {
        // It was rewritten between the two looks, by a restart that has settled; or else it is stale indeed.
        let Err(FindError::Stale { pid: stale, .. }) = found else { break };
        found = look_into(pid_file);
        if matches!(found, Err(FindError::Stale { pid, .. }) if pid == stale) {
            break;
        }
    }
    found
}

/// How many restarts may settle under the look: more in a row do not happen by chance.
const LOOKS: usize = 10;

fn look_into(pid_file: &Path) -> Result<u32, FindError> {
    let path = pid_file.to_owned();
    let (text, guides) = match read_number(&path) {
        Ok(Some(read)) => read,
        Ok(None) => return Err(FindError::NotAFile { path }),
        Err(source) => return Err(FindError::PidFile { path, source }),
    };
    let Some(pid) = text.parse().ok().filter(|pid| *pid > 0) else {
        return Err(FindError::NoPid { path, text });
    };
    let process = directory_of(pid);
    if Process::at(&process).is_none_or(Process::has_ended) {
        return Err(FindError::Stale { path, pid, what: "is not running" });
    }
    let user = Identity::at(&process).map(|identity| identity.user);
    if let Some(stranger) = user.and_then(|user| guides.stranger_to(user)) {
        return Err(FindError::Strange { path, pid, stranger });
    }
    let mut lock = path.clone().into_os_string();
    lock.push(".lock");
    // Nothing is locked for the check: a server that starts just now must not find its lock taken.
    if let Ok(lock) = fs::metadata(lock)
        && holds(&process, &lock) == Some(false)
    {
        return Err(FindError::Stale { path, pid, what: "is another one by now" });
    }
    Ok(pid)
}

/// Why a process does not answer, if that can be seen from outside.
pub fn halted(pid: u32) -> Option<&'static str> {
    let process = Process::at(&directory_of(pid))?;
    if process.is_stopped() {
        Some("it is stopped (SIGSTOP, or a debugger; SIGCONT lets it go on)")
    } else if process.is_stuck() {
        Some("it waits in the kernel, for a disk that does not answer perhaps")
    } else {
        None
    }
}

/// The text, and who could have put it there; `None` if that is no regular file, which might never end.
fn read_number(path: &Path) -> io::Result<Option<(String, Guides)>> {
    let mut guides = Guides::on(path)?;
    // Non-blocking is for a FIFO in its place, which would make the open wait.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let found = file.metadata()?;
    guides.add(found.uid());
    if !found.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(Some((String::from_utf8_lossy(&bytes).trim().to_owned(), guides)))
}

/// More than any process id has digits, and an excerpt of what else may be in the file.
const LONGEST: u64 = 40;

fn directory_of(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

/// The inodes of the sockets that a process holds.
fn sockets(process: &Path) -> io::Result<BTreeSet<u64>> {
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))?.flatten() {
        match fs::read_link(entry.path()) {
            Ok(link) => held.extend(socket_inode(&link)),
            // Root without CAP_SYS_PTRACE, as in most containers, may see which there are, and not what they
            // are.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(held)
}

/// The inode and the path of a line of the table, if that is a control socket. The path comes last and may
/// hold spaces, and whatever else is no text.
fn listening(line: &[u8]) -> Option<(u64, &Path)> {
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        let start = rest.trim_ascii_start();
        let end = start.iter().position(|byte| *byte == b' ')?;
        *field = str::from_utf8(&start[..end]).ok()?;
        rest = &start[end + 1..];
    }
    let [_, _, _, flags, _, _, inode] = fields;
    let is_control = rest.starts_with(b"/") && rest.ends_with(SUFFIX.as_bytes());
    let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    (is_control && accepts).then_some((inode.parse().ok()?, Path::new(OsStr::from_bytes(rest))))
}

/// In the kernel's flags of a socket (`__SO_ACCEPTCON`): it listens.
const ACCEPTS: u32 = 1 << 16;

/// A path of the process's mount namespace, as this process reaches it. By its plain name where the two are
/// the same: what leads through the process ends with it.
fn from_here(process: &Path, path: &Path) -> PathBuf {
    let namespace = |process: &Path| fs::read_link(process.join("ns/mnt")).ok();
    let root = |process: &Path| fs::metadata(process.join("root")).map(|root| (root.dev(), root.ino())).ok();
    let own = Path::new("/proc/self");
    if namespace(process) == namespace(own) && root(process) == root(own) {
        return path.to_owned();
    }
    let inside = path.strip_prefix("/").unwrap_or(path);
    process.join("root").join(inside)
}

/// Whether the process has this very file open; `None` if it cannot be told.
fn holds(process: &Path, file: &fs::Metadata) -> Option<bool> {
    for entry in fs::read_dir(process.join("fd")).ok()?.flatten() {
        match fs::metadata(entry.path()) {
            Ok(open) if (open.dev(), open.ino()) == (file.dev(), file.ino()) => return Some(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
            // Another one, or closed meanwhile.
            _ => {}
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernels_table() {
        let line = b"0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/my app/7.heirloom";
        assert_eq!(listening(line), Some((12345, Path::new("/run/my app/7.heirloom"))));
        let padded = b"0000000000000000: 00000002 00000000 00010000 0001 01    45 /run/7.heirloom";
        assert_eq!(listening(padded), Some((45, Path::new("/run/7.heirloom"))));
        let strange = b"0000000000000000: 00000002 00000000 00010000 0001 01 45 /run/\xff/7.heirloom";
        assert_eq!(listening(strange).unwrap().1.as_os_str().as_bytes(), b"/run/\xff/7.heirloom");
        for other in [
            "Num       RefCount Protocol Flags    Type St Inode Path",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/other.sock",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @7.heirloom",
            // A connection that the listener has accepted.
            "0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/7.heirloom",
        ] {
            assert_eq!(listening(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn who_is_not_there_or_has_none() {
        // Above the largest that Linux gives.
        assert!(matches!(socket_of(5_000_000), Err(FindError::NotRunning { pid: 5_000_000 })));
        let thread = std::thread::spawn(|| nix::unistd::gettid().as_raw().cast_unsigned()).join().unwrap();
        // It may be gone by now.
        assert!(matches!(socket_of(thread), Err(FindError::Thread { .. } | FindError::NotRunning { .. })));
        // Not this process, where other tests make control sockets.
        let _starts = crate::sys::alone::starts_processes();
        let mut cat = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(matches!(socket_of(cat.id()), Err(FindError::NoControl { .. })));
        drop(cat.stdin.take());
        cat.wait().unwrap();
    }

    #[test]
    fn a_pid_file_is_checked() {
        let path = std::env::temp_dir().join(format!("heirloom-find-{}.pid", std::process::id()));
        let write = |text: &str| fs::write(&path, text).unwrap();
        assert!(matches!(process_in(&path), Err(FindError::PidFile { .. })));
        for text in ["", "x", "-1", "0", &"9".repeat(100_000)] {
            write(text);
            let error = process_in(&path).unwrap_err();
            assert!(matches!(error, FindError::NoPid { .. }), "{text:.50}: {error}");
            assert!(error.to_string().len() < 300, "{error}");
        }
        write("5000000\n");
        assert!(matches!(process_in(&path), Err(FindError::Stale { pid: 5_000_000, .. })));
        write(&format!("{}\n", std::process::id()));
        assert_eq!(process_in(&path).unwrap(), std::process::id());
        for other in ["/dev/zero", "/proc", "/"] {
            assert!(matches!(process_in(Path::new(other)), Err(FindError::NotAFile { .. })), "{other}");
        }
        // Somebody's lock that the process does not hold.
        let lock = path.with_extension("pid.lock");
        fs::write(&lock, "").unwrap();
        assert!(matches!(process_in(&path), Err(FindError::Stale { .. })));
        let held = fs::File::open(&lock).unwrap();
        assert_eq!(process_in(&path).unwrap(), std::process::id());
        drop(held);
        fs::remove_file(lock).unwrap();
        fs::remove_file(path).unwrap();
    }
}
