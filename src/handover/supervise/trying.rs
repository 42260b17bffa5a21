//! What the try that is under way asks for, and what that means for its worker and for the one that serves.

use std::time::Instant;

use super::words::{Action, Report, Worker};
use super::{Serving, Supervise, Tried};
use crate::handover::after;
use crate::handover::launch::{self, Launch};
use crate::handover::message::{Message, Takes, Told};
use crate::handover::reason::Failure;

impl Supervise {
    /// Does what the try asks for.
    pub(super) fn translate(&mut self, now: Instant, action: launch::Action) {
        let candidate = self.candidate;
        let serving = self.serving();
        match (action, candidate) {
            (launch::Action::Spawn, _) => self.spawn(serving),
            (launch::Action::Send(Message::Settled { restart_again }), Some(tried)) => {
                // Remembered here, since a worker could only ask us back.
                self.again = restart_again;
                let settled = Message::Settled { restart_again: false };
                self.actions.push_back(Action::Send(tried.worker, settled));
            }
            (launch::Action::Send(message), Some(tried)) => {
                self.actions.push_back(Action::Send(tried.worker, message));
            }
            (launch::Action::Kill, Some(tried)) if self.may_hold(tried) => self.part_with(now, tried.worker),
            (launch::Action::Kill, Some(tried)) => self.actions.push_back(Action::Kill(tried.worker)),
            (launch::Action::Abandon, Some(tried)) => {
                self.candidate = None;
                self.actions.push_back(Action::Abandon(tried.worker));
            }
            (launch::Action::PauseAccepting { unclaimed }, _) => {
                self.actions.extend(serving.map(|worker| Action::Pause(worker, unclaimed)));
            }
            (launch::Action::ResumeAccepting, _) => self.actions.extend(serving.map(Action::Resume)),
            // The process that the world knows is this one, and stays it.
            (launch::Action::Announce, _) => self.launch.announced(),
            (launch::Action::HandOver { unclaimed }, Some(tried)) => self.promote(now, tried, unclaimed),
            (launch::Action::Report(report), _) => self.pass_on(report, candidate),
            _ => {}
        }
    }

    /// Whether it may have accepted what would be lost with it, although nobody told it to.
    pub(super) fn may_hold(&self, tried: Tried) -> bool {
        self.limits.early && tried.runs
    }

    /// The try is over, and its worker finishes what it holds, as one does that was replaced.
    fn part_with(&mut self, now: Instant, worker: Worker) {
        self.let_go(now, worker);
        self.actions.push_back(Action::Stop(worker));
        self.launch.died(now, Failure::Died { how: "was told to stop".to_owned() });
    }

    fn spawn(&mut self, replaces: Option<Worker>) {
        self.generation += 1;
        let worker = self.generation;
        let (program, report) = self.crashes.choose(&self.limits, replaces.is_some());
        self.actions.extend(report.map(Action::Report));
        self.candidate = Some(Tried { worker, runs: false, binary: None, takes: Takes::default() });
        self.report(Report::Starting { worker });
        self.actions.push_back(Action::Spawn { worker, program, replaces });
    }

    fn promote(&mut self, now: Instant, tried: Tried, unclaimed: Vec<u16>) {
        let Tried { worker, binary, takes, .. } = tried;
        self.candidate = None;
        self.launch = Launch::new(self.limits.start, self.limits.probation);
        let replaced =
            self.serving.replace(Serving { worker, binary, stable: Some(after(now, self.limits.stable)) });
        if let Some(old) = replaced {
            self.crashes.replaced(old.binary, old.has_proved(now));
            self.let_go(now, old.worker);
            self.actions.push_back(Action::HandOver { worker: old.worker, unclaimed, takes });
        }
        // The last word of the machine that has just been replaced.
        self.report(Report::Settled { worker });
        if std::mem::take(&mut self.again) {
            // Not refused: it has just become idle.
            let _ = self.request(now);
        }
    }

    fn pass_on(&mut self, report: launch::Report, candidate: Option<Tried>) {
        let worker = candidate.map_or(self.generation, |tried| tried.worker);
        let told = match report {
            launch::Report::Remembered => return self.report(Report::Remembered),
            launch::Report::Ready => return self.report(Report::Ready { worker }),
            launch::Report::Failed(why) => {
                self.lost();
                self.report(Report::Failed { worker, why: why.clone() });
                Told::Failed(why)
            }
            launch::Report::TakenBack(why) => {
                self.lost();
                self.report(Report::TakenBack { worker, why: why.clone() });
                Told::TakenBack(why)
            }
            launch::Report::Starting | launch::Report::Settled | launch::Report::OutOfTurn(_) => return,
        };
        self.actions.extend(self.serving().map(|serving| Action::Send(serving, Message::Restarted(told))));
    }

    fn lost(&mut self) {
        self.candidate = None;
        if self.serving.is_none() {
            self.crashes.count();
        }
    }
}
