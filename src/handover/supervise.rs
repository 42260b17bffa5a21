//! The supervisor: which worker serves, and what becomes of each. It alone decides.
//!
//! One try after another is a [`Launch`], the same machine by which a server without a supervisor replaces
//! itself; here its words go to the worker that serves instead of to this process's own accept loops. Around
//! it stands what only a supervisor has: workers that die are replaced, with a backoff; a new program that
//! keeps dying is given up for the last one that did not; and the end waits for every worker.
//!
//! ```text
//!               request, death             READY               probation over
//!   candidate: ──────────────▶ starting ──────────▶ probation ───────────────▶ serving ──▶ draining ──▶ gone
//!                                 │ failed              │ died: the old one       │ died: respawn,
//!                                 ▼                     ▼ takes back              ▼ after the backoff
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

mod crashes;
mod leaving;
mod trying;
mod words;

use crashes::Crashes;
use leaving::{Late, Leavers};
pub use words::{Action, End, Limits, Program, Report, Worker};

use super::after;
use super::launch::{Launch, Requested};
use super::message::{Message, Takes, Told};
use super::reason::{Failure, Refusal};

/// The supervisor's side of everything. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supervise {
    limits: Limits,
    phase: Phase,
    launch: Launch,
    generation: Worker,
    candidate: Option<Tried>,
    serving: Option<Serving>,
    leavers: Leavers,
    crashes: Crashes,
    /// Whether the worker that settles was asked for once more meanwhile.
    again: bool,
    actions: VecDeque<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tried {
    worker: Worker,
    /// Whether there is a process.
    runs: bool,
    binary: Option<u64>,
    takes: Takes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Serving {
    worker: Worker,
    binary: Option<u64>,
    /// When it will have proved itself; `None` once it has.
    stable: Option<Instant>,
}

impl Serving {
    fn has_proved(&self, now: Instant) -> bool {
        self.stable.is_none_or(|due| now >= due)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Running,
    Stopping,
    Over,
}

impl Supervise {
    /// Nobody serves yet; [`request`](Self::request) starts the first worker.
    pub fn new(limits: Limits) -> Supervise {
        Supervise {
            limits,
            phase: Phase::Running,
            launch: Launch::new(limits.start, limits.probation),
            generation: 0,
            candidate: None,
            serving: None,
            leavers: Leavers::default(),
            crashes: Crashes::default(),
            again: false,
            actions: VecDeque::new(),
        }
    }

    /// The worker that serves.
    pub fn serving(&self) -> Option<Worker> {
        self.serving.map(|serving| serving.worker)
    }

    /// The worker that is being tried.
    pub fn candidate(&self) -> Option<Worker> {
        self.candidate.map(|tried| tried.worker)
    }

    /// Whether a restart is on its way.
    pub fn in_progress(&self) -> bool {
        self.launch.in_progress()
    }

    /// Whether the worker that is being tried was ready and has yet to settle.
    pub fn is_on_probation(&self) -> bool {
        self.launch.in_probation()
    }

    /// Whether another restart follows the one that is on its way.
    pub fn has_remembered(&self) -> bool {
        self.launch.has_remembered()
    }

    /// Whether the service is being stopped, or has been.
    pub fn is_stopping(&self) -> bool {
        self.phase != Phase::Running
    }

    /// The programs that may be run again, by number.
    pub fn needed(&self) -> impl Iterator<Item = u64> + '_ {
        let tried = self.candidate.and_then(|tried| tried.binary);
        let serving = self.serving.and_then(|serving| serving.binary);
        self.crashes.good().into_iter().chain(tried).chain(serving)
    }

    /// Somebody wants a new worker, from whatever lies at the program's path now.
    pub fn request(&mut self, now: Instant) -> Result<Requested, Refusal> {
        if self.phase != Phase::Running {
            return Err(Refusal::Stopping);
        }
        self.crashes.forget();
        let requested = self.launch.request(now);
        self.pump(now);
        requested
    }

    /// The worker's process exists; `binary` is what it runs, a number for each that differs.
    pub fn spawned(&mut self, now: Instant, worker: Worker, binary: Option<u64>) {
        match &mut self.candidate {
            Some(tried) if tried.worker == worker => {
                (tried.runs, tried.binary) = (true, binary);
                self.crashes.ran(binary);
                self.launch.spawned();
            }
            // It is not wanted any more.
            _ => self.actions.push_back(Action::Kill(worker)),
        }
        self.pump(now);
    }

    /// There is no process for the worker, and there will be none.
    pub fn spawn_failed(&mut self, now: Instant, worker: Worker, why: Failure) {
        if !self.leavers.remove(worker) {
            // With a command that does not exist, say, there is nothing to wait for.
            if worker == 1 && self.phase == Phase::Running {
                self.candidate = None;
                self.phase = Phase::Over;
                self.actions.push_back(Action::End(End::CannotStart(why)));
                return;
            }
            self.crashes.ran(None);
            self.launch.spawn_failed(now, why);
        }
        self.pump(now);
    }

    /// A worker said something that concerns its way in or out.
    pub fn message(&mut self, now: Instant, worker: Worker, message: Message) {
        let is_candidate = self.candidate() == Some(worker);
        match message {
            // The program's own wish, and only while it is the service: of any other worker a stop means that
            // one alone.
            Message::Stop if self.serving() == Some(worker) => self.stop(now),
            Message::Stop if !(is_candidate && self.launch.in_probation()) => {}
            Message::Leaving if self.serving() == Some(worker) => {
                self.serving = None;
                self.let_go(now, worker);
            }
            // It was told to stop. It finishes what it accepted; the one before it goes on.
            Message::Stop | Message::Leaving if is_candidate && self.launch.in_probation() => {
                self.let_go(now, worker);
                let how = "left of its own accord".to_owned();
                self.launch.died(now, Failure::Died { how });
            }
            message if is_candidate => {
                if let (Message::Ready { takes, .. }, Some(tried)) = (&message, &mut self.candidate) {
                    tried.takes = *takes;
                }
                self.launch.message(now, message);
            }
            _ => {}
        }
        self.pump(now);
    }

    /// A worker wants this much more time, from now on, for what it is about: its start, or its end. A
    /// deadline that is later stays, and so does one that was acted on. Whether it has got it.
    pub fn extend(&mut self, now: Instant, worker: Worker, by: Duration) -> bool {
        let until = after(now, by);
        if self.candidate() == Some(worker) {
            return self.launch.extend(until);
        }
        self.leavers.extend(worker, until)
    }

    /// A worker sent what is not a message.
    pub fn garbage(&mut self, now: Instant, worker: Worker, said: String) {
        if self.candidate() == Some(worker) {
            self.launch.garbage(now, said);
            self.pump(now);
        }
    }

    /// A worker cannot be heard any more, alive as it is.
    pub fn unheard(&mut self, now: Instant, worker: Worker) {
        if self.candidate() == Some(worker) {
            self.launch.unheard(now);
        }
    }

    /// A worker's process is gone, and all that it had said was given to [`message`](Self::message) before.
    pub fn died(&mut self, now: Instant, worker: Worker, how: String) {
        if self.leavers.remove(worker) {
            // Expected.
        } else if self.candidate() == Some(worker) {
            self.launch.died(now, Failure::Died { how });
        } else if let Some(serving) = self.serving.take_if(|serving| serving.worker == worker) {
            // Its time may have come in the moment of its death, before anybody has looked at the clock.
            if serving.has_proved(now) {
                self.crashes.proved(serving.binary);
            }
            self.crashes.count();
            self.report(Report::Died { worker, how });
        }
        self.pump(now);
    }

    /// Somebody wants the service to stop; a second time: now.
    pub fn stop(&mut self, now: Instant) {
        match self.phase {
            Phase::Running => {}
            Phase::Stopping => return self.hammer(now),
            Phase::Over => return,
        }
        self.phase = Phase::Stopping;
        self.crashes.no_respawn();
        self.again = false;
        self.report(Report::Stopping { within: self.limits.shutdown });
        if let Some(tried) = self.candidate {
            self.let_go(now, tried.worker);
            if !self.launch.in_probation() && !self.may_hold(tried) {
                // It holds nothing that could be lost.
                self.leavers.add_killed(tried.worker, now);
                self.actions.push_back(Action::Kill(tried.worker));
            }
        }
        if let Some(serving) = self.serving.take() {
            self.actions.push_back(Action::Send(serving.worker, Message::Restarted(Told::Stopped)));
            self.let_go(now, serving.worker);
        }
        let stopped = self.leavers.hurry(after(now, self.limits.shutdown));
        self.actions.extend(stopped.into_iter().map(Action::Stop));
        self.end_if_done();
    }

    /// No more waiting.
    pub fn hammer(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            self.stop(now);
        }
        self.actions.extend(self.leavers.hammer(now).into_iter().map(Action::Hammer));
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        let stable = self.serving.and_then(|serving| serving.stable);
        let launch = self.launch.deadline().filter(|_| self.phase == Phase::Running);
        let all = [launch, self.crashes.deadline(), stable, self.leavers.deadline()];
        all.into_iter().flatten().min()
    }

    /// The clock says `now`.
    pub fn timeout(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            self.launch.timeout(now);
        }
        if let Some(serving) = &mut self.serving
            && serving.stable.is_some_and(|due| now >= due)
        {
            serving.stable = None;
            self.crashes.proved(serving.binary);
        }
        if self.crashes.is_due(now) {
            // Not refused: nothing else is under way.
            let _ = self.launch.request(now);
        }
        self.kill_the_late(now);
        self.pump(now);
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Does what the current try asks for, and sees to it that somebody serves or will.
    fn pump(&mut self, now: Instant) {
        if self.phase != Phase::Running {
            return self.end_if_done();
        }
        loop {
            while let Some(action) = self.launch.poll_action() {
                self.translate(now, action);
            }
            // With no worker before it there is nobody to take back.
            if self.serving.is_some() || !self.launch.in_probation() {
                break;
            }
            self.launch.settle_early(now);
        }
        if self.serving.is_none() && !self.launch.in_progress() {
            let report = self.crashes.respawn(now, &self.limits);
            self.actions.extend(report.map(Action::Report));
        }
    }

    fn let_go(&mut self, now: Instant, worker: Worker) {
        self.leavers.add(worker, after(now, self.limits.drain));
        if self.candidate() == Some(worker) {
            self.candidate = None;
        }
    }

    fn kill_the_late(&mut self, now: Instant) {
        for late in self.leavers.late(now) {
            match late {
                Late::Kill(worker) => {
                    self.actions.push_back(Action::Kill(worker));
                    self.report(Report::Killed { worker });
                }
                Late::Abandon(worker) => self.actions.push_back(Action::Abandon(worker)),
            }
        }
    }

    fn end_if_done(&mut self) {
        if self.phase == Phase::Stopping && self.candidate.is_none() && self.leavers.is_empty() {
            self.phase = Phase::Over;
            self.actions.push_back(Action::End(End::Stopped));
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }

    /// Puts the deadlines to `due`, so that states which differ in time alone are equal.
    #[cfg(test)]
    fn forget_time(&mut self, due: Instant) {
        self.launch.forget_time(due);
        self.leavers.forget_time(due);
        self.crashes.forget_time(due);
        if let Some(Serving { stable: Some(stable), .. }) = &mut self.serving {
            *stable = due;
        }
    }
}

#[cfg(test)]
mod orders;
#[cfg(test)]
mod tests;
