//! What the driver does for the machines: gives them what happened, and carries their actions out in order.

use std::time::Instant;

use super::steps::Step;
use super::world::{Frozen, Peer, Process, START_TIMEOUT, UNCLAIMED, World};
use crate::handover::launch::{Action as LaunchAction, Report, Requested};
use crate::handover::message::Message;
use crate::handover::serving::Action as ServingAction;
use crate::handover::succeed::Action as SucceedAction;
use crate::handover::{Failure, Launch, Succeed};

impl Process {
    /// Whether it will not settle on its successor, this one, without hearing from it once more.
    fn wants_a_word(&self, successor: usize) -> bool {
        let has_said = |message: &Message| *message == Message::Accepting;
        let words = self.from_successor.iter().filter(|message| has_said(message)).count();
        let is_over = |message: &Message| matches!(message, Message::Settled { .. } | Message::Leaving);
        self.successor == Peer::Alive(successor)
            && !self.from_successor.iter().any(is_over)
            && !self.ending
            && self.launch.as_ref().is_some_and(|launch| launch.words_wanted() > words)
    }
}

impl World {
    pub(super) fn request(&mut self, at: usize) -> Result<(), String> {
        let process = &mut self.processes[at];
        match &mut process.launch {
            Some(launch) => {
                let had_none = process.successor == Peer::Nobody;
                match launch.request(self.now) {
                    Ok(Requested::Remembered) => process.owes = true,
                    Ok(Requested::Started) => ensure(had_none, "G4: started beside a successor")?,
                    Err(_) => {}
                }
            }
            None => {
                process.succeed.request();
                process.owes = true;
            }
        }
        self.act(at)
    }

    pub(super) fn stop(&mut self, at: usize) -> Result<(), String> {
        let process = &mut self.processes[at];
        process.stops = 2.min(process.stops + 1);
        let mut is_for_service = true;
        match &mut process.launch {
            Some(launch) => {
                is_for_service = launch.owns_service();
                launch.stop(None);
            }
            None => process.succeed.stop(None, Message::Leaving),
        }
        self.act(at)?;
        if self.processes[at].launch.is_none() && self.processes[at].ending {
            // It has taken nothing: to its predecessor that is a failure like any other (G3).
            self.check_loss();
        } else {
            self.stopped |= is_for_service;
        }
        Ok(())
    }

    pub(super) fn freeze(&mut self, at: usize) {
        let process = &self.processes[at];
        let must_go = match process.predecessor {
            Peer::Alive(predecessor) => self.processes[predecessor].wants_a_word(at),
            _ => false,
        };
        let leaves_one = matches!(process.successor, Peer::Alive(next) if self.processes[next].can_serve()
            && self.processes[next].accepting);
        self.processes[at].frozen = Some(Frozen { must_go, leaves_one });
        self.check_loss();
    }

    /// Gives the machines of one process what happened to it.
    pub(super) fn feed(&mut self, step: Step, now: Instant) -> Result<(), String> {
        let at = step.process();
        let process = &mut self.processes[at];
        let launch = process.launch.as_mut();
        match step {
            Step::Initialised(_) => {
                process.initialising = false;
                process.succeed.ready(now, vec![UNCLAIMED]);
            }
            Step::InitialisationFailed(_) => {
                process.initialising = false;
                process.succeed.failed(String::new());
            }
            Step::Spawned(_) => launch.expect("who spawns serves").spawned(),
            Step::SpawnFailed(_) => {
                process.successor = Peer::Nobody;
                let why = Failure::Spawn { reason: String::new() };
                launch.expect("who spawns serves").spawn_failed(now, why);
            }
            Step::FromPredecessor(_) => {
                let message = process.from_predecessor.pop_front().expect("the step needs one");
                let restart_again = message == Message::Settled { restart_again: true };
                process.owes |= restart_again;
                process.succeed.message(now, message);
            }
            Step::FromSuccessor(_) => {
                let message = process.from_successor.pop_front().expect("the step needs one");
                launch.expect("who has a successor serves").message(now, message);
            }
            Step::PredecessorDied(_) => {
                process.predecessor = Peer::Nobody;
                process.succeed.predecessor_died();
            }
            Step::SuccessorDied(_) => {
                process.successor = Peer::Nobody;
                let why = Failure::Died { how: String::new() };
                launch.expect("who has a successor serves").died(now, why);
            }
            Step::LaunchTimeout(_) => launch.expect("it has a deadline").timeout(now),
            Step::SucceedTimeout(_) => process.succeed.timeout(now),
            Step::ServingTimeout(_) => {
                process.out_of_time = true;
                process.serving.timeout(now);
            }
            Step::Announced(_) => {
                process.announcing = false;
                launch.expect("who announces serves").announced();
            }
            Step::EmptiedBacklog(_) => {
                (process.emptying, process.holds) = (false, false);
                process.serving.emptied_backlog();
            }
            Step::Drained(_) => {
                process.draining = false;
                process.serving.drained();
            }
            other => unreachable!("{other:?} is not for a machine"),
        }
        self.act(at)?;
        self.processes[at].out_of_time = false;
        if matches!(step, Step::InitialisationFailed(_)) {
            self.check_loss();
        }
        if matches!(step, Step::SucceedTimeout(_)) && self.processes[at].launch.is_some() {
            self.forsaken = true;
            if let Peer::Alive(predecessor) = self.processes[at].predecessor {
                self.processes[predecessor].forsaken = true;
            }
        }
        Ok(())
    }

    pub(super) fn add_successor(&mut self, at: usize) {
        let child = self.processes.len();
        self.processes.push(Process::new(Succeed::new(START_TIMEOUT), Peer::Alive(at)));
        self.processes[at].successor = Peer::Alive(child);
    }

