//! What may happen to a process, and when.

use std::time::Instant;

use super::world::{Peer, Process};
use crate::handover::Launch;

/// One thing that may happen, to the process with this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// From outside: a restart is wanted.
    Request(usize),
    /// From outside: TERM.
    Stop(usize),
    /// From outside: kill -9. A spawn that is on may have made the child already.
    Kill(usize, Child),
    /// From outside: the initialisation hangs.
    Hang(usize),
    /// From outside: SIGSTOP, for ever. (One that thaws is merely slow, and that is everywhere.)
    Freeze(usize),
    Initialised(usize),
    InitialisationFailed(usize),
    Spawned(usize),
    SpawnFailed(usize),
    FromPredecessor(usize),
    FromSuccessor(usize),
    PredecessorDied(usize),
    SuccessorDied(usize),
    LaunchTimeout(usize),
    SucceedTimeout(usize),
    ServingTimeout(usize),
    Announced(usize),
    EmptiedBacklog(usize),
    Drained(usize),
    Exit(usize),
    /// SIGKILL arrives.
    Die(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Child {
    Lives,
    None,
}

impl Step {
    /// The process that it happens to.
    pub(super) fn process(self) -> usize {
        match self {
            Step::Request(at) | Step::Stop(at) | Step::Kill(at, _) => at,
            Step::Hang(at) | Step::Freeze(at) => at,
            Step::Initialised(at) | Step::InitialisationFailed(at) => at,
            Step::Spawned(at) | Step::SpawnFailed(at) => at,
            Step::FromPredecessor(at) | Step::FromSuccessor(at) => at,
            Step::PredecessorDied(at) | Step::SuccessorDied(at) => at,
            Step::LaunchTimeout(at) | Step::SucceedTimeout(at) | Step::ServingTimeout(at) => at,
            Step::Announced(at) | Step::EmptiedBacklog(at) | Step::Drained(at) => at,
            Step::Exit(at) | Step::Die(at) => at,
        }
    }

    /// Whether it comes from outside; all others happen by themselves, sooner or later.
    pub(super) fn is_input(self) -> bool {
        matches!(self, Step::Request(_) | Step::Stop(_) | Step::Kill(..) | Step::Hang(_) | Step::Freeze(_))
    }
}

impl Process {
    /// The driver reads a channel to its end, and asks the pidfd, before it gives a machine anything that may
    /// end a state by itself.
    fn has_heard_successor(&self) -> bool {
        self.from_successor.is_empty() && self.successor != Peer::Dead
    }

    fn has_heard_predecessor(&self) -> bool {
        self.from_predecessor.is_empty() && self.predecessor != Peer::Dead
    }

    pub(super) fn steps(&self, at: usize, room: bool, steps: &mut Vec<Step>) {
        if self.dying {
            steps.push(Step::Die(at));
            return;
        }
        let mut when = |possible: bool, step: Step| {
            if possible {
                steps.push(step);
            }
        };
        let spawning = self.successor == Peer::Spawning;
        when(true, Step::Kill(at, Child::None));
        when(spawning && room, Step::Kill(at, Child::Lives));
        if self.frozen.is_some() {
            return;
        }
        when(spawning && room, Step::Spawned(at));
        when(spawning, Step::SpawnFailed(at));
        // A process does not end while it does not know whether it has a child: nobody could kill that.
        when(self.ending && !spawning, Step::Exit(at));
        if self.ending {
            return;
        }
        when(true, Step::Request(at));
        when(true, Step::Stop(at));
        when(self.initialising && !self.hung, Step::Hang(at));
        when(self.initialising && !self.hung, Step::Initialised(at));
        when(self.initialising && !self.hung, Step::InitialisationFailed(at));
        when(!self.from_predecessor.is_empty(), Step::FromPredecessor(at));
        when(!self.from_successor.is_empty(), Step::FromSuccessor(at));
        when(self.from_predecessor.is_empty() && self.predecessor == Peer::Dead, Step::PredecessorDied(at));
        when(self.from_successor.is_empty() && self.successor == Peer::Dead, Step::SuccessorDied(at));
        when(self.announcing && self.has_heard_successor(), Step::Announced(at));
        when(self.emptying, Step::EmptiedBacklog(at));
        when(self.draining, Step::Drained(at));
        let launch = self.launch.as_ref().and_then(Launch::deadline);
        when(launch.is_some() && self.has_heard_successor(), Step::LaunchTimeout(at));
        when(self.succeed.deadline().is_some() && self.has_heard_predecessor(), Step::SucceedTimeout(at));
        when(self.serving.deadline().is_some(), Step::ServingTimeout(at));
    }

    pub(super) fn deadline(&self, step: Step) -> Option<Instant> {
        match step {
            Step::LaunchTimeout(_) => self.launch.as_ref()?.deadline(),
            Step::SucceedTimeout(_) => self.succeed.deadline(),
            Step::ServingTimeout(_) => self.serving.deadline(),
            _ => None,
        }
    }
}
