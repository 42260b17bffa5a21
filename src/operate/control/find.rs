//! From a process id, or a pid file, to the control socket: the kernel knows which sockets a process holds.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::place::SUFFIX;
use crate::operate::kept_file::read_start;

/// Why there is nobody to ask.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FindError {
    /// There is no such process.
    #[error("no process {pid} is running")]
    NotRunning {
        /// Its id.
        pid: u32,
    },
    /// It is another user's.
    #[error(
        "process {pid} belongs to another user, or has privileges that this one lacks: run this as root, or as that user"
    )]
    NoPermission {
        /// Its id.
        pid: u32,
    },
    /// It runs, and holds no control socket.
    #[error(
        "process {pid} has no control socket: it is no heirloom server, has not asked for one \
         (`Restarter::builder().control()`), or found no place where it may write (its log says so)"
    )]
    NoControl {
        /// Its id.
        pid: u32,
    },
    /// The pid file cannot be read.
    #[error("cannot read the pid file {path:?}")]
    PidFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The pid file names no process.
    #[error("the pid file {path:?} holds no process id but {text:?}")]
    NoPid {
        /// The file.
        path: PathBuf,
        /// Its text, or the start of it.
        text: String,
    },
    /// The pid file is what a killed server left behind.
    #[error("the pid file {path:?} is stale: process {pid}, which it names, {what}")]
    Stale {
        /// The file.
        path: PathBuf,
        /// The process that it names.
        pid: u32,
        /// What is the matter with that.
        what: &'static str,
    },
}

/// The control socket of a process.
///
/// # Errors
///
/// There is no such process, or it has none, or it may not be asked.
pub fn socket_of(pid: u32) -> Result<PathBuf, FindError> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let denied = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied if !has_ended(&process) => FindError::NoPermission { pid },
        _ => FindError::NotRunning { pid },
    };
    if has_ended(&process) {
        return Err(FindError::NotRunning { pid });
    }
    let held = sockets(&process).map_err(denied)?;
    // In the process's own network namespace.
    let table = fs::read(process.join("net/unix")).map_err(denied)?;
    let table = String::from_utf8_lossy(&table);
    let found = table.lines().filter_map(listening).find(|(inode, _)| held.contains(inode));
    let Some((_, path)) = found else {
        // Closed a moment ago, by its end?
        return Err(if has_ended(&process) {
            FindError::NotRunning { pid }
        } else {
            FindError::NoControl { pid }
        });
    };
    Ok(from_here(&process, Path::new(path)))
}

/// The process that a pid file names, if it is alive. Where the file is heirloom's, the process must own it: a number
/// that a killed server has left behind may have come to mean another one.
///
/// # Errors
///
/// The file cannot be read, or names no process that is running.
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
    let text = match read_start(&path, LONGEST) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).trim().to_owned(),
        Err(source) => return Err(FindError::PidFile { path, source }),
    };
    let Some(pid) = text.parse().ok().filter(|pid| *pid > 0) else {
        return Err(FindError::NoPid { path, text });
    };
    let process = PathBuf::from(format!("/proc/{pid}"));
    if has_ended(&process) {
        return Err(FindError::Stale { path, pid, what: "is not running" });
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

/// More than any process id has digits, and an excerpt of what else may be in the file.
const LONGEST: u64 = 40;

/// Gone, or a zombie, or on its way there: then it holds nothing any more, or soon.
fn has_ended(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    // The name, in parentheses, may itself hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else { return true };
    let mut fields = rest.split(' ');
    let state = fields.next().unwrap_or_default();
    let flags: u64 = fields.nth(5).and_then(|flags| flags.parse().ok()).unwrap_or_default();
    matches!(state, "Z" | "X") || flags & EXITING != 0
}

/// In the kernel's flags of a process (`PF_EXITING`).
const EXITING: u64 = 4;

/// The inodes of the sockets that a process holds.
fn sockets(process: &Path) -> io::Result<BTreeSet<u64>> {
    let inode = |link: PathBuf| -> Option<u64> {
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let mut held = BTreeSet::new();
    for entry in fs::read_dir(process.join("fd"))?.flatten() {
        match fs::read_link(entry.path()) {
            Ok(link) => held.extend(inode(link)),
            // Root without CAP_SYS_PTRACE, as in most containers, may see which there are, and not what they are.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            // Closed meanwhile.
            Err(_) => {}
        }
    }
    Ok(held)
}

/// The inode and the path of a line of the table, if that is a control socket. The path comes last and may hold spaces.
fn listening(line: &str) -> Option<(u64, &str)> {
    let mut rest = line;
    let mut fields = [""; 7];
    for field in &mut fields {
        (*field, rest) = rest.trim_start().split_once(' ')?;
    }
    let [_, _, _, flags, _, _, inode] = fields;
    let is_control = rest.starts_with('/') && rest.ends_with(SUFFIX);
    let accepts = u32::from_str_radix(flags, 16).ok()? & ACCEPTS != 0;
    (is_control && accepts).then_some((inode.parse().ok()?, rest))
}

/// In the kernel's flags of a socket (`__SO_ACCEPTCON`): it listens.
const ACCEPTS: u32 = 1 << 16;

/// A path of the process's mount namespace, as this process reaches it. By its plain name where the two are the same:
/// what leads through the process ends with it.
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
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/my app/7.heirloom";
        assert_eq!(listening(line), Some((12345, "/run/my app/7.heirloom")));
        let padded = "0000000000000000: 00000002 00000000 00010000 0001 01    45 /run/7.heirloom";
        assert_eq!(listening(padded), Some((45, "/run/7.heirloom")));
        for other in [
            "Num       RefCount Protocol Flags    Type St Inode Path",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345 /run/other.sock",
            "0000000000000000: 00000002 00000000 00010000 0001 01 12345 @7.heirloom",
            // A connection that the listener has accepted.
            "0000000000000000: 00000003 00000000 00000000 0001 03 12345 /run/7.heirloom",
        ] {
            assert_eq!(listening(other), None, "{other}");
        }
    }

    #[test]
    fn who_is_not_there_or_has_none() {
        // Above the largest that Linux gives.
        assert!(matches!(socket_of(5_000_000), Err(FindError::NotRunning { pid: 5_000_000 })));
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
