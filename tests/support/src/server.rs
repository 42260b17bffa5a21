//! One server through all its generations.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::binary::{Binary, TestDir};
use super::ended::Ended;
use super::keep::{Client, request};
use super::load::{Answer, Load, Mode, Target, fetch};
use super::log::Log;
use super::{PATIENCE, proc, says};

/// How a server is to be started.
#[derive(Debug)]
pub struct Setup {
    dir: TestDir,
    binary: Binary,
    program: PathBuf,
    directory: Option<PathBuf>,
    under: Vec<OsString>,
    listens: Vec<String>,
    lines: Option<usize>,
    takes_one_address: bool,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
}

/// A running server: whichever of its generations serves. All of them are killed when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// The file that restarts execute.
    pub binary: Binary,
    /// One for each `--listen`, in that order.
    pub targets: Vec<Target>,
    /// The process that the test started.
    pub first_pid: i32,
    id: String,
    log: Arc<Log>,
    exits: Arc<Exits>,
    reaper: Option<JoinHandle<()>>,
    dir: TestDir,
}

/// How generations ended. The test is their subreaper, so it is told of each one whose parent is gone.
#[derive(Debug, Default)]
struct Exits {
    seen: Mutex<HashMap<i32, WaitStatus>>,
    more: Condvar,
}

impl Setup {
    /// The example `hello`, in a directory of its own, on an ephemeral port of 127.0.0.1.
    pub fn hello() -> Setup {
        Setup::example("hello")
    }

    /// Any example with the interface of `hello`.
    pub fn example(name: &str) -> Setup {
        let dir = TestDir::new();
        let binary = Binary::install(name, &dir.path().join("bin").join(name));
        let program = binary.path().to_owned();
        Setup {
            dir,
            binary,
            program,
            directory: None,
            under: vec![],
            listens: vec![],
            lines: None,
            takes_one_address: false,
            args: vec![],
            env: vec![],
        }
    }

    /// An example such as `echo`, which takes its address alone.
    pub fn bare(name: &str) -> Setup {
        Setup { takes_one_address: true, ..Setup::example(name) }
    }

    pub fn listen(mut self, address: &str) -> Setup {
        self.listens.push(address.to_owned());
        self
    }

    /// Without `--listen`: a file says what the example listens on, and it says so in this many lines.
    pub fn lines(mut self, count: usize) -> Setup {
        self.lines = Some(count);
        self
    }

    pub fn args(mut self, args: &[&str]) -> Setup {
        self.args.extend(args.iter().map(OsString::from));
        self
    }

    pub fn arg(mut self, arg: impl Into<OsString>) -> Setup {
        self.args.push(arg.into());
        self
    }

    /// Starts it by this command, to which the program and its arguments are appended.
    pub fn under<A: Into<OsString>>(mut self, command: impl IntoIterator<Item = A>) -> Setup {
        self.under = command.into_iter().map(Into::into).collect();
        self
    }

    /// Starts it by a shell that becomes it: `before` may set variables (`$$` is the server's pid) and traps,
    /// `after` may redirect descriptors.
    pub fn by_shell(self, before: &str, after: &str) -> Setup {
        self.under(["bash", "-c", &format!("{before} exec \"$0\" \"$@\" {after}")])
    }

    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Setup {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it by this name instead of the path of its file.
    pub fn run_as(mut self, program: impl Into<PathBuf>) -> Setup {
        self.program = program.into();
        self
    }

    /// Starts it in this directory, with `PWD` as a shell sets it.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Setup {
        self.directory = Some(directory.into());
        self
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it, and waits until it listens.
    #[expect(clippy::zombie_processes, reason = "the reaper waits for the whole group")]
    pub fn start(mut self) -> Server {
        nix::sys::prctl::set_child_subreaper(true).expect("a subreaper");
        let lines = self.default_listen();
        let id = self.dir.path().file_name().expect("a named directory").to_string_lossy().into_owned();
        let mut child = self.command(&id).spawn().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", self.program.display());
        });
        let first_pid = i32::try_from(child.id()).expect("a pid");

        let log = Log::new();
        log.follow("stdout", child.stdout.take().expect("a pipe"));
        log.follow("stderr", child.stderr.take().expect("a pipe"));
        let exits = Arc::<Exits>::default();
        let reaper = std::thread::spawn({
            let (log, exits) = (Arc::clone(&log), Arc::clone(&exits));
            move || exits.reap(first_pid, &log)
        });

