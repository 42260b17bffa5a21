//! One container of the image, from its start to its exit status.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::super::load::{Load, Mode, Target, fetch};
use super::super::log::Log;
use super::super::{PATIENCE, proc};
use super::image::IMAGE;
use super::{Engine, PODMAN, enter_network};

/// A container that runs, as `podman run` in the foreground. Removed when dropped.
#[derive(Debug)]
pub struct Container {
    engine: &'static Engine,
    name: String,
    child: Child,
    log: Arc<Log>,
    /// Its PID 1, by the number that the engine knows.
    pid: i32,
}

impl Engine {
    /// Starts the image as it is, in a network of its own, and waits until it listens.
    pub fn start(&'static self) -> Container {
        self.run(&["--network", "none"], &[])
    }

    /// The same with options of `podman run`, and with a command instead of the image's `CMD`.
    pub fn run(&'static self, options: &[&str], command: &[&str]) -> Container {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("server-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let run = ["run", "--rm", "--pull=never", "--cgroups=disabled", "--name", &name];
        // The engine's defaults are beyond what root may ask for on a machine that limits it.
        let limits = ["--ulimit", "nofile=1024:4096", "--ulimit", "nproc=4096:4096"];
        let words = PODMAN.iter().chain(&run).chain(&limits).chain(options).chain(&[IMAGE]).chain(command);
        let mut command = self.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nsenter");
        let log = Log::new();
        log.follow("stdout", child.stdout.take().expect("a pipe"));
        log.follow("stderr", child.stderr.take().expect("a pipe"));
        let mut container = Container { engine: self, name, child, log, pid: 0 };
        container.wait_for_line(0, "worker started");
        let pid = self.expect(["inspect", "--format", "{{.State.Pid}}", &container.name]);
        container.pid = pid.parse().expect("a process id");
        container
    }
}

impl Container {
    /// `podman exec`: what `docker exec` and `kubectl exec` do.
    pub fn exec(&self, command: &[&str]) -> Output {
        self.engine.podman(["exec", &self.name].iter().chain(command))
    }

    /// The same by another user.
    pub fn exec_as(&self, user: &str, command: &[&str]) -> Output {
        self.engine.podman(["exec", "--user", user, &self.name].iter().chain(command))
    }

    /// Something that root must be able to do.
    #[track_caller]
    pub fn exec_as_root(&self, command: &[&str]) {
        let output = self.exec_as("0", command);
        assert!(output.status.success(), "{output:?}");
    }

    /// `heirloom restart`, in it: its exit status, and what it said.
    pub fn restart(&self) -> (i32, String) {
        let output = self.exec(&["heirloom", "restart", "--pid", "1"]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().expect("an exit status"), String::from_utf8_lossy(&said).into_owned())
    }

    /// `podman kill`, for any signal.
    pub fn kill(&self, signal: &str) {
        self.engine.expect(["kill", "--signal", signal, &self.name]);
    }

    /// `podman stop`: the image's stop signal, and SIGKILL after so many seconds. The exit status, and how long it took.
    pub fn stop(&mut self, seconds: u64) -> (i32, Duration) {
        let began = Instant::now();
        self.engine.expect(["stop", "--time", &seconds.to_string(), &self.name]);
        (self.wait(), began.elapsed())
    }

    /// Waits for its end, which something else brings about; its exit status.
    pub fn wait(&mut self) -> i32 {
        assert!(proc::wait_for_exit(self.process(), PATIENCE), "{} does not end", self.name);
        self.child.wait().expect("a child").code().expect("an exit status")
    }

    /// The engine's process that follows it.
    fn process(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What this thread connects to from now on, and each thread that it starts, is in its network.
    pub fn enter(&self) {
        enter_network(&self.engine.process(self.pid).join("ns/net"));
    }

    /// A file in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.engine.process(self.pid).join("root").join(path.trim_start_matches('/'))
    }

    /// What its kernel says of a process in it: fields of `status`. Nothing when there is none.
    pub fn status_of(&self, pid: i32, field: &str) -> Option<String> {
        let status = fs::read_to_string(self.path(&format!("/proc/{pid}/status"))).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(":"))?;
        Some(line.trim().to_owned())
    }

    /// The words of its PID 1.
    pub fn first_command(&self) -> Vec<String> {
        let words = fs::read_to_string(self.path("/proc/1/cmdline")).expect("a PID 1");
        words.split_terminator('\0').map(str::to_owned).collect()
    }

    /// The body at `path`, from a thread that has entered its network.
    #[track_caller]
    pub fn get(&self, path: &str) -> String {
        fetch(&target(), path, PATIENCE).unwrap_or_else(|error| panic!("GET {path}: {error}")).body
    }

    /// The worker that answers, by the number that it has itself.
    #[track_caller]
    pub fn worker(&self) -> i32 {
        self.get("/pid").parse().expect("a process id")
    }

    pub fn load(&self, mode: Mode) -> Load {
        Load::start(&target(), mode, "/")
    }

    pub fn mark(&self) -> usize {
        self.log.len()
    }

    /// Waits for a line of its log with `pattern`, said since `mark`.
    pub fn wait_for_line(&self, mark: usize, pattern: &str) -> String {
        let found = self.log.wait_for(mark, &[pattern], 1, PATIENCE);
        found.unwrap_or_else(|| panic!("{} never said {pattern:?}", self.name)).swap_remove(0)
    }

    pub fn lines(&self, pattern: &str) -> Vec<String> {
        self.log.find(0, pattern)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.engine.podman(["rm", "--force", "--time", "0", &self.name]);
        if !proc::wait_for_exit(self.process(), PATIENCE / 10) {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}---", self.name, self.log.dump());
        }
    }
}

/// Where the image listens, from its own network and, published, from the engine's.
pub fn target() -> Target {
    Target::Tcp(([127, 0, 0, 1], 8080).into())
}
