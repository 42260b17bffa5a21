//! What `/proc` says of a process, and signals without a race for its pid.
#![allow(dead_code, unreachable_pub, reason = "each test and script uses its own part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid as NixPid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, pidfd_send_signal, prlimit, setrlimit,
};

/// What a process holds that must not grow from restart to restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// How many descriptors of each kind, such as `socket` or `anon_inode:[eventpoll]`.
    pub fds: BTreeMap<String, usize>,
    /// The names in its environment.
    pub environment: Vec<String>,
    pub threads: usize,
    pub zombies: usize,
}

impl Footprint {
    pub fn of(pid: i32) -> Footprint {
        Footprint {
            fds: fds(pid),
            environment: environment(pid).into_keys().collect(),
            threads: threads(pid),
            zombies: zombies(pid),
        }
    }

    /// The footprint once it is as expected and stays so, or the last one. Nothing tells another process when it
    /// has closed what it no longer needs, so it is asked for.
    pub fn at_rest(pid: i32, patience: Duration, is_expected: impl Fn(&Footprint) -> bool) -> Footprint {
        let deadline = Instant::now() + patience;
        let (mut last, mut unchanged) = (Footprint::of(pid), 0);
        while unchanged < UNCHANGED && Instant::now() < deadline {
            // allow: sleep (between two looks into /proc)
            std::thread::sleep(Duration::from_millis(20));
            let next = Footprint::of(pid);
            unchanged = if next == last && is_expected(&next) { unchanged + 1 } else { 0 };
            last = next;
        }
        last
    }
}

/// How many equal looks are rest: the last of a restart is done within milliseconds of the predecessor's end.
const UNCHANGED: usize = 25;

pub fn signal(pid: i32, signal: Signal) {
    nix::sys::signal::kill(NixPid::from_raw(pid), signal)
        .unwrap_or_else(|error| panic!("cannot send {signal} to pid {pid}: {error}"));
}

/// As [`signal`], to a process that may have ended by itself.
pub fn signal_if_there(pid: i32, signal: Signal) {
    let sent = nix::sys::signal::kill(NixPid::from_raw(pid), signal);
    assert!(matches!(sent, Ok(()) | Err(Errno::ESRCH)), "cannot send {signal} to pid {pid}: {sent:?}");
}

/// Waits for the end of any process; `false` when the time is over.
pub fn wait_for_exit(pid: i32, patience: Duration) -> bool {
    match open(pid) {
        Some(pidfd) => wait_for_pidfd(&pidfd, patience),
        None => true,
    }
}