        let Setup { dir, binary, .. } = self;
        let reaper = Some(reaper);
        let mut server = Server { binary, targets: vec![], first_pid, id, log, exits, reaper, dir };
        let lines = server.wait_for_lines(0, &[says::LISTENING], lines);
        server.targets = lines.iter().map(|line| target_in(line)).collect();
        server
    }

    /// Runs it to its end, which it is to reach by itself.
    pub fn run(mut self) -> Ended {
        self.default_listen();
        Ended::of(&mut self.command("run"))
    }

    /// How many lines to wait for.
    fn default_listen(&mut self) -> usize {
        if self.lines.is_none() && self.listens.is_empty() {
            self.listens.push("127.0.0.1:0".to_owned());
        }
        self.lines.unwrap_or(self.listens.len())
    }

    fn command(&self, id: &str) -> Command {
        let mut words = self.under.iter().map(OsString::as_os_str).chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words);
        for listen in &self.listens {
            if !self.takes_one_address {
                command.arg("--listen");
            }
            command.arg(listen);
        }
        command.args(&self.args).env(MARKER, id).envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(directory) = &self.directory {
            command.current_dir(directory).env("PWD", directory);
        }
        // A group of its own, so that the reaper waits for no process of another server.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Server {
    pub fn target(&self) -> &Target {
        &self.targets[0]
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn load(&self, mode: Mode) -> Load {
        Load::start(self.target(), mode, "/")
    }

    /// The body at `path`, asked for on a fresh connection.
    pub fn get(&self, path: &str) -> String {
        self.try_get(path).unwrap_or_else(|error| panic!("GET {path} from {}: {error}", self.target())).body
    }

    pub fn try_get(&self, path: &str) -> io::Result<Answer> {
        fetch(self.target(), path, PATIENCE)
    }

    /// The generation that answers now.
    pub fn pid(&self) -> i32 {
        number(&self.get("/pid"))
    }

    pub fn generation(&self) -> u64 {
        number(&self.get("/generation"))
    }

    /// Restarts the generation that answers, and waits until another one does.
    pub fn restart(&self, signal: Signal) -> i32 {
        self.try_restart(signal).unwrap_or_else(|line| panic!("a restart that should work: {line}"))
    }

    /// A restart that fails; returns what the server says of it. The same process must answer after it.
    pub fn restart_in_vain(&self, signal: Signal) -> String {
        let pid = self.pid();
        match self.try_restart(signal) {
            Ok(new) => panic!("pid {new} answers after a restart that should fail"),
            Err(line) => {
                assert_eq!(self.pid(), pid, "the failed restart changed who answers");
                line
            }
        }
    }

    /// Restarts and waits until that is settled; returns the new pid, and how long `old` lived on from then.
    pub fn replace(&self, old: i32, signal: Signal) -> (i32, Duration) {
        let mark = self.log.len();
        proc::signal(old, signal);
        let new = self.wait_for_settled(mark);
        let settled = Instant::now();
        self.wait_for_exit(old);
        (new, settled.elapsed())
    }

    /// The pid of a successor that was settled on since `mark`.
    pub fn wait_for_settled(&self, mark: usize) -> i32 {
        let line = self.wait_for_line(mark, says::SETTLED);
        let pid = line.split("pid=").nth(1).and_then(|rest| rest.split(' ').next());
        number(pid.unwrap_or_else(|| panic!("no pid in {line:?}")))
    }

    /// Restarts, and returns the new pid, or the line that says why there is none.
    pub fn try_restart(&self, signal: Signal) -> Result<i32, String> {
        let (old, mark) = (self.pid(), self.log.len());
        proc::signal(old, signal);
        self.outcome(old, mark)
    }

    /// Waits until another process than `old` answers, whatever the log says meanwhile: of a successor that was killed,
    /// the predecessor's word may come before its next answer.
    pub fn wait_for_other_than(&self, old: i32) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.try_get("/pid").map(|answer| number(&answer.body)) {
                Ok(pid) if pid != old => return pid,
                // allow: sleep (as in `outcome`)
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        panic!("nobody but pid {old} answers after {PATIENCE:?}");
    }

    /// All its processes that are alive, whoever is their parent.
    pub fn processes(&self) -> Vec<i32> {
        let is_ours = |pid: &i32| proc::environment(*pid).get(MARKER) == Some(&self.id);
        proc::pids().filter(is_ours).filter(|pid| proc::is_alive(*pid)).collect()
    }

    /// How many lines were said so far.
    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// From here on nobody reads what it says, and the pipe that is the standard error of `pid` has no room left.
    pub fn fill_log(&self, pid: i32) {
        let mark = self.mark();
        self.log.stop_reading_at(FILLED);
        // Another description of the same pipe, so that the server's own stays as it is.
        let mut open = File::options();
        let path = format!("/proc/{pid}/fd/2");
        let mut pipe = open.write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).expect("a pipe");
        // Whatever the server says meanwhile, who reads gets all up to here.
        writeln!(pipe, "{FILLED}").expect("room in a pipe");
        self.wait_for_line(mark, FILLED);
        for length in (0..=PIPE_BUF.ilog2()).rev().map(|power| 1 << power) {
            let line = [vec![b'.'; length - 1], b"\n".to_vec()].concat();
            while pipe.write(&line).is_ok() {}
        }
    }

    /// Reads what it has said since [`fill_log`](Server::fill_log), and what it says.
    pub fn read_log(&self) {
        self.log.read_on();
    }

    /// Waits for a line with `pattern`, said since `mark`.
    pub fn wait_for_line(&self, mark: usize, pattern: &str) -> String {
        self.wait_for_lines(mark, &[pattern], 1).swap_remove(0)
    }

    /// Waits for at least `count` lines, said since `mark`, that contain one of `patterns`.
    pub fn wait_for_lines(&self, mark: usize, patterns: &[&str], count: usize) -> Vec<String> {
        self.log.wait_for(mark, patterns, count, PATIENCE).unwrap_or_else(|| {
            panic!("no {count} lines with one of {patterns:?} in {PATIENCE:?}");
        })
    }

    /// Those that have been read by now: what a process has just said may not be among them.
    pub fn lines(&self, mark: usize, pattern: &str) -> Vec<String> {
        self.log.find(mark, pattern)
    }

    /// Asks for `path` on a connection of its own, and goes on while the answer is due. Whoever connects after it is
    /// accepted after it.
    pub fn begin(&self, path: &str) -> Client {
        let mut client = Client::connect(self.target());
        client.send(request(path));
        client
    }

    /// Waits for the end of a process of this server, whoever is its parent.
    pub fn wait_for_exit(&self, pid: i32) {
        assert!(proc::wait_for_exit(pid, PATIENCE), "pid {pid} is still there after {PATIENCE:?}");
    }

    /// The exit status of a generation whose predecessors are all gone.
    pub fn exit_status(&self, pid: i32) -> WaitStatus {
        let seen = self.exits.seen.lock().unwrap();
        let mut seen =
            self.exits.more.wait_timeout_while(seen, PATIENCE, |seen| !seen.contains_key(&pid)).unwrap().0;
        seen.remove(&pid).unwrap_or_else(|| panic!("pid {pid} is still there after {PATIENCE:?}"))
    }

    /// Waits until `pid` has a child. Asks and asks: nothing tells another process of a birth.
    pub fn wait_for_child(&self, pid: i32) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(child) = proc::children(pid).first() {
                return *child;
            }
            assert!(Instant::now() < deadline, "pid {pid} has no child after {PATIENCE:?}");
        }
    }

    /// What becomes of a restart of `old` that was asked for at `mark`.
    pub fn outcome(&self, old: i32, mark: usize) -> Result<i32, String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            // A killed process takes its connections with it: only the next answer tells.
            match self.try_get("/pid").map(|answer| number(&answer.body)) {
                Ok(pid) if pid != old => return Ok(pid),
                _ => (),
            }
            let ended = [says::FAILED, says::TOOK_BACK].map(|words| self.log.find(mark, words).pop());
            if let Some(line) = ended.into_iter().flatten().next() {
                return Err(line);
            }
            // allow: sleep (which process answers is known only by asking; not so often that it is a load)
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("pid {old} neither restarted nor failed to in {PATIENCE:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        proc::kill_all(|pid| proc::environment(pid).get(MARKER) == Some(&self.id), PATIENCE);
        self.log.read_on();
        self.log.wait_for_end(LAST_WORDS);
        if let Some(reaper) = self.reaper.take() {
            let _ = reaper.join();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- {} from pid {}:\n{}---",
                self.binary.path().display(),
                self.first_pid,
                self.log.dump()
            );
        }
    }
}

