//! What the kernel tells of a process in `/proc`. All of it is bytes: a program calls itself what it likes,
//! and the kernel cuts a name after 15 of them, within a letter if need be.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A process as it was at the look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    state: u8,
    #[cfg_attr(not(feature = "supervisor"), allow(dead_code, reason = "a supervisor's question"))]
    pub(crate) parent: i32,
    #[cfg_attr(not(feature = "supervisor"), allow(dead_code, reason = "a supervisor's question"))]
    pub(crate) group: i32,
    flags: u64,
}

impl Process {
    /// The process (or thread) of this directory of `/proc`; `None` if it is gone.
    pub(crate) fn at(directory: &Path) -> Option<Process> {
        Process::parse(&fs::read(directory.join("stat")).ok()?)
    }

    #[cfg_attr(not(feature = "supervisor"), allow(dead_code, reason = "a supervisor's question"))]
    pub(crate) fn of(pid: i32) -> Option<Process> {
        Process::at(&PathBuf::from(format!("/proc/{pid}")))
    }

    fn parse(stat: &[u8]) -> Option<Process> {
        // The name, in parentheses, may itself hold anything; what follows are numbers.
        let end = stat.windows(2).rposition(|pair| pair == b") ")?;
        let mut fields = str::from_utf8(&stat[end + 2..]).ok()?.split_ascii_whitespace();
        Some(Process {
            state: *fields.next()?.as_bytes().first()?,
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            flags: fields.nth(3)?.parse().ok()?,
        })
    }

    /// A zombie, or on its way there: then it holds nothing any more, or soon.
    pub(crate) fn has_ended(self) -> bool {
        matches!(self.state, b'Z' | b'X') || self.flags & EXITING != 0
    }

    /// Stopped, by a signal or a debugger.
    pub(crate) fn is_stopped(self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Waits in the kernel for something that does not come, a disk mostly.
    pub(crate) fn is_stuck(self) -> bool {
        self.state == b'D'
    }
}

/// The variables that a process was started with, as `NAME=VALUE`; none if they may not be read.
#[cfg(feature = "supervisor")]
pub(crate) fn environment(pid: i32) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// In the kernel's flags of a process (`PF_EXITING`).
const EXITING: u64 = 4;

/// What else any user may know of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The process, if that was a thread's number.
    pub(crate) process: u32,
    /// Whose rights it has.
    pub(crate) user: u32,
}

impl Identity {
    pub(crate) fn at(directory: &Path) -> Option<Identity> {
        let status = fs::read(directory.join("status")).ok()?;
        let field = |name: &[u8], number: usize| {
            let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(name))?;
            str::from_utf8(line).ok()?.split_ascii_whitespace().nth(number)?.parse().ok()
        };
        // Of the user ids the second is the effective one.
        Some(Identity { process: field(b"Tgid:", 0)?, user: field(b"Uid:", 1)? })
    }
}

/// The inode behind a link in `/proc/PID/fd`, if that is a socket.
pub(crate) fn socket_inode(link: &Path) -> Option<u64> {
    let number = link.as_os_str().as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_be_no_text_at_all() {
        for name in ["cat", "a) R 1 2", "(x) (y) ", "при\u{434}"] {
            for cut in [&b""[..], b"\xd0", b"\xff"] {
                let stat = [b"4711 (", name.as_bytes(), cut, b") T 7 8 9 0 -1 4194560 1 2\n"].concat();
                let process = Process::parse(&stat).unwrap();
                assert_eq!((process.parent, process.group), (7, 8), "{name}");
                assert!(process.is_stopped() && !process.has_ended() && !process.is_stuck());
            }
        }
        assert!(Process::parse(b"1 (x) R 1 1 1 0 -1 4194564 1\n").unwrap().has_ended());
        assert!(Process::parse(b"1 (x) Z 1 1 1 0 -1 4194304 1\n").unwrap().has_ended());
        assert_eq!(Process::parse(b""), None);
    }

    #[test]
    fn this_process() {
        let own = Process::of(std::process::id() as i32).unwrap();
        assert!(!own.has_ended() && !own.is_stopped());
        let directory = Path::new("/proc/thread-self");
        let identity = Identity::at(directory).unwrap();
        let expected = Identity { process: std::process::id(), user: nix::unistd::geteuid().as_raw() };
        assert_eq!(identity, expected);
        assert_eq!(socket_inode(Path::new("socket:[77]")), Some(77));
        assert_eq!(socket_inode(Path::new("pipe:[77]")), None);
    }
}
