//! How a process's service ended, and what `main` returns of it.

use std::process::{ExitCode, Termination};

pub use crate::handover::serving::Reason;

use crate::drain::ConnectionStatus;

/// How the service of this process ended.
///
/// Return it from `main`: the exit status is 0, or [`Ending::HAMMERED`] when the hammer fell on connections.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// Whether a successor serves on, or the service has stopped.
    pub reason: Reason,
    /// What the hammer aborted; empty when everything ended by itself.
    pub aborted: Vec<ConnectionStatus>,
}

impl Ending {
    /// The exit status of a process whose hammer fell: 124, as timeout(1) has it for what it had to cut
    /// short.
    pub const HAMMERED: u8 = 124;

    /// The exit status that says how it went.
    pub fn exit_status(&self) -> u8 {
        if self.aborted.is_empty() { 0 } else { Ending::HAMMERED }
    }
}

impl Termination for Ending {
    fn report(self) -> ExitCode {
        self.exit_status().into()
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> ExitCode {
        ending.exit_status().into()
    }
}
