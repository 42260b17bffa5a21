//! Children that nobody here has started: what a process inherits as PID 1, or as a subreaper.

use std::io;

use libc::c_int;
use nix::errno::Errno;

use super::pidfd::Exit;

/// The children that have ended and wait to be reaped, none of which this reaps.
pub(crate) fn ended() -> io::Result<Vec<i32>> {
    let children = children();
    // Without that list (not every kernel and sandbox has it) there is one at a time: the kernel's first.
    if children.is_empty() {
        return wait(libc::P_ALL, 0, libc::WNOWAIT)
            .map(|ended| ended.map(|(pid, _)| pid).into_iter().collect());
    }
    let mut ended = Vec::new();
    for pid in children {
        ended.extend(wait(libc::P_PID, pid as libc::id_t, libc::WNOWAIT)?.map(|(pid, _)| pid));
    }
    Ok(ended)
}

/// Each thread has children of its own.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Reaps the child of this number, if it has ended.
pub(crate) fn reap(pid: i32) -> io::Result<Option<Exit>> {
    wait(libc::P_PID, pid as libc::id_t, 0).map(|ended| ended.map(|(_, exit)| exit))
}

/// By hand: the wrapper at hand fails on a death by a real-time signal, and would so stick to that child for
/// ever.
fn wait(which: libc::idtype_t, id: libc::id_t, flags: c_int) -> io::Result<Option<(i32, Exit)>> {
    // SAFETY: siginfo_t is plain data, for which all zeroes is a valid value.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: `info` is ours and outlives the call.
        let waited = unsafe { libc::waitid(which, id, &mut info, libc::WEXITED | libc::WNOHANG | flags) };
        match Errno::result(waited) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            // No child at all.
            Err(Errno::ECHILD) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    }
    // SAFETY: waitid succeeded, so these fields of the union are the ones in use (zero: nobody has ended).
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (pid, libc::CLD_EXITED) => Some((pid, Exit::Code(status))),
        (pid, _) => Some((pid, Exit::Signal(status))),
    })
}

/// Makes this process the parent of every descendant whose own parent ends, as PID 1 is anyway.
pub(crate) fn become_subreaper() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}
