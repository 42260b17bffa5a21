//! Whether a worker is stopped (SIGSTOP and its kin, state T): then it is alive, and serves nobody.
//!
//! A terminal does not do that to a worker, which has none: it is in a session of its own. A person does, or
//! a debugger, or the program itself.

use std::future::pending;
use std::io;

use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind};

use crate::sys::pidfd::{Pidfd, Stop};

/// Follows one worker, which is a child of this process.
#[derive(Debug)]
pub(super) struct Stops {
    pidfd: Pidfd,
    /// Whenever a child stops, goes on, or ends.
    changes: unix::Signal,
    is_stopped: bool,
}

impl Stops {
    /// Within a runtime only.
    pub(super) fn new(pidfd: Pidfd) -> io::Result<Stops> {
        Ok(Stops { pidfd, changes: unix::signal(SignalKind::child())?, is_stopped: false })
    }

    pub(super) fn are_over(&self) -> bool {
        !self.is_stopped
    }

    /// Resolves when it has stopped or goes on. Cancel safe.
    pub(super) async fn next(&mut self) -> Stop {
        loop {
            if let Ok(Some(stop)) = self.pidfd.stop() {
                self.is_stopped = stop != Stop::Over;
                return stop;
            }
            if self.changes.recv().await.is_none() {
                // The runtime ends.
                pending::<()>().await;
            }
        }
    }
}

/// Says so, with what it means at this moment.
pub(super) fn note(pid: i32, stop: Stop, is_ready: bool) {
    let meaning = match is_ready {
        true => "it answers nobody",
        false => "it does not count as ready",
    };
    match stop {
        Stop::By(signal) => {
            let signal = Signal::try_from(signal).map_or("a signal", Signal::as_str);
            say!(warn: pid, "the worker is stopped by {signal}: {meaning} until it goes on (kill -CONT {pid})");
        }
        Stop::Over => say!(info: pid, "the worker that was stopped goes on"),
    }
}
