//! Children that nobody here has started: what a process inherits as PID 1, or as a subreaper.

use std::io;

use libc::c_int;
use nix::errno::Errno;

use super::pidfd::Exit;

/// The process id of a child that has ended and waits to be reaped, without reaping it. The same one again and again
/// until somebody does.
pub(crate) fn peek() -> io::Result<Option<i32>> {
    wait(libc::P_ALL, 0, libc::WNOWAIT).map(|ended| ended.map(|(pid, _)| pid))
}

/// Reaps the child of this number, which [`peek`] has found and nobody else reaps.
pub(crate) fn reap(pid: i32) -> io::Result<Option<Exit>> {
    wait(libc::P_PID, pid as libc::id_t, 0).map(|ended| ended.map(|(_, exit)| exit))
}

/// By hand: the wrapper at hand fails on a death by a real-time signal, and would so stick to that child for ever.
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