    /// One process is no more. What it said stays readable; its peers will learn of its death.
    pub(super) fn remove(&mut self, gone: usize) {
        self.processes.remove(gone);
        let renumber = |at: usize| if at > gone { at - 1 } else { at };
        for process in &mut self.processes {
            for peer in [&mut process.predecessor, &mut process.successor] {
                match *peer {
                    Peer::Alive(at) if at == gone => *peer = Peer::Dead,
                    Peer::Alive(at) => *peer = Peer::Alive(renumber(at)),
                    _ => {}
                }
            }
        }
        self.main = self.main.filter(|main| *main != gone).map(renumber);
    }

    fn act(&mut self, at: usize) -> Result<(), String> {
        loop {
            let was_over = self.processes[at].ending;
            let process = &mut self.processes[at];
            if let Some(action) = process.succeed.poll_action() {
                ensure(!was_over, "nothing is done after Left")?;
                self.act_succeed(at, action)?;
            } else if let Some(action) = process.launch.as_mut().and_then(Launch::poll_action) {
                // A spawn that ends after all that is over still has its child killed.
                ensure(!was_over || action == LaunchAction::Kill, "nothing is done after Over")?;
                self.act_launch(at, action)?;
            } else if let Some(action) = process.serving.poll_action() {
                ensure(!was_over, "nothing is done after Over")?;
                self.act_serving(at, action)?;
            } else {
                return Ok(());
            }
        }
    }

    fn act_succeed(&mut self, at: usize, action: SucceedAction) -> Result<(), String> {
        let now = self.now;
        let process = &mut self.processes[at];
        match action {
            SucceedAction::Send(message) => {
                if let Peer::Alive(predecessor) = process.predecessor
                    && self.processes[predecessor].successor == Peer::Alive(at)
                {
                    self.processes[predecessor].from_successor.push_back(message);
                }
            }
            SucceedAction::StartAccepting => {
                ensure(!process.accepting && process.holds, "accepts twice, or nothing")?;
                process.accepting = true;
            }
            SucceedAction::AnnounceOwn => self.main = Some(at),
            SucceedAction::Serve { restart } => {
                ensure(process.launch.is_none() && process.accepting, "serves twice, or does not accept")?;
                ensure(restart == process.owes, "a remembered trigger is given on, and no other")?;
                let mut launch = Launch::new(START_TIMEOUT, self.settings.probation);
                if restart {
                    launch.request(now).map_err(|refusal| refusal.to_string())?;
                }
                process.launch = Some(launch);
            }
            SucceedAction::Shutdown { within } => process.serving.shutdown(now, within),
            SucceedAction::Leave(_) => {
                ensure(!process.accepting, "leaves with nothing taken")?;
                (process.ending, process.initialising) = (true, false);
            }
        }
        Ok(())
    }

    fn act_launch(&mut self, at: usize, action: LaunchAction) -> Result<(), String> {
        let now = self.now;
        let process = &mut self.processes[at];
        let successor = match process.successor {
            Peer::Alive(successor) => Some(successor),
            _ => None,
        };
        match action {
            LaunchAction::Spawn => {
                ensure(process.successor == Peer::Nobody, "G4: a second successor")?;
                process.successor = Peer::Spawning;
                process.owes = false;
                self.spawns += u32::from(self.settings.clock);
            }
            LaunchAction::Send(message) => {
                process.owes &= message != Message::Settled { restart_again: true };
                if let Some(successor) = successor {
                    self.processes[successor].from_predecessor.push_back(message);
                }
            }
            LaunchAction::Kill => {
                if let Some(successor) = successor {
                    self.processes[successor].dying = true;
                }
            }
            LaunchAction::Abandon => {
                process.successor = Peer::Nobody;
                process.from_successor.clear();
            }
            LaunchAction::PauseAccepting { unclaimed } => {
                ensure(process.accepting && unclaimed == [UNCLAIMED], "pauses what accepts")?;
                process.accepting = false;
            }
            LaunchAction::ResumeAccepting => {
                ensure(!process.accepting && process.holds, "G3: takes back what it still holds")?;
                process.accepting = true;
            }
            LaunchAction::Announce => {
                process.announcing = true;
                self.main = successor;
            }
            LaunchAction::AnnounceOwn => {
                process.announcing = false;
                self.main = Some(at);
            }
            LaunchAction::HandOver { unclaimed } => {
                ensure(process.holds && unclaimed == [UNCLAIMED], "hands over what it holds")?;
                ensure(!process.owes || process.forsaken, "a remembered trigger is lost at settle")?;
                (process.accepting, process.holds, process.announcing) = (false, false, false);
                process.serving.handed_over(now);
            }
            LaunchAction::Shutdown { within } => process.serving.shutdown(now, within),
            LaunchAction::Report(report) => {
                ensure(!matches!(report, Report::OutOfTurn(_)), "a message out of turn")?;
            }
        }
        Ok(())
    }

    fn act_serving(&mut self, at: usize, action: ServingAction) -> Result<(), String> {
        let process = &mut self.processes[at];
        match action {
            ServingAction::GiveNotice => {}
            ServingAction::ServeBacklog => (process.accepting, process.emptying) = (false, true),
            ServingAction::CloseListeners => {
                (process.accepting, process.emptying, process.holds) = (false, false, false);
            }
            ServingAction::Drain { .. } => process.draining = true,
            ServingAction::Hammer => {
                let may = process.out_of_time || process.stops > 1;
                ensure(may, "G2: the hammer falls before the deadline and without a second request")?;
                process.draining = false;
            }
            ServingAction::End(_) => {
                ensure(!process.holds, "ends with the listeners open")?;
                process.ending = true;
            }
        }
        Ok(())
    }
}

pub(super) fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