/// Kills every process that `is_ours` says yes to, and those that they started meanwhile.
pub fn kill_all(is_ours: impl Fn(i32) -> bool, patience: Duration) {
    let deadline = Instant::now() + patience;
    let mut known = BTreeSet::new();
    loop {
        let all: BTreeSet<i32> = pids().collect();
        // The check follows the open: from then on the pidfd cannot come to mean another process.
        let held = all.iter().filter_map(|pid| open(*pid).map(|pidfd| (*pid, pidfd)));
        let ours: Vec<_> = held.filter(|(pid, _)| is_ours(*pid)).map(|(_, pidfd)| pidfd).collect();
        // One of ours that has ended before it was looked at may have left a child that is not in that list.
        if (ours.is_empty() && all.is_subset(&known)) || Instant::now() >= deadline {
            return;
        }
        known = all;
        for pidfd in &ours {
            let _ = pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        }
        for pidfd in &ours {
            wait_for_pidfd(pidfd, deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// Sets the soft limit of open files of another process; returns the one before.
pub fn limit_fds(pid: i32, soft: Option<u64>) -> Option<u64> {
    let old = try_limit_fds(pid, soft);
    old.unwrap_or_else(|error| panic!("cannot set the limit of pid {pid} to {soft:?}: {error}"))
}

/// As [`limit_fds`], of a process that may have ended.
pub fn limit_fds_if_there(pid: i32, soft: Option<u64>) {
    let set = try_limit_fds(pid, soft);
    assert!(matches!(set, Ok(_) | Err(rustix::io::Errno::SRCH)), "pid {pid}: {set:?}");
}

fn try_limit_fds(pid: i32, soft: Option<u64>) -> rustix::io::Result<Option<u64>> {
    try_limit(pid, Resource::Nofile, soft)
}

/// Sets the soft limit of another process's address space or of its data, in bytes, unless it has ended.
pub fn limit_memory_if_there(pid: i32, of: Resource, soft: Option<u64>) {
    let set = try_limit(pid, of, soft);
    assert!(matches!(set, Ok(_) | Err(rustix::io::Errno::SRCH)), "pid {pid}: {set:?}");
}

fn try_limit(pid: i32, of: Resource, soft: Option<u64>) -> rustix::io::Result<Option<u64>> {
    // The hard limit is the one that it inherited from here.
    let maximum = getrlimit(of).maximum;
    Ok(prlimit(Pid::from_raw(pid), of, Rlimit { current: soft, maximum })?.current)
}

/// What counts towards the limit of a process's address space, or of its data, in bytes; 0 if it is gone.
pub fn memory(pid: i32, of: Resource) -> u64 {
    let name = if of == Resource::Data { "VmData:" } else { "VmSize:" };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") << 10
}

/// As many connections as this process may have open, after raising its own limit, which servers inherit.
pub fn affordable(count: usize) -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .expect("a soft limit up to the hard one");
    let most = usize::try_from(maximum.unwrap_or(u64::MAX)).unwrap_or(usize::MAX).saturating_sub(OTHER_FDS);
    if most < count {
        eprintln!("!!! RLIMIT_NOFILE allows {most} connections, NOT the {count} that this test is about");
    }
    count.min(most)
}

/// Descriptors by kind.
pub fn fds(pid: i32) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for link in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
        // One that was closed since the directory was read is not open.
        if let Ok(target) = fs::read_link(link.path()) {
            let target = target.to_string_lossy().into_owned();
            let kind = target.split_once(":[").filter(|(kind, _)| *kind != "anon_inode");
            *kinds.entry(kind.map_or(target.clone(), |(kind, _)| kind.to_owned())).or_default() += 1;
        }
    }
    kinds
}

/// How many descriptors a process has open.
pub fn fd_count(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// The environment that a process was started with.
pub fn environment(pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let entries = bytes.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let entries = entries.map(|entry| {
        let entry = String::from_utf8_lossy(entry);
        let (name, value) = entry.split_once('=').unwrap_or((&entry, ""));
        (name.to_owned(), value.to_owned())
    });
    entries.collect()
}

pub fn threads(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Children that ended and were not waited for.
pub fn zombies(pid: i32) -> usize {
    children(pid).into_iter().filter(|child| state(*child) == Some('Z')).count()
}

/// Waits until every child that has ended is waited for. Asks and asks: an end is seen before its parent has acted on it,
/// and nothing tells another process of that.
#[track_caller]
pub fn assert_reaped(pid: i32, patience: Duration) {
    let deadline = Instant::now() + patience;
    while zombies(pid) > 0 {
        assert!(Instant::now() < deadline, "{} zombies stay with pid {pid}", zombies(pid));
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn children(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// The file that a process runs.
pub fn executable(pid: i32) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe"))
}

/// The ports on which a process listens, of 127.0.0.1.
pub fn listens_on(pid: i32) -> BTreeSet<u16> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let targets = links.filter_map(|link| fs::read_link(link.path()).ok());
    let sockets: BTreeSet<String> = targets.filter_map(|target| inode(target.to_str()?)).collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of TCP sockets");
    let ports = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let port = u16::from_str_radix(fields[1].rsplit(':').next()?, 16).ok()?;
        (fields[3] == LISTENING && sockets.contains(fields[9])).then_some(port)
    });
    ports.collect()
}

/// The number in `socket:[123]`.
fn inode(target: &str) -> Option<String> {
    Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
}

/// The local ports of the connections to `server`, a port of 127.0.0.1, as their clients hold them.
pub fn clients_of(server: u16) -> BTreeSet<u16> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of TCP sockets");
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let clients = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, remote, state) = (port(fields.next()?)?, port(fields.next()?)?, fields.next()?);
        (remote == server && state == ESTABLISHED).then_some(local)
    });
    clients.collect()
}

/// Of the end at port `local` of a connection on 127.0.0.1: how many bytes it has sent that the one at `remote` has no room
/// for, and how many have come that it has not read.
pub fn queues(local: u16, remote: u16) -> (u64, u64) {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table of TCP sockets");
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let found = table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let ends = (port(fields.next()?)?, port(fields.next()?)?);
        let (sent, read) = fields.nth(1)?.split_once(':')?;
        let bytes = |digits| u64::from_str_radix(digits, 16).ok();
        (ends == (local, remote)).then_some((bytes(sent)?, bytes(read)?))
    });
    found.unwrap_or_default()
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

fn wait_for_pidfd(pidfd: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("a patience of less than 292 years");
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) => (),
            Err(error) => panic!("poll on a pidfd: {error}"),
        }
    }
}

pub fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Whether there is such a process that has not ended.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Waits until a process that was sent SIGSTOP has stopped; `false` if it has not, or has ended.
pub fn is_stopped_within(pid: i32, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        match state(pid) {
            Some('T') => return true,
            Some('Z' | 'X') | None => return false,
            // allow: sleep (between two looks into /proc)
            Some(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    false
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may itself hold anything, text or not.
    let end = stat.windows(2).rposition(|pair| pair == b") ")?;
    stat.get(end + 2).copied().map(char::from)
}

/// What either side has open beside the connections.
const OTHER_FDS: usize = 200;

/// In the kernel's table of sockets.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";
