//! What is run when nobody serves any more, and when. A worker that dies is replaced; each further death in a
//! row makes the next one wait longer; and a new program that keeps dying gives way to the last one that did
//! not.

use std::time::{Duration, Instant};

use super::words::{Limits, Program, Report};
use crate::handover::after;

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Crashes {
    /// How many have failed or died since one has proved itself.
    in_a_row: u32,
    /// When the next worker is to be started.
    respawn: Option<Instant>,
    /// The program to fall back to, by its number, and whether that is what is run now.
    good: Option<u64>,
    rolled_back: bool,
    /// What was run last, if it could be.
    last: Option<u64>,
}

impl Crashes {
    /// An operator who asks has put something new there to try.
    pub(super) fn forget(&mut self) {
        (self.rolled_back, self.in_a_row, self.respawn) = (false, 0, None);
    }

    pub(super) fn count(&mut self) {
        self.in_a_row += 1;
    }

    /// What a worker runs; `None` if it could not even be started, or nobody knows.
    pub(super) fn ran(&mut self, binary: Option<u64>) {
        self.last = binary;
    }

    /// A worker has served for so long that it was no failure.
    pub(super) fn proved(&mut self, binary: Option<u64>) {
        self.in_a_row = 0;
        self.good = binary.or(self.good);
    }

    /// Another one serves instead. What has proved itself is better to come back to than what was merely
    /// ready.
    pub(super) fn replaced(&mut self, binary: Option<u64>, has_proved: bool) {
        self.in_a_row = 0;
        if has_proved || self.good.is_none() {
            self.good = binary.or(self.good);
        }
    }

    pub(super) fn good(&self) -> Option<u64> {
        self.good
    }

    /// For the next worker; with a report if that is the last good one from now on.
    pub(super) fn choose(&mut self, limits: &Limits, somebody_serves: bool) -> (Program, Option<Report>) {
        let give_up = limits.rollback_after > 0 && self.in_a_row >= limits.rollback_after;
        // The good one has crashed as often where it is what was run: nothing is better than it.
        let is_another = self.good.is_some() && self.good != self.last;
        let roll_back = give_up && is_another && !self.rolled_back && !somebody_serves;
        self.rolled_back |= roll_back;
        let program = match self.good {
            Some(good) if self.rolled_back => Program::Good(good),
            _ => Program::Current,
        };
        (program, roll_back.then_some(Report::RolledBack { crashes: self.in_a_row }))
    }

    /// Nobody serves, and nobody is on the way. Nothing is to be reported if the next one's time is known
    /// already.
    pub(super) fn respawn(&mut self, now: Instant, limits: &Limits) -> Option<Report> {
        if self.respawn.is_some() {
            return None;
        }
        let doublings = self.in_a_row.saturating_sub(2).min(30);
        let within = match self.in_a_row {
            0 | 1 => Duration::ZERO,
            _ => limits.backoff.saturating_mul(1 << doublings).min(limits.backoff_ceiling),
        };
        let at_ceiling = within == limits.backoff_ceiling;
        self.respawn = Some(after(now, within));
        Some(Report::Respawning { within, crashes: self.in_a_row, at_ceiling })
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.respawn
    }

    /// Whether the next worker is to be started; told once.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        self.respawn.take_if(|due| now >= *due).is_some()
    }

    pub(super) fn no_respawn(&mut self) {
        self.respawn = None;
    }

    #[cfg(test)]
    pub(super) fn forget_time(&mut self, due: Instant) {
        if let Some(respawn) = &mut self.respawn {
            *respawn = due;
        }
    }
}
