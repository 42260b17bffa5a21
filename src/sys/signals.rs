//! Signal sets, and signals that every thread blocks.
//!
//! A successor starts with the restart signals blocked, so that one which comes before its handlers are in
//! waits instead of killing it. Every thread inherits that mask from the thread that made it: unless one
//! thread unblocks the signal and lives on, it stays pending for ever.

use std::io;

use libc::{c_int, sigset_t};
use nix::errno::Errno;

/// Unblocks the signals in the calling thread, which must live as long as the process. Call it once the
/// handlers are in; on return a pending signal is on its way to them.
pub(crate) fn unblock_here(signals: &[c_int]) -> io::Result<()> {
    change_mask(libc::SIG_UNBLOCK, &signal_set(signals)?)
}

/// Whether the signal has no effect at all, as `nohup` leaves SIGHUP to what it starts.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    // SAFETY: sigaction is plain data, for which all zeroes is a valid value.
    let mut now: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the present one, to `now`, which is ours.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &mut now) };
    asked == 0 && now.sa_sigaction == libc::SIG_IGN
}

/// Has the kernel send this process the signal when the thread that started it ends. nix knows no real-time
/// signals.
#[cfg(feature = "supervisor")]
pub(crate) fn ask_at_parents_death(signal: c_int) -> io::Result<()> {
    let number = libc::c_ulong::try_from(signal).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: it takes a number, which the kernel checks, and touches no memory of ours.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, number) })?;
    Ok(())
}

/// The set of these signals. Those that the C library keeps for itself (32, 33) and numbers that are no
/// signals are errors.
pub(super) fn signal_set(signals: &[c_int]) -> io::Result<sigset_t> {
    // SAFETY: sigset_t is plain data; sigemptyset gives it its value before anything reads it.
    let mut set: sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is ours and outlives the call.
    Errno::result(unsafe { libc::sigemptyset(&mut set) })?;
    for signal in signals {
        // SAFETY: `set` is ours, initialised, and outlives the call, which checks the number.
        Errno::result(unsafe { libc::sigaddset(&mut set, *signal) })?;
    }
    Ok(set)
}

fn change_mask(how: c_int, set: &sigset_t) -> io::Result<()> {
    // SAFETY: `set` is initialised and outlives the call; a null old set is allowed.
    match unsafe { libc::pthread_sigmask(how, set, std::ptr::null_mut()) } {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, await_readable};
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    /// A stream on which a byte arrives for each SIGUSR1.
    fn arrivals() -> UnixStream {
        let (read, write) = UnixStream::pair().unwrap();
        signal_hook::low_level::pipe::register(libc::SIGUSR1, write).unwrap();
        read
    }

    fn signal_oneself() {
        nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGUSR1).unwrap();
    }

    fn pending() -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let shared = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t")).unwrap();
        u64::from_str_radix(shared, 16).unwrap() & (1 << (libc::SIGUSR1 - 1)) != 0
    }

    #[test]
    fn a_signal_that_came_before_the_handlers_arrives_once_one_thread_unblocks_it() {
        alone(
            "sys::signals::tests::a_signal_that_came_before_the_handlers_arrives_once_one_thread_unblocks_it",
            &[libc::SIGUSR1],
            || {
                let mut arrivals = arrivals();
                signal_oneself();
                assert!(pending());
                let (done, lasting) = std::sync::mpsc::channel::<()>();
                let thread = std::thread::spawn(move || {
                    unblock_here(&[libc::SIGUSR1]).unwrap();
                    lasting.recv().unwrap_err();
                });
                await_readable(&arrivals);
                arrivals.read_exact(&mut [0]).unwrap();
                signal_oneself();
                await_readable(&arrivals);
                drop(done);
                thread.join().unwrap();
            },
        );
    }

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        for signal in [0, -1, 32, 99] {
            assert_eq!(unblock_here(&[signal]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
