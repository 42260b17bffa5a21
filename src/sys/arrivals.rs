//! Signals as they come, each with what the kernel says of it: who sent it, and with which value.
//!
//! By hand, since signal-hook's own streams that tell the origin need a C compiler to build. The handler does
//! two things, both of them async-signal-safe: it puts the kernel's record into a queue without locks, and
//! wakes the reader with a byte.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream as Wakes;
use std::sync::Arc;

use libc::{c_int, siginfo_t};
use nix::sys::socket::{MsgFlags, send};
use signal_hook::low_level::channel::Channel;
use signal_hook_registry::SigId;
use tokio::net::UnixStream;

/// One signal that has come.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    info: siginfo_t,
}

// SAFETY: plain data; the addresses and values in it are another process's, and nothing here follows them.
unsafe impl Send for Arrival {}

/// The signals that this process handles. Dropping it leaves the handlers in, without effect.
pub(crate) struct Arrivals {
    queues: Vec<Queue>,
    woken: UnixStream,
    /// The handlers' end. Where no signal is handled it is the only hold on it, and without one the other end
    /// would be readable for ever.
    _waker: Arc<Wakes>,
}

struct Queue {
    signal: c_int,
    arrived: Arc<Channel<Arrival>>,
    handler: SigId,
}

impl Arrivals {
    /// Handles these signals from now on. Must be called on the runtime.
    pub(crate) fn new(signals: &[c_int]) -> io::Result<Arrivals> {
        let (woken, waker) = Wakes::pair()?;
        woken.set_nonblocking(true)?;
        let waker = Arc::new(waker);
        let woken = UnixStream::from_std(woken)?;
        let mut arrivals = Arrivals { queues: Vec::new(), woken, _waker: Arc::clone(&waker) };
        for signal in signals {
            arrivals.queues.push(Queue::new(*signal, &waker)?);
        }
        Ok(arrivals)
    }

    /// The next one. Several of a kind that came at once may be one; of the real-time signals up to five are
    /// kept apart. Cancel safe.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            if let Some(arrival) = self.queues.iter().find_map(Queue::take) {
                return arrival;
            }
            // It fails when the runtime ends: then nobody waits for what comes.
            if self.woken.readable().await.is_err() {
                std::future::pending::<()>().await;
            }
            // Emptied before the queues are looked at again: what comes in between wakes once more, in vain.
            while self.woken.try_read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        for queue in &self.queues {
            signal_hook_registry::unregister(queue.handler);
        }
    }
}

impl Queue {
    fn new(signal: c_int, waker: &Arc<Wakes>) -> io::Result<Queue> {
        let arrived = Arc::new(Channel::new());
        let (to, waker) = (Arc::clone(&arrived), Arc::clone(waker));
        let handle = move |info: &siginfo_t| {
            if is_job_control(info) {
                // What the signal does without a handler. With one the call that may not be made on the
                // terminal would be made over and over. SAFETY: it sends a signal, and touches no memory.
                unsafe { libc::raise(libc::SIGSTOP) };
                return;
            }
            to.send(Arrival { info: *info });
            // Full: there is enough to wake.
            let _ = send(waker.as_raw_fd(), &[0], MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL);
        };
        // SAFETY: the handler takes no lock and allocates nothing: the queue is made for handlers, send is a
        // system call, and the registry keeps errno.
        let handler = unsafe { signal_hook_registry::register_sigaction(signal, handle) }?;
        Ok(Queue { signal, arrived, handler })
    }

    fn take(&self) -> Option<Arrival> {
        let mut arrival = self.arrived.recv()?;
        if self.signal < libc::SIGRTMIN() {
            while let Some(later) = self.arrived.recv() {
                // What the kernel itself says must not go under in what others send.
                arrival = if arrival.is_from_kernel() { arrival } else { later };
            }
        }
        Some(arrival)
    }
}

/// Whether this process has read from its terminal, or written to it, from the background.
fn is_job_control(info: &siginfo_t) -> bool {
    [libc::SIGTTIN, libc::SIGTTOU].contains(&info.si_signo) && info.si_code == libc::SI_KERNEL
}

impl Arrival {
    /// Its number.
    pub(crate) fn signal(&self) -> c_int {
        self.info.si_signo
    }

    /// Whether the kernel sent it of its own accord, for a terminal or a fault.
    pub(crate) fn is_from_kernel(&self) -> bool {
        self.info.si_code == libc::SI_KERNEL
    }

    /// The process that sent it, if this process can see that one.
    pub(crate) fn sender(&self) -> Option<i32> {
        let was_sent = [libc::SI_USER, libc::SI_QUEUE, libc::SI_TKILL].contains(&self.info.si_code);
        // SAFETY: with these codes the kernel has filled in the sender.
        let pid = was_sent.then(|| unsafe { self.info.si_pid() })?;
        (pid > 0).then_some(pid)
    }

    /// The record that `sigqueue` made, which can be passed on as it is.
    #[cfg(feature = "supervisor")]
    pub(crate) fn queued(&self) -> Option<&siginfo_t> {
        (self.info.si_code == libc::SI_QUEUE).then_some(&self.info)
    }
}

impl std::fmt::Debug for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrival").field("signal", &self.signal()).field("code", &self.info.si_code).finish()
    }
}
