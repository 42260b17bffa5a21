//! The world that the machines live in: processes, what is on its way between them, and every next step.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::steps::{Child, Step};
use crate::handover::message::Message;
use crate::handover::{Launch, Serving, Succeed};

pub(super) const START_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const PROBATION: Duration = Duration::from_secs(1);
pub(super) const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
pub(super) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);
/// What every successor does not claim, so that a HAND OVER without it shows.
pub(super) const UNCLAIMED: u16 = 7;

/// Everything that matters for what may happen next, and the few memories that the invariants need.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) now: Instant,
    /// The living, oldest first.
    pub(super) processes: Vec<Process>,
    /// Whom the service manager takes for the main process.
    pub(super) main: Option<usize>,
    /// Somebody asked the service to stop.
    pub(super) stopped: bool,
    /// Somebody was killed from outside.
    pub(super) killed: bool,
    /// The last process that could have served was killed, or failed with nobody left behind it.
    pub(super) lost: bool,
    /// A successor went on without a predecessor that lives but was silent.
    pub(super) forsaken: bool,
    /// How many successors were asked for.
    pub(super) spawns: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Settings {
    pub(super) probation: Duration,
    /// How many may live at once; a spawn waits until there is room.
    pub(super) processes: usize,
    /// Whether the clock counts. Without it any deadline may pass at any time, which stands for every
    /// combination of time limits and of processes that are slow, or stopped by a debugger.
    pub(super) clock: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) succeed: Succeed,
    pub(super) launch: Option<Launch>,
    pub(super) serving: Serving,
    pub(super) predecessor: Peer,
    pub(super) successor: Peer,
    pub(super) from_predecessor: VecDeque<Message>,
    pub(super) from_successor: VecDeque<Message>,
    /// The user's own initialisation is on.
    pub(super) initialising: bool,
    /// It will never end.
    pub(super) hung: bool,
    /// It is stopped for good: it does nothing more, but it holds what it holds, and can be killed.
    pub(super) frozen: Option<Frozen>,
    pub(super) accepting: bool,
    /// It has the listening descriptors open.
    pub(super) holds: bool,
    pub(super) emptying: bool,
    pub(super) draining: bool,
    pub(super) announcing: bool,
    /// A trigger was given to it and it has not acted on it yet.
    pub(super) owes: bool,
    /// It left with nothing taken, or its drain is over: the next thing that it does is to exit.
    pub(super) ending: bool,
    /// SIGKILL is on its way to it; it does nothing more.
    pub(super) dying: bool,
    /// Its successor went on without it, which it may not know yet.
    pub(super) forsaken: bool,
    /// How often it was asked to stop itself; 2 stands for more, too.
    pub(super) stops: u8,
    /// Its drain's deadline is passing.
    pub(super) out_of_time: bool,
}

/// The process at the other end of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    Nobody,
    Spawning,
    Alive(usize),
    /// Dead, which the owner of this has not been told yet.
    Dead,
}

/// What is to come of it that a process was frozen when it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Frozen {
    /// Its predecessor still wanted a word from it, and is to kill it.
    pub(super) must_go: bool,
    /// Its successor accepted already, and is to go on without it.
    pub(super) leaves_one: bool,
}

impl Process {
    pub(super) fn new(succeed: Succeed, predecessor: Peer) -> Process {
        Process {
            succeed,
            launch: None,
            serving: Serving::new(DRAIN_TIMEOUT, SHUTDOWN_TIMEOUT),
            predecessor,
            successor: Peer::Nobody,
            from_predecessor: VecDeque::new(),
            from_successor: VecDeque::new(),
            initialising: true,
            hung: false,
            frozen: None,
            accepting: false,
            holds: true,
            emptying: false,
            draining: false,
            announcing: false,
            owes: false,
            ending: false,
            dying: false,
            forsaken: false,
            stops: 0,
            out_of_time: false,
        }
    }

    /// Whether it can still serve: it has the sockets and is not on its way out.
    pub(super) fn can_serve(&self) -> bool {
        self.holds_on() && !self.dying && !self.forsaken && self.frozen.is_none()
    }

    /// Whether what waits in the kernel still has somebody who could accept it.
    pub(super) fn holds_on(&self) -> bool {
        self.holds && !self.serving.is_draining() && !self.ending
    }

    /// Whether a signal still reaches its driver.
    pub(super) fn can_be_asked(&self) -> bool {
        !self.ending && !self.dying
    }
}

impl World {
    /// The first generation, at its start.
    pub(super) fn new(now: Instant, settings: Settings) -> World {
        World {
            settings,
            now,
            processes: vec![Process::new(Succeed::first(START_TIMEOUT), Peer::Nobody)],
            main: None,
            stopped: false,
            killed: false,
            lost: false,
            forsaken: false,
            spawns: 0,
        }
    }

    /// Everything that may happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let room = self.processes.len() < self.settings.processes;
        let mut steps = Vec::new();
        let all_run = self.processes.iter().all(|process| process.frozen.is_none());
        for (at, process) in self.processes.iter().enumerate() {
            process.steps(at, room, &mut steps);
            if all_run && process.can_be_asked() {
                steps.push(Step::Freeze(at));
            }
        }
        if self.settings.clock {
            // Time passes up to the next deadline, which no other may overtake.
            let earliest = steps.iter().filter_map(|step| self.deadline(*step)).min();
            steps.retain(|step| self.deadline(*step).is_none_or(|deadline| Some(deadline) == earliest));
        }
        steps
    }

    /// Lets `step` happen; an error says what must not be.
    pub(super) fn take(&mut self, step: Step) -> Result<(), String> {
        let now = self.now.max(self.deadline(step).unwrap_or(self.now));
        if self.settings.clock {
            self.now = now;
        }
        self.happen(step, now)?;
        if !self.settings.clock {
            for process in &mut self.processes {
                process.succeed.forget_time(self.now);
                process.serving.forget_time(self.now);
                process.launch.iter_mut().for_each(|launch| launch.forget_time(self.now));
            }
        }
        self.holds_after_every_step()
    }

    fn deadline(&self, step: Step) -> Option<Instant> {
        self.processes[step.process()].deadline(step)
    }

    fn happen(&mut self, step: Step, now: Instant) -> Result<(), String> {
        let at = step.process();
        match step {
            Step::Exit(_) | Step::Die(_) => self.remove(at),
            Step::Kill(_, child) => {
                if child == Child::Lives {
                    self.add_successor(at);
                }
                self.killed = true;
                self.remove(at);
                self.check_loss();
            }
            Step::Request(_) => self.request(at)?,
            Step::Stop(_) => self.stop(at)?,
            Step::Hang(_) => self.processes[at].hung = true,
            Step::Freeze(_) => self.freeze(at),
            Step::Spawned(_) => {
                self.add_successor(at);
                self.feed(step, now)?;
            }
            _ => self.feed(step, now)?,
        }
        Ok(())
    }
}
