//! G3 with whatever can run out: at each limit of threads and of descriptors, from none to as many as a restart needs, so that
//! each call that asks for one fails in turn. Service goes on, the reason is told at once, and with the limit lifted
//! the next restart works; under `heirloom run` as well, where a dead worker is replaced.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Resource, getrlimit};
use support::keep::Client;
use support::operator::{code, heirloom};
use support::run::{Running, Setup as Run};
use support::{Server, Setup, Signal, TestDir, alone, proc, says};

/// What there may be no more of.
#[derive(Clone, Copy)]
enum What {
    Descriptors,
    /// And processes, which are counted together, for each user.
    Threads,
}

#[test]
fn g3_no_descriptor_left_at_any_step_of_a_restart() {
    let _alone = alone();
    restart_at_each_limit(&quick(Setup::hello()).start(), What::Descriptors);
}

#[test]
fn g3_no_thread_left_at_any_step_of_a_restart() {
    let Some(user) = User::new() else { return };
    let _alone = alone();
    let server = quick(Setup::hello().run_as(user.copy_of("hello"))).under(user.command());
    let server = user.environment().into_iter().fold(server, |server, (name, value)| server.env(name, value));
    restart_at_each_limit(&server.start(), What::Threads);
}

#[test]
fn g1_the_first_connection_is_accepted_when_no_thread_is_left() {
    let Some(user) = User::new() else { return };
    let _alone = alone();
    let server = quick(Setup::hello().run_as(user.copy_of("hello"))).under(user.command());
    let server = user.environment().into_iter().fold(server, |server, (name, value)| server.env(name, value));
    let server = server.start();
    What::Threads.limit(server.first_pid, proc::threads(server.first_pid));
    assert_eq!(server.pid(), server.first_pid);
    What::Threads.lift(server.first_pid);
    assert_eq!(server.pid(), server.first_pid);
}

#[test]
fn g3_no_descriptor_left_in_the_supervisor() {
    let _alone = alone();
    let hello = support::binary::example_path("hello");
    supervise_at_each_limit(&supervisor(Run::new(), &hello), What::Descriptors);
}

#[test]
fn g3_no_thread_left_for_the_supervisor() {
    let Some(user) = User::new() else { return };
    let _alone = alone();
    let run = user.environment().into_iter().fold(Run::new(), |run, (name, value)| run.env(name, value));
    let command = user.command();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let run = run.program(user.copy_of("heirloom")).under(&command);
    supervise_at_each_limit(&supervisor(run, &user.copy_of("hello")), What::Threads);
}

#[test]
fn clients_do_not_lock_the_operator_out() {
    let _alone = alone();
    let server = quick(Setup::hello()).under(["prlimit", "--nofile=128:128"]).start();
    // Idle ones, and more than it may have. Those that it does not accept wait in the kernel.
    let clients: Vec<_> = (0..200).map(|_| Client::connect(server.target())).collect();
    let line = server.wait_for_line(0, "cannot accept");
    assert!(line.contains("of 128 file descriptors only the last 32 are free"), "{line}");
    let old = server.first_pid.to_string();
    heirloom(&["status", "--pid", &old]).is(code::DONE, &["serves, generation 1"]);
    let mark = server.mark();
    heirloom(&["restart", "--pid", &old]).is(code::DONE, &["settled"]);
    // They have moved, as many as it may have, and it is at its limit in turn.
    let new = server.wait_for_settled(mark).to_string();
    heirloom(&["status", "--pid", &new]).is(code::DONE, &["serves, generation 2"]);
    heirloom(&["stop", "--pid", &new]).is(code::DONE, &[]);
    assert!(server.lines(0, "cannot accept").len() < 10, "the log is filled with it");
    drop(clients);
}

fn quick(setup: Setup) -> Setup {
    setup.args(&["--probation", "50ms", "--start-timeout", START_TIMEOUT])
}

fn supervisor(run: Run, hello: &Path) -> Running {
    let run = run.listen().options(&["--ready", "heirloom", "--probation", "50ms", "--stable-after", "1ms"]);
    let run = run.options(&["--start-timeout", START_TIMEOUT]);
    run.command(&[hello.as_os_str(), OsStr::new("--listen"), OsStr::new("127.0.0.1:0")])
}

