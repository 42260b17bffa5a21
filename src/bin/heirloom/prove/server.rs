//! A server that is started here, and ended at the end.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::Interrupted;
use super::kernel;

/// It and all that it starts are a process group, whose orphans come to this process.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    group: Pid,
    has_ended: bool,
}

impl Server {
    /// Starts it, and waits until it listens.
    pub(super) fn start(
        command: &[OsString],
        address: SocketAddr,
        log: Option<&Path>,
        longest: Duration,
        interrupted: &Interrupted,
    ) -> Result<Server, String> {
        let is_taken = kernel::listening(address).is_ok_and(|listening| !listening.is_empty());
        if is_taken {
            return Err(format!(
                "somebody listens on {address} already: end that first, or leave out the command"
            ));
        }
        nix::sys::prctl::set_child_subreaper(true).map_err(|errno| format!("no subreaper: {errno}"))?;
        let (out, err) = match log {
            Some(path) => {
                let file = std::fs::File::options().create(true).append(true).open(path);
                let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
                let other = file.try_clone().map_err(|error| error.to_string())?;
                (Stdio::from(file), Stdio::from(other))
            }
            None => (our_stderr()?, our_stderr()?),
        };
        let [program, arguments @ ..] = command else { return Err("no command".to_owned()) };
        let mut command = Command::new(program);
        command.args(arguments).process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
        let child = command.spawn().map_err(|error| format!("cannot start {program:?}: {error}"))?;
        let group = Pid::from_raw(child.id() as i32);
        let mut server = Server { address, group, has_ended: false };
        let until = Instant::now() + longest;
        while kernel::listening(address).is_ok_and(|listening| listening.is_empty()) {
            if interrupted.load(Ordering::Relaxed) {
                return Err("interrupted".to_owned());
            }
            server.reap();
            if server.has_ended {
                return Err(format!("the server has ended before it listened on {address}"));
            }
            if Instant::now() >= until {
                let within = humantime::format_duration(longest);
                return Err(format!("the server does not listen on {address} within {within}"));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(server)
    }

    pub(super) fn pid(&self) -> i32 {
        self.group.as_raw()
    }

    /// Takes leave of those that have ended.
    pub(super) fn reap(&mut self) {
        loop {
            match waitpid(Pid::from_raw(-self.group.as_raw()), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => {
                    self.has_ended = true;
                    return;
                }
            }
        }
    }
}

impl Drop for Server {
    /// First in good order, then at once; what has left the group is found by the port that it holds.
    fn drop(&mut self) {
        for (signal, longest) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, DEATH)] {
            let _ = killpg(self.group, signal);
            let strays = kernel::listening(self.address).map(|sockets| kernel::holders(&sockets));
            for stray in strays.unwrap_or_default() {
                let is_ours = nix::unistd::getpgid(Some(Pid::from_raw(stray.pid)))
                    .is_ok_and(|group| group == self.group);
                if !is_ours {
                    let _ = kill(Pid::from_raw(stray.pid), signal);
                }
            }
            let until = Instant::now() + longest;
            while Instant::now() < until {
                self.reap();
                let is_silent = kernel::listening(self.address).is_ok_and(|sockets| sockets.is_empty());
                if self.has_ended && is_silent {
                    return;
                }
                std::thread::sleep(AGAIN);
            }
        }
    }
}

/// What servers and commands say goes beside what this command says, and not into its report.
pub(super) fn our_stderr() -> Result<Stdio, String> {
    let copy = io::stderr().as_fd().try_clone_to_owned();
    copy.map(Stdio::from).map_err(|error| format!("standard error cannot be shared: {error}"))
}

/// As long as `docker stop` gives.
const GRACE: Duration = Duration::from_secs(10);
const DEATH: Duration = Duration::from_secs(2);
const AGAIN: Duration = Duration::from_millis(10);
