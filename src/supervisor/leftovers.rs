//! What a foreign worker leaves behind outside of its process group: a server that goes into the background,
//! a helper that has made a session of its own.
//!
//! This process is their subreaper, so whatever its workers' processes have started is below it for ever.
//! Those that hold a socket of the supervisor's when their worker is gone would go on accepting, old code and
//! unobserved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sockets::socket::Socket;
use crate::sys::pidfd::Pidfd;
use crate::sys::process::{Process, environment};

/// What to look for.
pub(super) struct Leftovers {
    /// As the links in /proc name them.
    sockets: BTreeSet<PathBuf>,
    /// The workers that are alive: what is below them is theirs.
    alive: Vec<i32>,
}

impl Leftovers {
    pub(super) fn new(sockets: &[Arc<Socket>], alive: impl Iterator<Item = i32>) -> Leftovers {
        let name =
            |socket: &Arc<Socket>| fs::read_link(format!("/proc/self/fd/{}", socket.fd.as_raw_fd())).ok();
        Leftovers { sockets: sockets.iter().filter_map(name).collect(), alive: alive.collect() }
    }

    /// Those that hold a socket.
    pub(super) fn holders(&self) -> Vec<i32> {
        self.below().0.into_iter().filter(|pid| self.holds(*pid)).collect()
    }

    /// Kills those that hold a socket, and whatever they start meanwhile. Returns one of them.
    pub(super) fn kill_holders(&self) -> Option<i32> {
        self.kill(|pid| self.holds(pid))
    }

    /// Kills whatever workers have left.
    pub(super) fn kill_all(&self) {
        self.kill(|pid| self.holds(pid) || was_started_by_a_worker(pid));
    }

    fn kill(&self, is_left: impl Fn(i32) -> bool) -> Option<i32> {
        let (mut first, mut known) = (None, BTreeSet::new());
        for _ in 0..PASSES {
            let (below, is_whole) = self.below();
            // Looked at after it is held: from then on the number cannot come to mean another process.
            let held = below.iter().filter_map(|pid| Some((*pid, Pidfd::open(*pid).ok()?)));
            let left: Vec<_> = held.filter(|(pid, _)| is_left(*pid)).collect();
            // One that has ended before it was looked at holds nothing, and the child of its last moment is
            // not in that list: the next one has it.
            if left.is_empty() && is_whole && below.is_subset(&known) {
                break;
            }
            known = below;
            first = first.or(left.first().map(|(pid, _)| *pid));
            for (pid, pidfd) in &left {
                say!(warn: pid, "killing what a worker has left behind");
                let _ = pidfd.signal(libc::SIGKILL);
            }
            wait_for(&left);
        }
        first
    }

    /// Every process below this one, but for live workers and what is below those; and whether that is all:
    /// none ended while it was asked whose it is.
    fn below(&self) -> (BTreeSet<i32>, bool) {
        let (parents, is_whole) = parents();
        let own = std::process::id() as i32;
        let is_left = |pid: &i32| {
            let mut at = *pid;
            // Processes come and go between two looks, so what looks like a circle has an end.
            for _ in 0..parents.len() {
                match parents.get(&at) {
                    _ if self.alive.contains(&at) => return false,
                    Some(parent) if *parent == own => return !self.is_of_the_living(at),
                    Some(parent) => at = *parent,
                    None => return false,
                }
            }
            false
        };
        (parents.keys().copied().filter(is_left).collect(), is_whole)
    }

    /// A live worker's helper that has gone its own ways was told which worker it is of.
    fn is_of_the_living(&self, pid: i32) -> bool {
        let variable =
            environment(pid).into_iter().find_map(|line| Some(line.strip_prefix(b"LISTEN_PID=")?.to_vec()));
        let worker = variable.and_then(|value| std::str::from_utf8(&value).ok()?.parse().ok());
        worker.is_some_and(|worker: i32| self.alive.contains(&worker))
    }

    fn holds(&self, pid: i32) -> bool {
        let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).any(|name| self.sockets.contains(&name))
    }
}

/// Not a child of this process's own, such as a hook's. Only if it is not below such a parent itself.
fn was_started_by_a_worker(pid: i32) -> bool {
    let marks = |line: &[u8]| line.starts_with(b"SERVER_STARTER_GENERATION=");
    std::env::vars_os().all(|(name, _)| name.as_bytes() != b"SERVER_STARTER_GENERATION")
        && environment(pid).iter().any(|line| marks(line))
}

/// Of each process that there is; and whether none ended before its own could be read.
fn parents() -> (BTreeMap<i32, i32>, bool) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let parents: BTreeMap<_, _> =
        pids.iter().filter_map(|pid| Some((*pid, Process::of(*pid)?.parent))).collect();
    let is_whole = parents.len() == pids.len();
    (parents, is_whole)
}

/// Until they are gone, or as long as that may take.
fn wait_for(killed: &[(i32, Pidfd)]) {
    let deadline = Instant::now() + DIE;
    for (_, pidfd) in killed {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], left);
    }
}

/// A process that forks as fast as it is killed is given up: each pass finds at least its latest child.
const PASSES: usize = 10;

/// A killed process is gone within a millisecond; one that hangs in the kernel holds up the supervisor no
/// longer than this.
const DIE: Duration = Duration::from_millis(100);