impl Exits {
    fn reap(&self, group: i32, log: &Log) {
        loop {
            match waitpid(Pid::from_raw(-group), None) {
                Ok(status) => {
                    log.add("harness", &format!("{status:?}"));
                    let pid = status.pid().map_or(0, Pid::as_raw);
                    self.seen.lock().unwrap().insert(pid, status);
                    self.more.notify_all();
                }
                Err(Errno::EINTR) => (),
                // No child is left: an orphan is handed over before its parent can be waited for.
                Err(_) => return,
            }
        }
    }
}

/// In an example's line, or in one of `heirloom run`, which goes on with the name.
fn target_in(line: &str) -> Target {
    let address = line.split(says::LISTENING).nth(1).unwrap_or_default();
    let address = address.split(" name=").next().unwrap_or_default().trim();
    address.parse().unwrap_or_else(|_| panic!("no address in {line:?}"))
}

fn number<N: std::str::FromStr>(body: &str) -> N {
    body.trim().parse().unwrap_or_else(|_| panic!("{body:?} is not a number"))
}

/// Marks every process that descends from a server; its value is the server's.
const MARKER: &str = "HEIRLOOM_TEST_ID";

/// The last line that is read before a log is full.
const FILLED: &str = "nobody reads on from here";

/// So much is written to a pipe as a whole, or not at all.
const PIPE_BUF: usize = 4096;

/// A killed process's pipes close with it; more time than the kernel takes for that is not needed.
const LAST_WORDS: Duration = Duration::from_secs(5);
