//! For the tests of this folder: one test in a process of its own, where it may count descriptors, lower
//! limits and change what signals do. Unit tests share a process and run at the same time, so none may do
//! that at home.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use libc::c_int;
use nix::poll::{PollFd, PollFlags, poll};

use super::pidfd::{Exit, Pidfd};
use super::spawn::{Spawn, spawn};

/// Runs `body` in a new process that runs the test `name` (its full path) and nothing else, started with the
/// signals `blocked` blocked in every thread.
pub(crate) fn alone(name: &str, blocked: &[c_int], body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|mark| mark == name) {
        return body();
    }
    let _starts = starts_processes();
    // Nor what the starter of the tests has left open: the body counts on numbers that are free. SAFETY: it
    // takes integers only, and closes nothing here. Of a kernel without it (before 5.11) no more is expected.
    unsafe { libc::syscall(libc::SYS_close_range, 3, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    let (mut output, writer) = std::io::pipe().unwrap();
    let mut env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    env.push((MARK.into(), name.into()));
    let program = std::env::current_exe().unwrap();
    let options = ["--exact", "--nocapture", "--test-threads=1"].map(OsString::from);
    let spawned = spawn(&Spawn {
        argv: [program.clone().into(), name.into()].into_iter().chain(options).collect(),
        program,
        env,
        directory: None,
        fds: vec![(writer.as_fd(), 1), (writer.as_fd(), 2)],
        blocked: blocked.to_vec(),
        defaults: Vec::new(),
    })
    .unwrap();
    drop(writer);
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    await_exit(&spawned.pidfd);
    let exit = spawned.pidfd.reap().unwrap();
    // A name that fits no test succeeds as well, with nothing run.
    assert!(exit == Some(Exit::Code(0)) && said.contains("1 passed"), "{name}: {exit:?}\n{said}");
}

/// For a test that starts processes. Until such a process has executed its program it has everything open
/// that this one had at that moment, of whatever test: a lock that is dropped here is still held, a peer that
/// is gone still there.
#[must_use = "others may count on closing what they drop as soon as this is dropped"]
pub(crate) fn starts_processes() -> RwLockReadGuard<'static, ()> {
    STARTING.read().unwrap_or_else(PoisonError::into_inner)
}

/// For a test that counts on it that what it drops is closed.
#[must_use = "processes are started again when this is dropped"]
pub(crate) fn drops_at_once() -> RwLockWriteGuard<'static, ()> {
    STARTING.write().unwrap_or_else(PoisonError::into_inner)
}

static STARTING: RwLock<()> = RwLock::new(());

/// Waits until the process has ended.
pub(crate) fn await_exit(pidfd: &Pidfd) {
    await_readable(pidfd);
}

/// Waits until the descriptor is readable, and fails the test if that takes too long.
pub(crate) fn await_readable(fd: &impl AsFd) {
    let mut watched = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut watched, PATIENCE_MS).unwrap(), 1, "nothing happened in time");
}

/// A new, empty directory of one test, for the test to remove when it has passed.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("heirloom-{name}-{}", std::process::id()));
    // Left by a failed run whose process had this number.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir(&path).unwrap();
    path
}

/// What this process holds open, as "number -> what" lines.
pub(crate) fn open_fds() -> Vec<String> {
    let numbers: Vec<_> =
        std::fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    // Reading the directory took a descriptor itself, which is closed by now and so drops out here.
    let mut open: Vec<String> = numbers
        .iter()
        .filter_map(|number| {
            let what = std::fs::read_link(Path::new("/proc/self/fd").join(number)).ok()?;
            Some(format!("{} -> {}", number.display(), what.display()))
        })
        .collect();
    open.sort();
    open
}

/// Lets this process open no descriptor from `limit` on.
pub(crate) fn limit_fds(limit: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls only read or write `limits`, which is ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limits), 0);
        limits.rlim_cur = limit;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limits), 0);
    }
}

/// Opens /dev/null until the process may open no more.
pub(crate) fn fill_fds() -> Vec<File> {
    std::iter::from_fn(|| File::open("/dev/null").ok()).collect()
}

/// Marks the process that is to run the body rather than to start another process.
const MARK: &str = "HEIRLOOM_TEST_ALONE";

/// Far above what any step takes, even on a busy machine; it only bounds a test that would hang.
const PATIENCE_MS: u16 = 60_000;
