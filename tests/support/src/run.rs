//! `heirloom run` under test, with whatever program it supervises.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::load::{Target, fetch};
use super::log::Log;
use super::programs::{checkout, heirloom};
use super::python::system_python;
use super::{PATIENCE, Signal, TestDir, proc, says};

/// How it is to be started.
pub struct Setup {
    dir: TestDir,
    program: PathBuf,
    under: Vec<OsString>,
    options: Vec<OsString>,
    env: Vec<(String, OsString)>,
    listens: usize,
}

/// A running supervisor. It and all that it has started are killed when this is dropped.
pub struct Running {
    pub pid: i32,
    pub targets: Vec<Target>,
    log: Arc<Log>,
    child: Child,
    id: String,
    dir: TestDir,
}

/// A program of tests/foreign.
pub fn foreign(name: &str) -> PathBuf {
    checkout("tests/foreign").join(name)
}

impl Setup {
    pub fn new() -> Setup {
        let program = heirloom().into();
        Setup { dir: TestDir::new(), program, under: vec![], options: vec![], env: vec![], listens: 0 }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// On an ephemeral port of 127.0.0.1.
    pub fn listen(self) -> Setup {
        self.listen_on("127.0.0.1:0")
    }

    pub fn listen_on(mut self, address: &str) -> Setup {
        self.listens += 1;
        self.options(&["--listen", address])
    }

    pub fn options<O: AsRef<OsStr>>(mut self, options: &[O]) -> Setup {
        self.options.extend(options.iter().map(|option| option.as_ref().to_owned()));
        self
    }

    /// An option with a file in the test's directory.
    pub fn file(mut self, option: &str, name: &str) -> Setup {
        self.options.extend([option.into(), self.dir.path().join(name).into_os_string()]);
        self
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Setup {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Another copy of the command.
    pub fn program(self, program: PathBuf) -> Setup {
        Setup { program, ..self }
    }

    /// Starts it by this command.
    pub fn under(mut self, command: &[&str]) -> Setup {
        self.under = command.iter().map(OsString::from).collect();
        self
    }

    /// The worker that a test tells how to behave.
    pub fn worker(self) -> Running {
        let script = foreign("worker.py");
        self.command(&[system_python().as_ref(), script.as_os_str()])
    }

    /// Starts it, and waits until it listens.
    pub fn command(self, command: &[&OsStr]) -> Running {
        let listens = self.listens;
        let mut running = self.spawn(command);
        running.targets = running
            .wait_for_lines(0, says::LISTENING, listens)
            .iter()
            .map(|line| {
                line.split(says::LISTENING).nth(1).unwrap_or_default().split(' ').next().unwrap_or_default()
            })
            .map(|address| address.parse().unwrap_or_else(|_| panic!("{address:?} is no address")))
            .collect();
        running
    }

    /// Starts it, whatever comes of it.
    pub fn spawn(self, program: &[&OsStr]) -> Running {
        let id = self.dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        let mut words = self.under.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg("run").args(&self.options).arg("--").args(program);
        command.env(MARKER, &id).envs(self.env).current_dir(self.dir.path()).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let log = Log::new();
        log.follow("stdout", child.stdout.take().expect("a pipe"));
        log.follow("stderr", child.stderr.take().expect("a pipe"));
        let pid = i32::try_from(child.id()).expect("a pid");
        Running { pid, targets: vec![], log, child, id, dir: self.dir }
    }
}

impl Running {
    pub fn target(&self) -> &Target {
        &self.targets[0]
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The body at `path`, asked for on a fresh connection.
    pub fn get(&self, path: &str) -> String {
        self.get_from(self.target(), path)
    }

    pub fn get_from(&self, target: &Target, path: &str) -> String {
        let answer = fetch(target, path, PATIENCE);
        answer.unwrap_or_else(|error| panic!("GET {path} from {target}: {error}")).body.trim().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        proc::signal(self.pid, signal);
    }

    /// Restarts, and waits until the new worker is the service.
    pub fn restart_once(&self) {
        // Else it would be remembered, and the next line of this kind the first worker's.
        self.wait_for_line(0, "worker settled");
        let mark = self.mark();
        self.signal(Signal::SIGHUP);
        self.wait_for_line(mark, "worker settled");
    }

    /// Restarts, and waits until the old worker is gone.
    pub fn restart(&self) {
        let mark = self.mark();
        self.restart_once();
        self.wait_for_line(mark, "a worker is gone");
    }

    /// How many lines were said so far.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    pub fn wait_for_line(&self, mark: usize, pattern: &str) -> String {
        self.wait_for_lines(mark, pattern, 1).swap_remove(0)
    }

    pub fn wait_for_lines(&self, mark: usize, pattern: &str, count: usize) -> Vec<String> {
        if count == 0 {
            return vec![];
        }
        let lines = self.log.wait_for(mark, &[pattern], count, PATIENCE);
        lines.unwrap_or_else(|| panic!("no {count} lines with {pattern:?}"))
    }

    /// Waits for a line with one of `patterns`, said since `mark`.
    pub fn wait_for_any(&self, mark: usize, patterns: &[&str]) -> String {
        let lines = self.log.wait_for(mark, patterns, 1, PATIENCE);
        lines.unwrap_or_else(|| panic!("no line with one of {patterns:?}")).swap_remove(0)
    }

    /// Where the lines after the first one with `pattern` begin: what follows it is found there, however late this looks.
    pub fn mark_after(&self, mark: usize, pattern: &str) -> usize {
        self.wait_for_line(mark, pattern);
        mark + 1 + self.log.position(mark, pattern).expect("it was there")
    }

    pub fn lines(&self, mark: usize, pattern: &str) -> Vec<String> {
        self.log.find(mark, pattern)
    }

    /// Waits for its end, and returns its status and its last words.
    pub fn end(mut self) -> (ExitStatus, Vec<String>) {
        assert!(proc::wait_for_exit(self.pid, PATIENCE), "pid {} is still there", self.pid);
        let status = self.child.wait().expect("a status");
        self.log.wait_for_end(PATIENCE / 10);
        (status, self.log.find(0, ""))
    }

    /// Every process of this test but the supervisor.
    pub fn others(&self) -> Vec<i32> {
        let ours = proc::pids().filter(|pid| *pid != self.pid && is_marked(*pid, &self.id));
        ours.collect()
    }

    /// Waits until [`others`](Self::others) are these. What was killed is gone a moment after that was said, and nothing tells
    /// another process of it.
    pub fn wait_for_others(&self, expected: &[i32]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let others = self.others();
            if others == expected {
                return;
            }
            assert!(Instant::now() < deadline, "{others:?} are there, and not {expected:?}");
            // allow: sleep (between two looks into /proc)
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        proc::kill_all(|pid| is_marked(pid, &self.id), PATIENCE);
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.log.wait_for_end(PATIENCE / 20);
            eprintln!("--- heirloom run, pid {}:\n{}---", self.pid, self.log.dump());
        }
    }
}

fn is_marked(pid: i32, id: &str) -> bool {
    proc::environment(pid).get(MARKER).is_some_and(|value| value == id)
}

/// Marks every process that descends from a supervisor; its value is the test's.
const MARKER: &str = "HEIRLOOM_TEST_ID";
