//! Programs that are not ours beside the server: found or loudly missed, followed, and ended with their test.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::log::Log;
use super::{PATIENCE, Signal, proc};

/// Whether `tool` is there; [skips](super::skip()) the test when it is not.
pub fn is_installed(tool: &str, version: &str) -> bool {
    let found = Command::new(tool).arg(version).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        super::skip(&format!("{tool} is not installed"));
    }
    found.is_ok()
}

/// A running program; ended when dropped, and its log shown if the test failed.
#[derive(Debug)]
pub struct Beside {
    name: String,
    child: Child,
    log: Arc<Log>,
}

impl Beside {
    pub fn start(command: &mut Command) -> Beside {
        let name = command.get_program().to_string_lossy().into_owned();
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let log = Log::new();
        log.follow("stdout", child.stdout.take().expect("a pipe"));
        log.follow("stderr", child.stderr.take().expect("a pipe"));
        Beside { name, child, log }
    }

    /// As [`start`](Beside::start), with this descriptor open in the program, under the same number.
    pub fn start_with(command: &mut Command, inherited: &impl AsFd) -> Beside {
        let close_on_exec = |flags| {
            fcntl(inherited, FcntlArg::F_SETFD(flags)).expect("an open descriptor");
        };
        // Tests that start programs do so alone, so nobody else inherits it meanwhile.
        close_on_exec(FdFlag::empty());
        let beside = Beside::start(command);
        close_on_exec(FdFlag::FD_CLOEXEC);
        beside
    }

    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.log.find(0, pattern)
    }

    /// Waits until it says something.
    pub fn wait_for_line(&self, pattern: &str) -> String {
        let found = self.log.wait_for(0, &[pattern], 1, PATIENCE);
        found.unwrap_or_else(|| panic!("{} does not say {pattern:?}", self.name)).swap_remove(0)
    }

    /// Tells it to end in its own way, and waits for its last words.
    pub fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            let pid = i32::try_from(self.child.id()).expect("a pid");
            proc::signal(pid, Signal::SIGTERM);
            if !proc::wait_for_exit(pid, PATIENCE / 10) {
                self.child.kill()?;
            }
            self.child.wait()?;
        }
        self.log.wait_for_end(PATIENCE / 10);
        Ok(())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("cannot end {}: {error}", self.name);
        }
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}---", self.name, self.log.dump());
        }
    }
}

/// The number that a program is told of its inherited descriptor.
pub fn number(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}
