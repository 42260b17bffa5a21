//! What must hold after every step, and where nothing more happens by itself.

use super::driver::ensure;
use super::world::{Peer, Process, World};
use crate::handover::Launch;
use crate::handover::launch::Requested;

impl World {
    pub(super) fn holds_after_every_step(&self) -> Result<(), String> {
        let accepting = self.processes.iter().filter(|process| process.accepting && !process.dying).count();
        ensure(accepting <= 1, "G4: two processes accept")?;
        if !self.stopped && !self.lost {
            ensure(self.processes.iter().any(Process::can_serve), "G1: nobody holds the sockets")?;
        }
        for (at, process) in self.processes.iter().enumerate() {
            if let Peer::Alive(successor) = process.successor {
                let child = &self.processes[successor];
                ensure(child.predecessor == Peer::Alive(at), "a successor knows its predecessor")?;
            }
        }
        Ok(())
    }

    /// Where no step is left but those from outside.
    pub(super) fn holds_at_rest(&self) -> Result<(), String> {
        if self.stopped {
            let all_ended = self.processes.is_empty();
            return ensure(all_ended || self.killed || self.forsaken, "G5: all end that were asked to stop");
        }
        if self.lost || self.processes.iter().all(|process| process.hung) {
            return Ok(());
        }
        let [process] = &self.processes[..] else {
            return Err("G5: a process that handed over is still there".to_owned());
        };
        ensure(process.accepting && process.holds, "G3: who is left accepts")?;
        ensure(self.main == Some(0), "the service manager knows another main process")?;
        ensure(!process.owes, "G4: a remembered trigger is lost")?;
        let Some(mut launch) = process.launch.clone() else { return Err("it is not the service".to_owned()) };
        ensure(!Launch::in_progress(&launch), "G3: nothing is on its way")?;
        ensure(launch.request(self.now) == Ok(Requested::Started), "G3: the next restart starts")
    }

    /// Notes when the last one that could have served is gone by no fault of the handover.
    pub(super) fn check_loss(&mut self) {
        self.lost |= !self.processes.iter().any(Process::can_serve);
    }
}