fn restart_at_each_limit(server: &Server, what: What) {
    let mut pid = server.first_pid;
    let mut failed = 0;
    for spare in 0..what.needed() {
        // One that is served already needs neither.
        let mut client = Client::connect(server.target());
        assert_eq!(client.pid(), pid);
        what.limit(pid, what.held(pid) + spare);
        let mark = server.mark();
        proc::signal(pid, Signal::SIGUSR2);
        let line =
            server.wait_for_lines(mark, &[says::FAILED, says::TOOK_BACK, says::SETTLED], 1).swap_remove(0);
        println!("{spare} to spare: {line}");
        assert_is_the_reason(&line, &server.lines(mark, HANGS));
        let serves = match line.contains(says::SETTLED) {
            true => server.wait_for_settled(mark),
            false => {
                failed += 1;
                assert_eq!(client.pid(), pid, "it does not serve on");
                pid
            }
        };
        what.lift(pid);
        what.lift(serves);
        drop(client);
        if serves != pid {
            server.wait_for_exit(pid);
        }
        pid = server.replace(serves, Signal::SIGUSR2).0;
        assert_eq!(server.pid(), pid);
    }
    assert!(
        (1..what.needed()).contains(&failed),
        "{failed} have failed: the limits are not those that matter"
    );
}

fn supervise_at_each_limit(run: &Running, what: What) {
    run.wait_for_line(0, SETTLED);
    let (mut refused, mut unreplaced) = (0, 0);
    for spare in 0..what.needed() {
        let worker = pid_of(run);
        what.limit(run.pid, what.held_by(run, &[]) + spare);
        let mark = run.mark();
        run.signal(Signal::SIGHUP);
        let line = run.wait_for_any(mark, &ENDS);
        println!("{spare} to spare, a restart: {line}");
        assert_is_the_reason(&line, &run.lines(mark, HANGS));
        let is_settled = line.contains(SETTLED);
        if !is_settled {
            refused += 1;
            assert_eq!(pid_of(run), worker, "it does not serve on");
        }
        what.lift(run.pid);
        let worker = settled_worker(run, mark, worker, is_settled);

        what.limit(run.pid, what.held_by(run, &[worker]) + spare);
        let mark = run.mark();
        proc::signal(worker, Signal::SIGKILL);
        let line = run.wait_for_any(mark, &ENDS);
        println!("{spare} to spare, a death: {line}");
        assert_is_the_reason(&line, &run.lines(mark, HANGS));
        if !line.contains(SETTLED) {
            unreplaced += 1;
        }
        what.lift(run.pid);
        // By itself, as soon as there is room.
        run.wait_for_line(mark, SETTLED);
        lift_others(run, what);
        assert_ne!(pid_of(run), worker);
        let mark = run.mark();
        run.signal(Signal::SIGHUP);
        run.wait_for_line(mark, SETTLED);
        run.wait_for_line(mark, "a worker is gone");
    }
    let expected = 1..what.needed();
    assert!(
        expected.contains(&refused) && expected.contains(&unreplaced),
        "{refused} restarts and {unreplaced} replacements have failed: the limits are not those that matter"
    );
}

/// The worker that serves, once its predecessor is gone, if it had one.
fn settled_worker(run: &Running, mark: usize, before: i32, is_settled: bool) -> i32 {
    lift_others(run, What::Descriptors);
    lift_others(run, What::Threads);
    if !is_settled {
        return before;
    }
    run.wait_for_line(mark, "a worker is gone");
    pid_of(run)
}

/// Workers have inherited it.
fn lift_others(run: &Running, what: What) {
    run.others().into_iter().for_each(|pid| what.lift(pid));
}

fn pid_of(run: &Running) -> i32 {
    run.get("/pid").parse().expect("a pid")
}

/// Never that it took too long: what is missing is known at once. But for a program that hangs by itself.
fn assert_is_the_reason(line: &str, hangs: &[String]) {
    assert!(!line.contains("not ready after") || !hangs.is_empty(), "not the reason: {line}");
}

