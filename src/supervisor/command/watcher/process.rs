//! The watcher itself: waits for the supervisor's end, and sees its workers to theirs.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Orders;
use crate::sys::channel::{Channel, Received};
use crate::sys::inherit::adopt;
use crate::sys::pidfd::Pidfd;

/// Where it finds what it is handed.
pub(super) const CHANNEL: RawFd = 3;
pub(super) const SUPERVISOR: RawFd = 4;

struct Worker {
    pid: i32,
    pidfd: Pidfd,
    /// The kernel tells it, unless it has changed its user.
    by_kernel: bool,
}

/// Returns once the supervisor and its workers are gone.
pub(in crate::supervisor::command) fn watch_over(orders: Orders) -> io::Result<()> {
    // What is sent to the supervisor's group, SIGKILL included, is not for this process.
    nix::unistd::setsid()?;
    let channel = Channel::from_fd(adopt(CHANNEL).map_err(io::Error::other)?)?;
    let supervisor = Pidfd::from_fd(adopt(SUPERVISOR).map_err(io::Error::other)?)?;
    let (mut workers, mut is_talking) = (Vec::new(), true);
    while !supervisor.has_exited()? {
        // A process that dies closes its descriptors first: the channel's end is not the supervisor's.
        let talking = is_talking.then(|| channel.as_fd());
        wait(talking.into_iter().chain([supervisor.as_fd()]), &workers, None)?;
        is_talking = is_talking && hear(&channel, &mut workers)?;
        workers.retain(|worker: &Worker| !matches!(worker.pidfd.has_exited(), Ok(true)));
    }
    if is_talking {
        // Those of which it knows are to end all the same.
        let _ = hear(&channel, &mut workers);
    }
    end(orders, workers)
}

/// Takes in what the supervisor has said. Whether it may say more.
fn hear(channel: &Channel, workers: &mut Vec<Worker>) -> io::Result<bool> {
    loop {
        match channel.recv() {
            Ok(Received::Message { bytes, fds, .. }) => {
                if let ([first, second, third, fourth, by_kernel], Some(fd)) =
                    (&*bytes, fds.into_iter().next())
                {
                    let pid = i32::from_ne_bytes([*first, *second, *third, *fourth]);
                    workers.push(Worker { pid, pidfd: Pidfd::from_fd(fd)?, by_kernel: *by_kernel != 0 });
                }
            }
            Ok(Received::End) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
}

fn end(orders: Orders, mut workers: Vec<Worker>) -> io::Result<()> {
    let deadline = Instant::now() + orders.within;
    for worker in &workers {
        // To most servers a second one means "at once".
        if !worker.by_kernel || worker.has_other_credentials() {
            let _ = worker.pidfd.signal(orders.stop);
        }
        // One that is stopped could not obey.
        let _ = worker.pidfd.signal(libc::SIGCONT);
    }
    while !workers.is_empty() {
        let is_late = Instant::now() >= deadline;
        workers.retain(|worker| {
            let is_left = !is_late && !matches!(worker.pidfd.has_exited(), Ok(true));
            if !is_left {
                // With what it has left in its group, as the supervisor would.
                let _ = worker.pidfd.kill_group(worker.pid);
            }
            is_left
        });
        if !workers.is_empty() {
            wait([], &workers, Some(deadline))?;
        }
    }
    Ok(())
}

fn wait<'fd>(
    others: impl IntoIterator<Item = BorrowedFd<'fd>>,
    workers: &'fd [Worker],
    deadline: Option<Instant>,
) -> io::Result<()> {
    let all = others.into_iter().chain(workers.iter().map(|worker| worker.pidfd.as_fd()));
    let mut watched: Vec<_> = all.map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    let left = match deadline {
        // Rounded up: not a moment too soon, to look again and again.
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().saturating_add(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        }
        None => PollTimeout::NONE,
    };
    match poll(&mut watched, left) {
        Ok(_) | Err(Errno::EINTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

impl Worker {
    /// Whether it has changed what makes the kernel forget its signal: the effective user and group, and
    /// those for files. This process has the supervisor's. One that cannot be looked at has others.
    fn has_other_credentials(&self) -> bool {
        let own = credentials("self");
        own.is_none() || credentials(&self.pid.to_string()) != own
    }
}

/// Of the four numbers on each of the lines, the second and the last.
fn credentials(process: &str) -> Option<Vec<Vec<u8>>> {
    let status = fs::read(format!("/proc/{process}/status")).ok()?;
    let lines = status.split(|byte| *byte == b'\n');
    let ids = lines.filter(|line| line.starts_with(b"Uid:") || line.starts_with(b"Gid:"));
    let effective = ids.flat_map(|line| {
        let fields: Vec<_> = line.split(u8::is_ascii_whitespace).map(<[u8]>::to_vec).collect();
        [2, 4].map(|index| fields.get(index).cloned().unwrap_or_default())
    });
    Some(effective.collect())
}
