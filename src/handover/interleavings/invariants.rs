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
            let is_held =
                |process: &Process| process.can_serve() || process.frozen.is_some() && process.holds_on();
            ensure(self.processes.iter().any(is_held), "G1: nobody holds the sockets")?;
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
            let all_ended = self.processes.iter().all(|process| process.frozen.is_some());
            return ensure(all_ended || self.killed || self.forsaken, "G5: all end that were asked to stop");
        }
        if self.lost || self.processes.iter().all(|process| process.hung) {
            return Ok(());
        }
        let (frozen, moving): (Vec<_>, Vec<_>) =
            self.processes.iter().enumerate().partition(|(_, process)| process.frozen.is_some());
        for frozen in frozen.iter().filter_map(|(_, process)| process.frozen) {
            ensure(!frozen.must_go || self.killed, "G3: a frozen successor is settled on, or left behind")?;
            let is_without = moving.is_empty() && frozen.leaves_one;
            ensure(!is_without || self.killed, "G3: a frozen predecessor takes the service along")?;
        }
        if !frozen.is_empty() && moving.iter().all(|(_, process)| process.hung) {
            return Ok(());
        }
        let [(at, process)] = moving[..] else {
            return Err("G5: a process that handed over is still there".to_owned());
        };
        ensure(process.accepting && process.holds, "G3: who is left accepts")?;
        ensure(self.main == Some(at), "the service manager knows another main process")?;
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
