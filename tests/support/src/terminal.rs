//! A terminal of a test's own, a program in the foreground on it, and whatever that has started.

use std::ffi::{OsStr, OsString};
use std::io::{self, PipeReader, PipeWriter, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::load::{Target, fetch};
use super::log::Log;
use super::{PATIENCE, TestDir, proc, says};

/// All on it are killed when this is dropped.
pub struct Terminal {
    /// The program, the leader of the terminal's session.
    pub pid: i32,
    master: Option<Arc<OwnedFd>>,
    /// Its end tells the reader to let go of the terminal.
    reading: Option<PipeWriter>,
    log: Arc<Log>,
    child: Child,
    id: String,
    dir: TestDir,
}

struct Screen {
    master: Arc<OwnedFd>,
    until: PipeReader,
}

impl Terminal {
    /// Starts a program with this as its controlling terminal and its standard streams.
    pub fn start<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Terminal {
        let dir = TestDir::new();
        let id = dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("a terminal of our own");
        unlockpt(&master).expect("an unlocked terminal");
        let name = ptsname(&master, vec![]).expect("a name");
        let slave = || {
            open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).expect("a terminal")
        };
        let mut started = Command::new("setsid");
        started
            .arg("--ctty")
            .args(command.into_iter().map(Into::into))
            .env(MARKER, &id)
            .current_dir(dir.path());
        started.stdin(slave()).stdout(slave()).stderr(slave());
        let child = started.spawn().unwrap_or_else(|error| panic!("cannot start {started:?}: {error}"));
        let (until, reading) = io::pipe().expect("a pipe");
        let (master, log) = (Arc::new(master), Log::new());
        log.follow("screen", Screen { master: Arc::clone(&master), until });
        let pid = i32::try_from(child.id()).expect("a pid");
        Terminal { pid, master: Some(master), reading: Some(reading), log, child, id, dir }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What a person types.
    pub fn types(&self, text: &[u8]) {
        rustix::io::write(self.master.as_ref().expect("a terminal"), text).expect("a terminal that reads");
    }

    pub fn wait_for_line(&self, pattern: &str) -> String {
        let lines = self.log.wait_for(0, &[pattern], 1, PATIENCE);
        lines.unwrap_or_else(|| panic!("no line with {pattern:?}")).swap_remove(0)
    }

    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.log.find(0, pattern)
    }

    /// The first address that a server on it has said.
    pub fn target(&self) -> Target {
        let line = self.wait_for_line(says::LISTENING);
        let address = line.split(says::LISTENING).nth(1).unwrap_or_default();
        address.split_whitespace().next().unwrap_or_default().parse().expect("an address")
    }

    /// The window is closed.
    pub fn hang_up(&mut self) {
        (self.reading, self.master) = (None, None);
    }

    /// Waits until the program and all that it has started are gone.
    pub fn end(&mut self) -> ExitStatus {
        let ours: Vec<i32> = proc::pids().filter(|pid| self.is_ours(*pid)).collect();
        for pid in ours {
            assert!(proc::wait_for_exit(pid, PATIENCE / 4), "pid {pid} is still there");
        }
        let late: Vec<i32> = proc::pids().filter(|pid| self.is_ours(*pid) && *pid != self.pid).collect();
        assert!(late.is_empty(), "{late:?}: processes were started, or have stayed");
        self.child.wait().expect("a status")
    }

    fn is_ours(&self, pid: i32) -> bool {
        proc::environment(pid).get(MARKER).is_some_and(|value| *value == self.id)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        proc::kill_all(|pid| self.is_ours(pid), PATIENCE);
        let _ = self.child.wait();
        self.hang_up();
        if std::thread::panicking() {
            eprintln!("--- on the terminal, pid {}:\n{}---", self.pid, self.log.dump());
        }
    }
}

impl Read for Screen {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut watched = [PollFd::new(&self.master, PollFlags::IN), PollFd::new(&self.until, PollFlags::IN)];
        poll(&mut watched, None)?;
        if !watched[1].revents().is_empty() {
            return Ok(0);
        }
        // It fails once nobody has the terminal open.
        Ok(rustix::io::read(&self.master, bytes).unwrap_or(0))
    }
}

/// The body at `path`.
pub fn get(target: &Target, path: &str) -> String {
    let answer = fetch(target, path, PATIENCE);
    answer.unwrap_or_else(|error| panic!("GET {path} from {target}: {error}")).body.trim().to_owned()
}

/// An example, as cargo has built it.
pub fn example(name: &str) -> OsString {
    super::programs::example_path(name).into_os_string()
}

/// For a shell.
pub fn quoted(words: &[OsString]) -> String {
    words.iter().map(|word| format!("'{}' ", OsStr::to_string_lossy(word))).collect()
}

/// As [`Server`](super::Server) has it.
const MARKER: &str = "HEIRLOOM_TEST_ID";
