//! Signal sets, and signals that every thread blocks.
//!
//! A successor starts with the restart signals blocked, so that one which comes before its handlers are in waits
//! instead of killing it. Every thread inherits that mask from the thread that made it: unless one thread
//! unblocks the signal and lives on, it stays pending for ever.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use libc::{c_int, sigset_t};
use nix::errno::Errno;

/// Unblocks the signals in a thread that lives as long as the process: here, if this is the main thread, else in
/// a small thread made for it. Does nothing when the calling thread blocks none of them. Call it once the
/// handlers are in; on return a pending signal is on its way to them.
pub(crate) fn unblock_in_lasting_thread(signals: &[c_int]) -> io::Result<()> {
    // The main thread ends with the process.
    unblock(signals, nix::unistd::gettid() == nix::unistd::getpid())
}

fn unblock(signals: &[c_int], lasting: bool) -> io::Result<()> {
    let set = signal_set(signals)?;
    let blocked_here = change_mask(libc::SIG_BLOCK, None)?;
    // SAFETY: sigismember reads the set, which is ours and initialised.
    if !signals.iter().any(|signal| unsafe { libc::sigismember(&blocked_here, *signal) } == 1) {
        return Ok(());
    }
    if lasting {
        return change_mask(libc::SIG_UNBLOCK, Some(&set)).map(drop);
    }
    let mut thread = LASTING.lock().unwrap_or_else(PoisonError::into_inner);
    let orders = match &*thread {
        Some(orders) => orders,
        None => thread.insert(start_lasting_thread()?),
    };
    let (answer, answered) = sync_channel(1);
    // The thread ends with the process only, so it takes the order and answers.
    orders.send((set, answer)).map_err(|_| io::ErrorKind::BrokenPipe)?;
    answered.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
}

/// The set of these signals. Those that the C library keeps for itself (32, 33) and numbers that are no signals
/// are errors.
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

/// What the lasting thread is asked to do: unblock a set, and say when that is done.
type Order = (sigset_t, SyncSender<io::Result<()>>);

/// The one lasting thread of this process, once it is needed.
static LASTING: Mutex<Option<SyncSender<Order>>> = Mutex::new(None);

fn start_lasting_thread() -> io::Result<SyncSender<Order>> {
    let (orders, received) = sync_channel(0);
    std::thread::Builder::new()
        .name("heirloom-signals".into())
        .stack_size(STACK)
        .spawn(move || follow(received))?;
    Ok(orders)
}

/// The sender is in a static, so this ends with the process.
fn follow(orders: Receiver<Order>) {
    for (set, answer) in orders {
        // The asker waits for the answer; should it be gone, nobody is left to tell.
        let _ = answer.send(change_mask(libc::SIG_UNBLOCK, Some(&set)).map(drop));
    }
}

/// Changes the calling thread's mask and returns what it was.
fn change_mask(how: c_int, set: Option<&sigset_t>) -> io::Result<sigset_t> {
    let mut before = signal_set(&[])?;
    let set = set.map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: `set` is null or an initialised set that outlives the call; `before` is ours.
    match unsafe { libc::pthread_sigmask(how, set, &mut before) } {
        0 => Ok(before),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// Handlers run on this stack, and they are the program's own: room for a generous one, and untouched pages cost
/// nothing.
const STACK: usize = 256 * 1024;

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

    fn named_threads() -> usize {
        std::fs::read_dir("/proc/self/task")
            .unwrap()
            .filter(|task| {
                let comm = task.as_ref().unwrap().path().join("comm");
                // The kernel keeps 15 bytes of a thread's name.
                std::fs::read_to_string(comm).unwrap_or_default() == "heirloom-signal\n"
            })
            .count()
    }

    #[test]
    fn a_signal_that_came_before_the_handlers_arrives_after_its_thread_is_gone() {
        alone(
            "sys::signals::tests::a_signal_that_came_before_the_handlers_arrives_after_its_thread_is_gone",
            &[libc::SIGUSR1, libc::SIGUSR2],
            || {
                let mut arrivals = arrivals();
                signal_oneself();
                assert!(pending());
                std::thread::spawn(|| unblock_in_lasting_thread(&[libc::SIGUSR1]).unwrap()).join().unwrap();
                await_readable(&arrivals);
                arrivals.read_exact(&mut [0]).unwrap();
                // The thread that asked has ended; the signal still finds one that takes it.
                signal_oneself();
                await_readable(&arrivals);
                std::thread::spawn(|| unblock_in_lasting_thread(&[libc::SIGUSR2]).unwrap()).join().unwrap();
                assert_eq!(named_threads(), 1);
            },
        );
    }

    #[test]
    fn a_thread_that_lasts_needs_no_other() {
        alone("sys::signals::tests::a_thread_that_lasts_needs_no_other", &[libc::SIGUSR1], || {
            let arrivals = arrivals();
            signal_oneself();
            assert!(pending());
            // The harness keeps the main thread for itself.
            unblock(&[libc::SIGUSR1], true).unwrap();
            await_readable(&arrivals);
            assert_eq!(named_threads(), 0);
        });
    }

    #[test]
    fn nothing_blocked_makes_no_thread() {
        alone("sys::signals::tests::nothing_blocked_makes_no_thread", &[libc::SIGUSR2], || {
            unblock_in_lasting_thread(&[libc::SIGUSR1, libc::SIGHUP]).unwrap();
            assert_eq!(named_threads(), 0);
        });
    }

    #[test]
    fn a_number_that_is_no_signal_is_refused() {
        for signal in [0, -1, 32, 99] {
            assert_eq!(unblock_in_lasting_thread(&[signal]).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }
}
