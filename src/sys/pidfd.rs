//! Who died, without races: a process held by descriptor, so that its number can never come to mean another.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use libc::c_int;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

/// A process held by descriptor. Readable (poll, epoll) once every thread of it has ended, reaped or not.
#[derive(Debug)]
pub(crate) struct Pidfd {
    fd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It returned or called exit with this status.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
    /// It is gone, but its status went elsewhere: somebody else reaped it, or SIGCHLD is ignored.
    Unknown,
}

/// What to say where it fails.
pub(crate) const PIDFD_NEEDS: &str =
    "it needs Linux 5.4 or newer, a sandbox (seccomp) that allows it, and a free descriptor";

/// What a child's job control has come to.
#[cfg(feature = "supervisor")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// This signal stopped it.
    By(i32),
    /// It goes on.
    Over,
}

/// Why a descriptor is not taken for a pidfd.
#[derive(Debug, thiserror::Error)]
#[error("fd {fd} is not a pidfd; the announcement that named it is wrong")]
struct NotAPidfd {
    fd: RawFd,
}

impl Pidfd {
    /// Holds the process that has this number now: safe only for a child that nobody has reaped yet, and for
    /// oneself.
    pub(crate) fn open(pid: i32) -> io::Result<Pidfd> {
        // SAFETY: pidfd_open takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let fd = Errno::result(fd)? as RawFd;
        // SAFETY: the kernel has just made this descriptor for us, close-on-exec; nobody else knows its
        // number.
        Ok(Pidfd { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// Holds this process, to hand to another one.
    pub(crate) fn own() -> io::Result<Pidfd> {
        Pidfd::open(std::process::id() as i32)
    }

    /// Takes a descriptor that another process announced as a pidfd, and checks that it is one.
    pub(crate) fn from_fd(fd: OwnedFd) -> io::Result<Pidfd> {
        let pidfd = Pidfd { fd };
        match pidfd.signal(0) {
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, NotAPidfd { fd: pidfd.fd.as_raw_fd() }))
            }
            // Gone, or another user's: it is a pidfd all the same.
            _ => Ok(pidfd),
        }
    }

    /// Sends a signal; 0 only asks whether one could be sent. ESRCH: the process is gone.
    pub(crate) fn signal(&self, signal: c_int) -> io::Result<()> {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open for as long as `self` lives, and a null siginfo is allowed: the
        // kernel then fills in what kill() would.
        let sent =
            unsafe { libc::syscall(libc::SYS_pidfd_send_signal, self.fd.as_raw_fd(), signal, info, 0) };
        Errno::result(sent)?;
        Ok(())
    }

