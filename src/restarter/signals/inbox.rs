//! The signals that come to this process, and what each of them means here.
//!
//! SIGHUP has two meanings. Sent by somebody it is a request to restart, as servers have it. At the end of a
//! terminal it is the news that the user who started the server there is gone: nobody asked for a new
//! process, and one could not even write to where the old one did. How it arrives then depends on the shell:
//! from the kernel to the foreground group, or from an interactive shell to all of its jobs, by an ordinary
//! kill. That shell has lost its terminal as well, and so has the whole session.

use std::io;
use std::os::unix::fs::OpenOptionsExt;

use super::{Reaction, Signal, SignalMap};
use crate::sys;
use crate::sys::arrivals::{Arrival, Arrivals};

/// What comes.
pub(crate) struct Inbox {
    arrivals: Arrivals,
    had_terminal: bool,
    is_stopping: bool,
}

impl Inbox {
    /// Handles these signals from now on, and lets through what came while they were blocked. Must be called
    /// on the runtime, and on a thread that lives as long as the process.
    pub(crate) fn new(signals: &[i32]) -> io::Result<Inbox> {
        let arrivals = Arrivals::new(signals)?;
        // Not before the handlers are in: what came meanwhile is delivered now.
        sys::signals::unblock_here(signals)?;
        Ok(Inbox { arrivals, had_terminal: has_terminal(), is_stopping: false })
    }

    /// The next one. Cancel safe.
    pub(crate) async fn next(&mut self) -> Arrival {
        self.arrivals.next().await
    }

    /// What the map says, or what the end of the terminal makes of that.
    pub(crate) fn reaction(&mut self, map: &SignalMap, arrival: &Arrival) -> Option<Reaction> {
        let reaction = match map.reaction(Signal::of(arrival))? {
            // A shell tells its jobs and ends, and then the kernel tells them again: no second request, which
            // would be "now".
            Reaction::Restart if self.is_hang_up(arrival) && self.is_stopping => Reaction::Hooks,
            Reaction::Restart if self.is_hang_up(arrival) => {
                say!(info: "the terminal was closed, so this stops; start it with nohup to have it go on");
                Reaction::Stop
            }
            reaction => reaction,
        };
        self.is_stopping |= matches!(reaction, Reaction::Stop | Reaction::Hammer);
        Some(reaction)
    }

    fn is_hang_up(&self, arrival: &Arrival) -> bool {
        let by_its_shell = || self.had_terminal && arrival.sender() == session_leader() && !has_terminal();
        arrival.signal() == libc::SIGHUP && (arrival.is_from_kernel() || by_its_shell())
    }
}

/// `None` if that is in a PID namespace above ours, like a sender there.
fn session_leader() -> Option<i32> {
    nix::unistd::getsid(None).ok().map(nix::unistd::Pid::as_raw).filter(|pid| *pid > 0)
}

/// Whether this process's session has a terminal. That name is always the own session's, and opens as long as
/// there is one.
fn has_terminal() -> bool {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open("/dev/tty").is_ok()
}