/// What tokio says when it can make some of its workers and not all, and then waits for ever: before `main` has begun.
const HANGS: &str = "OS can't spawn worker thread";

/// Of what hangs; what is good starts within it on any machine.
const START_TIMEOUT: &str = "5s";

const SETTLED: &str = "worker settled";
const ENDS: [&str; 3] = ["restart failed", "restart taken back", SETTLED];

impl What {
    /// More than a restart needs, in the old process and the new one together. With two tokio workers.
    fn needed(self) -> usize {
        match self {
            What::Descriptors => 28,
            What::Threads => 12,
        }
    }

    fn resource(self) -> Resource {
        match self {
            What::Descriptors => Resource::Nofile,
            What::Threads => Resource::Nproc,
        }
    }

    fn held(self, pid: i32) -> usize {
        match self {
            What::Descriptors => proc::fd_count(pid),
            What::Threads => proc::threads(pid),
        }
    }

    /// By the supervisor, or by all of it that count for its user, but for those that will not be there.
    fn held_by(self, run: &Running, without: &[i32]) -> usize {
        match self {
            What::Descriptors => proc::fd_count(run.pid),
            What::Threads => {
                let others = run.others();
                let counted = others.iter().filter(|pid| !without.contains(pid)).chain([&run.pid]);
                counted.map(|pid| proc::threads(*pid)).sum()
            }
        }
    }

    fn limit(self, pid: i32, most: usize) {
        self.set(pid, Some(most as u64));
    }

    /// Of a process that may have ended.
    fn lift(self, pid: i32) {
        self.set(pid, getrlimit(self.resource()).current);
    }

    /// As the user whose process it is: not everywhere may root do that to others.
    fn set(self, pid: i32, current: Option<u64>) {
        let Ok(process) = fs::metadata(format!("/proc/{pid}")) else { return };
        let soft = current.map_or("unlimited".to_owned(), |most| most.to_string());
        let option = match self {
            What::Descriptors => "--nofile",
            What::Threads => "--nproc",
        };
        let words = as_user(process.uid());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["prlimit", &format!("--pid={pid}"), &format!("{option}={soft}:")]);
        let set = command.output().expect("setpriv and prlimit, of every Debian");
        let is_gone = !Path::new(&format!("/proc/{pid}")).exists();
        assert!(set.status.success() || is_gone, "pid {pid}: {}", String::from_utf8_lossy(&set.stderr));
    }
}

fn as_user(id: u32) -> Vec<String> {
    let ids = [format!("--reuid={id}"), format!("--regid={id}")];
    ["setpriv".to_owned()].into_iter().chain(ids).chain(["--clear-groups".to_owned()]).collect()
}

/// A user of this test alone: threads are counted for each user, and root's are not limited.
struct User {
    id: u32,
    dir: PathBuf,
    _owned: TestDir,
}

impl User {
    fn new() -> Option<User> {
        if !nix::unistd::geteuid().is_root() {
            support::skip("only root can start a server as another user");
            return None;
        }
        let owned = TestDir::new();
        // Not in the target directory, which may lie where others cannot go.
        let dir = std::env::temp_dir().join(format!("exhausted-{}", owned.path().file_name()?.to_str()?));
        fs::create_dir(&dir).expect("a directory for another user");
        let id = FIRST_USER + std::process::id() % USERS;
        chown(&dir, Some(id), Some(id)).expect("a directory of another user");
        Some(User { id, dir, _owned: owned })
    }

    fn copy_of(&self, program: &str) -> PathBuf {
        let built = match program {
            "heirloom" => PathBuf::from(env!("CARGO_BIN_EXE_heirloom")),
            example => support::binary::example_path(example),
        };
        let copy = self.dir.join(program);
        fs::copy(built, &copy).expect("a copy of a program");
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o755)).expect("a program that can be executed");
        copy
    }

    fn command(&self) -> Vec<String> {
        as_user(self.id)
    }

    fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("TMPDIR", self.dir.clone()), ("TOKIO_WORKER_THREADS", "2".into())]
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Above those that an installation gives to people and services, below nobody.
const FIRST_USER: u32 = 50_000;
const USERS: u32 = 10_000;
