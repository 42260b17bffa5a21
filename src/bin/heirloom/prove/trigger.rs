//! How a restart is asked for: by a signal, or by a command.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use heirloom::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::kernel::{Process, roots};

#[derive(Debug)]
pub(super) enum Trigger {
    Signal {
        signal: Signal,
        to: Receiver,
    },
    /// For a shell. The process that serves is its variable SERVER_PID.
    Command(String),
}

/// Who gets the signal.
#[derive(Debug)]
pub(super) enum Receiver {
    PidFile(PathBuf),
    /// This process, and when it is gone the one that serves.
    Process(i32),
}

/// A command that may still run.
#[derive(Debug, Default)]
pub(super) struct Running {
    child: Option<Child>,
    failure: Option<String>,
}

impl Trigger {
    /// The process that a restart begins with. `holders` have the listening socket; `replaced` are those that
    /// an earlier restart has replaced, some of which may still drain.
    pub(super) fn target(
        &self,
        holders: &BTreeSet<Process>,
        replaced: &BTreeSet<Process>,
    ) -> Result<i32, String> {
        match self {
            Trigger::Signal { to: Receiver::PidFile(path), .. } => pid_in(path),
            Trigger::Signal { to: Receiver::Process(pid), .. } => Ok(first_of(*pid, holders, replaced)),
            Trigger::Command(_) => Ok(first_of(0, holders, replaced)),
        }
    }

    pub(super) fn pull(&self, target: i32) -> Result<Running, String> {
        match self {
            Trigger::Signal { signal, .. } => {
                let number = signal.number();
                let sent = nix::sys::signal::Signal::try_from(number)
                    .and_then(|signal| kill(Pid::from_raw(target), signal));
                sent.map_err(|errno| format!("cannot send signal {number} to process {target}: {errno}"))?;
                Ok(Running::default())
            }
            Trigger::Command(line) => {
                let mut command = Command::new("/bin/sh");
                command.arg("-c").arg(line).env("SERVER_PID", target.to_string()).process_group(0);
                command.stdin(Stdio::null()).stdout(super::server::our_stderr()?);
                let child =
                    command.spawn().map_err(|error| format!("cannot run the restart command: {error}"))?;
                Ok(Running { child: Some(child), failure: None })
            }
        }
    }
}

/// `pid`, if it is still part of the service; else the process that the others come from, and of several
/// generations the youngest.
fn first_of(pid: i32, holders: &BTreeSet<Process>, replaced: &BTreeSet<Process>) -> i32 {
    let named = Process::find(pid);
    let is_part = |process: &Process| {
        holders.contains(process)
            || !replaced.contains(process) && holders.iter().any(|held| process.is_above(*held))
    };
    match named.filter(is_part) {
        Some(process) => process.pid,
        None => roots(holders).max_by_key(|process| process.started()).map_or(pid, |process| process.pid),
    }
}

/// Some servers rename the file during a restart, so it may be away for a moment.
fn pid_in(path: &PathBuf) -> Result<i32, String> {
    let until = Instant::now() + RENAMED;
    loop {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let pid = read.and_then(|text| {
            let number = text.split_whitespace().next().and_then(|word| word.parse::<i32>().ok());
            let number = number.filter(|pid| *pid > 0).ok_or_else(|| "no process id is in it".to_owned())?;
            Process::find(number).map(|_| number).ok_or_else(|| format!("process {number} is not there"))
        });
        match pid {
            Ok(pid) => return Ok(pid),
            Err(error) if Instant::now() >= until => return Err(format!("{}: {error}", path.display())),
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

impl Running {
    /// Whether it has ended in another way than with 0.
    pub(super) fn has_failed(&mut self) -> bool {
        let Some(child) = &mut self.child else { return self.failure.is_some() };
        if let Ok(Some(status)) = child.try_wait() {
            self.child = None;
            self.failure = (!status.success()).then(|| format!("the restart command ended with {status}"));
        }
        self.failure.is_some()
    }

    pub(super) fn failure(&mut self) -> Option<String> {
        self.has_failed();
        self.failure.clone()
    }

    /// Waits for its end, and kills it when it takes too long.
    pub(super) fn end(mut self, longest: Duration) {
        let until = Instant::now() + longest;
        while !self.has_failed() && self.child.is_some() && Instant::now() < until {
            std::thread::sleep(AGAIN);
        }
        if let Some(child) = &mut self.child {
            let _ =
                nix::sys::signal::killpg(Pid::from_raw(child.id() as i32), nix::sys::signal::Signal::SIGKILL);
            let _ = child.wait();
        }
    }
}

/// A rename takes less than the restart.
const RENAMED: Duration = Duration::from_secs(5);

const AGAIN: Duration = Duration::from_millis(10);