    /// Passes a queued signal on, with its value and its sender. The number of those that may wait is
    /// limited: without room for the value the signal goes without.
    #[cfg(feature = "supervisor")]
    pub(crate) fn pass_on(&self, queued: &libc::siginfo_t) -> io::Result<()> {
        let signal = queued.si_signo;
        // SAFETY: the descriptor is open for as long as `self` lives, and the record is read only.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.fd.as_raw_fd(),
                signal,
                std::ptr::from_ref(queued),
                0,
            )
        };
        match Errno::result(sent) {
            Ok(_) => Ok(()),
            Err(Errno::EAGAIN) => self.signal(signal),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Kills the process group that this process, whose number is `pid`, leads or has led.
    #[cfg(feature = "supervisor")]
    pub(crate) fn kill_group(&self, pid: i32) -> io::Result<()> {
        let info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: as in `signal`.
        let sent = unsafe {
            let call = libc::SYS_pidfd_send_signal;
            libc::syscall(call, self.fd.as_raw_fd(), libc::SIGKILL, info, PIDFD_SIGNAL_PROCESS_GROUP)
        };
        match Errno::result(sent) {
            Ok(_) => Ok(()),
            // Linux before 6.9. The number is the group's as long as its leader lives, and may be another's
            // then.
            Err(Errno::EINVAL) if !self.has_exited()? => {
                Ok(nix::sys::signal::killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL)?)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether the process has ended, without waiting and without reaping it.
    pub(crate) fn has_exited(&self) -> io::Result<bool> {
        let mut watched = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut watched, PollTimeout::ZERO) {
                Ok(ready) => return Ok(ready > 0),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reaps the process if it has ended; `None` while it runs. Of a process that is not our child the end is
    /// seen as well, but never the status.
    pub(crate) fn reap(&self) -> io::Result<Option<Exit>> {
        match self.wait(libc::WEXITED) {
            // ECHILD says "not a child of yours", which is true of a stranger that lives and of a child that
            // somebody else has reaped: only the pidfd tells them apart.
            Err(Errno::ECHILD) => Ok(self.has_exited()?.then_some(Exit::Unknown)),
            Err(errno) => Err(errno.into()),
            Ok(ended) => Ok(ended.map(|(code, status)| match code {
                libc::CLD_EXITED => Exit::Code(status),
                _ => Exit::Signal(status),
            })),
        }
    }

    /// Whether this child of ours has been stopped, or goes on, since this was asked last.
    #[cfg(feature = "supervisor")]
    pub(crate) fn stop(&self) -> io::Result<Option<Stop>> {
        let changed = self.wait(libc::WSTOPPED | libc::WCONTINUED)?;
        Ok(changed.map(|(code, status)| match code {
            libc::CLD_CONTINUED => Stop::Over,
            _ => Stop::By(status),
        }))
    }

    /// The code and the status of what has become of a child, without waiting.
    fn wait(&self, what: c_int) -> Result<Option<(c_int, c_int)>, Errno> {
        // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let id = self.fd.as_raw_fd() as libc::id_t;
        loop {
            // SAFETY: `info` is ours and outlives the call; the descriptor is open while `self` lives.
            let waited = unsafe { libc::waitid(libc::P_PIDFD, id, &mut info, what | libc::WNOHANG) };
            match Errno::result(waited) {
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
                Ok(_) => break,
            }
        }
        // SAFETY: waitid succeeded, so these fields of the union are the ones in use (zero: nothing has
        // happened).
        let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
        Ok((pid != 0).then_some((info.si_code, status)))
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Pidfd> for OwnedFd {
    fn from(pidfd: Pidfd) -> OwnedFd {
        pidfd.fd
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Code(code) => write!(f, "exited with status {code}"),
            Exit::Signal(signal) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "was killed by {name} ({signal})"),
                // The real-time signals have no names of their own.
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            Exit::Unknown => f.write_str("is gone, and its exit status was collected elsewhere"),
        }
    }
}

/// Of pidfd_send_signal: to the group of which this process is the leader.
#[cfg(feature = "supervisor")]
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, await_exit, starts_processes};
    use std::process::{ChildStdin, Command, Stdio};

    #[expect(clippy::zombie_processes, reason = "reaped through the pidfd, which is what is tested")]
    fn shell(script: &str) -> (Pidfd, ChildStdin) {
        let mut shell = Command::new("/bin/sh");
        let mut child = shell.args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap();
        (Pidfd::open(child.id() as i32).unwrap(), child.stdin.take().unwrap())
    }

    #[test]
    fn an_exit_status_is_reaped_once() {
        let _guard = starts_processes();
        let (pidfd, _) = shell("exit 3");
        await_exit(&pidfd);
        assert!(pidfd.has_exited().unwrap());
        assert_eq!(pidfd.reap().unwrap(), Some(Exit::Code(3)));
        assert_eq!(pidfd.reap().unwrap(), Some(Exit::Unknown));
        assert_eq!(pidfd.signal(libc::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_killed_child_names_its_signal() {
        let _guard = starts_processes();
        let (pidfd, input) = shell("exec cat");
        assert!(!pidfd.has_exited().unwrap());
        assert_eq!(pidfd.reap().unwrap(), None);
        pidfd.signal(libc::SIGKILL).unwrap();
        await_exit(&pidfd);
        assert_eq!(pidfd.reap().unwrap(), Some(Exit::Signal(libc::SIGKILL)));
        drop(input);
    }

    #[test]
    fn a_stranger_that_lives_is_not_taken_for_dead() {
        let own = Pidfd::own().unwrap();
        assert_eq!(own.reap().unwrap(), None);
        assert!(!own.has_exited().unwrap());
        own.signal(0).unwrap();
    }

    #[test]
    fn with_sigchld_ignored_the_end_is_still_seen() {
        alone("sys::pidfd::tests::with_sigchld_ignored_the_end_is_still_seen", &[], || {
            // SAFETY: SIG_IGN runs no code, and this process runs this test alone.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
            let (pidfd, input) = shell("exec cat");
            assert_eq!(pidfd.reap().unwrap(), None);
            drop(input);
            await_exit(&pidfd);
            assert_eq!(pidfd.reap().unwrap(), Some(Exit::Unknown));
        });
    }

    #[test]
    fn only_a_pidfd_is_taken_for_one() {
        let _guard = starts_processes();
        let file = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let number = file.as_raw_fd();
        let error = Pidfd::from_fd(file).unwrap_err();
        assert!(error.to_string().starts_with(&format!("fd {number} is not a pidfd")), "{error}");
        Pidfd::from_fd(Pidfd::own().unwrap().into()).unwrap();
        let (gone, _) = shell("exit 0");
        await_exit(&gone);
        gone.reap().unwrap();
        Pidfd::from_fd(gone.into()).unwrap();
    }

    #[test]
    fn exits_read_as_sentences() {
        assert_eq!(Exit::Code(3).to_string(), "exited with status 3");
        assert_eq!(Exit::Signal(9).to_string(), "was killed by SIGKILL (9)");
        assert_eq!(Exit::Signal(40).to_string(), "was killed by signal 40");
    }
}
