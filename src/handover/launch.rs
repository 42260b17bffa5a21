//! The predecessor: from a trigger to a settled successor, or back to serving as if nothing had happened.
//!
//! ```text
//!                 request                     READY                  probation over
//!   Idle ───────────────────▶ Starting ───────────────▶ Probation ───────────────────▶ Settling
//!    ▲ ▲                      │   │ FAILED, deadline     │    │ LEAVING, stop             │  │ announced
//!    │ │ exec failed, died    │   ▼                      │    └──────────▶ Stopped        │  ▼
//!    │ └──────────────────────┘  Failing ── died ──┐     │ died            (the service   │ Settled
//!    │                                             │     ▼                  ends)         │ (drains)
//!    └─────────────────────────────────────────────┴── take back ◀────────────────────────┘
//! ```
//!
//! Probation is three states for a successor that answers: it has yet to say that it accepts; it is watched;
//! and it has yet to say, at the end, that it is still there. One that does not say so is frozen. It is
//! killed first, and what it was given is taken back when it is dead: one that thaws must not find that there
//! are two.
//!
//! A request that arrives on the way is remembered once (G4): a successor that settles acts on it, else this
//! side does after the failure.

mod words;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use words::{Action, Report, Requested};

use super::after;
use super::message::Message;
use super::reason::{Failure, Refusal};

/// How long a successor that said FAILED may take to exit by itself before it is killed. It has nothing left
/// to do but to unwind and print; longer would only delay the next try.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a killed successor may take to be gone before it is given up. SIGKILL takes microseconds, except
/// for a process that hangs in the kernel; that one must not hold up later restarts (G5).
const DIE: Duration = Duration::from_secs(5);
/// How long a successor may take to say that it accepts, each time. A thread that does nothing else says it
/// at once, so one that is silent for so long is stopped, or on a machine that is all but stopped. Shorter, a
/// busy machine would cost a successor that is none the worse and what it has accepted; longer, clients wait
/// for a frozen one.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to tell the service manager and the pid file of the new main process. Both are local
/// and take milliseconds; a manager that hangs must not keep two generations alive.
const ANNOUNCE: Duration = Duration::from_secs(5);

/// The predecessor's side of one process's life. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    start_timeout: Duration,
    probation: Duration,
    state: State,
    remembered: bool,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Idle,
    Starting {
        deadline: Instant,
    },
    Failing {
        why: Failure,
        deadline: Instant,
        killed: bool,
        given: Given,
    },
    /// It was told to accept, and is to say that it does. `until`: the end of probation.
    Committed {
        unclaimed: Vec<u16>,
        deadline: Instant,
        until: Instant,
    },
    /// `answers`: it is to answer at the end.
    Probation {
        unclaimed: Vec<u16>,
        deadline: Instant,
        answers: bool,
    },
    /// At the end of probation: it is to say that it still does.
    Probing {
        unclaimed: Vec<u16>,
        deadline: Instant,
    },
    Settling {
        unclaimed: Vec<u16>,
        deadline: Instant,
    },
    Settled,
    /// `asked`: by somebody at this process itself, and not only by the successor's LEAVING.
    Stopped {
        asked: bool,
    },
}

/// The states in which the successor has been told to accept and may still be lost.
macro_rules! in_probation {
    () => {
        State::Committed { .. } | State::Probation { .. } | State::Probing { .. } | State::Settling { .. }
    };
}

/// What a successor that fails had been given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Given {
    Nothing,
    /// It may be accepting until it is dead.
    Held,
    TakenBack,
}

impl Launch {
    /// A process that serves, with nothing on its way.
    pub fn new(start_timeout: Duration, probation: Duration) -> Launch {
        Launch { start_timeout, probation, state: State::Idle, remembered: false, actions: VecDeque::new() }
    }

    /// Whether a successor is on its way.
    pub fn in_progress(&self) -> bool {
        !matches!(self.state, State::Idle | State::Settled | State::Stopped { .. })
    }

    /// Whether the successor has been told to accept and may still be lost.
    pub fn in_probation(&self) -> bool {
        matches!(self.state, in_probation!())
    }

    /// Whether this process still owns the service: it may have to accept again.
    pub fn owns_service(&self) -> bool {
        !matches!(self.state, State::Settled | State::Stopped { .. })
    }

    /// Whether another restart follows the one that is on its way.
    pub fn has_remembered(&self) -> bool {
        self.remembered
    }

    /// Somebody wants a restart.
    pub fn request(&mut self, now: Instant) -> Result<Requested, Refusal> {
        match self.state {
            State::Idle => {
                self.start(now);
                Ok(Requested::Started)
            }
            State::Settled => Err(Refusal::Settled),
            State::Stopped { .. } => Err(Refusal::Stopping),
            _ => {
                if !std::mem::replace(&mut self.remembered, true) {
                    self.report(Report::Remembered);
                }
                Ok(Requested::Remembered)
            }
        }
    }

    /// The successor's process exists. One that is no longer wanted is killed.
    pub fn spawned(&mut self) {
        if !matches!(self.state, State::Starting { .. }) {
            self.actions.push_back(Action::Kill);
        }
    }

    /// There is no successor's process, and there will be none.
    pub fn spawn_failed(&mut self, now: Instant, why: Failure) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Starting { .. } => self.end_try(now, Report::Failed(why)),
            State::Failing { why, given, .. } => self.end_failing(now, why, given),
            other => self.state = other,
        }
    }

    /// The successor said something.
    pub fn message(&mut self, now: Instant, message: Message) {
        match (&self.state, message) {
            (State::Starting { .. }, Message::Ready { unclaimed, answers, .. }) => {
                self.commit(now, unclaimed, answers);
            }
            (State::Starting { .. }, Message::Failed { reason }) => {
                self.state = State::Failing {
                    why: Failure::Reported { reason },
                    deadline: now + LEAVE,
                    killed: false,
                    given: Given::Nothing,
                };
            }
            (State::Starting { .. }, message) => {
                let said = format!("{message:?} before it was ready");
                self.kill(now, Failure::Protocol { said }, Given::Nothing);
            }
            (State::Committed { .. } | State::Probing { .. }, Message::Accepting) => self.answered(now),
            (in_probation!(), Message::Leaving) => {
                self.state = State::Stopped { asked: false };
                self.actions.push_back(Action::Shutdown { within: None });
            }
            // It went on without us, since we were silent for too long (stopped by a debugger, say), and told
            // the world by itself. What we remembered is lost: the one to ask has changed.
            (in_probation!(), Message::Settled { .. }) => {
                self.remembered = false;
                self.hand_over();
            }
            // FAILED that crossed our COMMIT: it has left, accepts nothing and never will. To wait for its
            // exit could last beyond probation, and then we would settle on nobody.
            (in_probation!(), Message::Failed { reason }) => {
                self.resume();
                self.state = State::Failing {
                    why: Failure::Reported { reason },
                    deadline: now + LEAVE,
                    killed: false,
                    given: Given::TakenBack,
                };
            }
            // Of one that was settled on without it, since there is nobody to take back.
            (State::Settling { .. }, Message::Accepting) => {}
            (State::Failing { .. } | State::Stopped { .. } | State::Settled, _) => {}
            (_, message) => self.report(Report::OutOfTurn(message)),
        }
    }

    /// The successor sent what is not a message. Before it is ready that is a failure; afterwards it serves,
    /// and killing it would cost requests.
    pub fn garbage(&mut self, now: Instant, said: String) {
        if matches!(self.state, State::Starting { .. }) {
            self.kill(now, Failure::Protocol { said }, Given::Nothing);
        }
    }

    /// The successor cannot be heard any more, alive as it is: it has closed its channel, or said too much in
    /// vain. What is not heard is no sign that it is frozen, so it is judged by its death alone, as one of an
    /// older release is.
    pub fn unheard(&mut self, now: Instant) {
        let (unclaimed, deadline) = match &mut self.state {
            State::Committed { unclaimed, until, .. } => (unclaimed, *until),
            State::Probation { unclaimed, deadline, .. } => (unclaimed, *deadline),
            State::Probing { unclaimed, .. } => (unclaimed, now),
            _ => return,
        };
        let unclaimed = std::mem::take(unclaimed);
        self.state = State::Probation { unclaimed, deadline, answers: false };
    }

    /// The successor's process is gone, and all that it had said was given to [`message`](Self::message)
    /// before.
    pub fn died(&mut self, now: Instant, why: Failure) {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Starting { .. } => self.end_try(now, Report::Failed(why)),
            State::Failing { why, given, .. } => self.end_failing(now, why, given),
            was_ready @ in_probation!() => {
                self.state = was_ready;
                self.resume();
                self.end_try(now, Report::TakenBack(why));
            }
            other @ (State::Idle | State::Settled | State::Stopped { .. }) => self.state = other,
        }
    }

    /// The world knows the successor as the main process, or cannot be told.
    pub fn announced(&mut self) {
        if matches!(self.state, State::Settling { .. }) {
            let restart_again = std::mem::take(&mut self.remembered);
            self.actions.push_back(Action::Send(Message::Settled { restart_again }));
            self.hand_over();
        }
    }

    /// Somebody wants this process to stop. Until settle that means the service (both sides); after it, this
    /// process's drain.
    pub fn stop(&mut self, within: Option<Duration>) {
        match self.state {
            State::Starting { .. } | State::Failing { .. } => self.actions.push_back(Action::Kill),
            in_probation!() => {
                self.actions.push_back(Action::Send(Message::Stop));
            }
            // A TERM to the whole group reaches both sides, and the successor's word of it may be faster than
            // our own signal. That is one request, not the second that calls the hammer.
            State::Stopped { asked: false } => {
                self.state = State::Stopped { asked: true };
                return;
            }
            State::Idle | State::Settled | State::Stopped { asked: true } => {}
        }
        if self.state != State::Settled {
            self.state = State::Stopped { asked: true };
        }
        self.remembered = false;
        self.actions.push_back(Action::Shutdown { within });
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Starting { deadline }
            | State::Failing { deadline, .. }
            | State::Committed { deadline, .. }
            | State::Probation { deadline, .. }
            | State::Probing { deadline, .. }
            | State::Settling { deadline, .. } => Some(deadline),
            State::Idle | State::Settled | State::Stopped { .. } => None,
        }
    }

    /// The clock says `now`.
    pub fn timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Starting { .. } => {
                self.kill(now, Failure::TimedOut { after: self.start_timeout }, Given::Nothing);
            }
            State::Failing { why, killed: false, given, .. } => self.kill(now, why, given),
            State::Failing { why, given, .. } => {
                self.actions.push_back(Action::Abandon);
                // It may hang in the kernel, but SIGKILL lets nothing run that is the program's.
                self.end_failing(now, why, given);
            }
            State::Probation { unclaimed, answers: true, .. } => {
                self.actions.push_back(Action::Send(Message::Probe));
                self.state = State::Probing { unclaimed, deadline: now + ANSWER };
            }
            State::Probation { unclaimed, .. } => self.settle(now, unclaimed),
            State::Committed { .. } | State::Probing { .. } => {
                self.kill(now, Failure::Silent { after: ANSWER }, Given::Held);
            }
            settling @ State::Settling { .. } => {
                self.state = settling;
                self.announced();
            }
            other => self.state = other,
        }
    }

    /// The successor is not given up before `until`, if it is still starting. Whether that is later than
    /// before.
    pub fn extend(&mut self, until: Instant) -> bool {
        match &mut self.state {
            State::Starting { deadline } => {
                let before = std::mem::replace(deadline, until.max(*deadline));
                until > before
            }
            _ => false,
        }
    }

    /// Ends the probation now: there is nobody who could take back.
    pub fn settle_early(&mut self, now: Instant) {
        if let State::Committed { unclaimed, .. }
        | State::Probation { unclaimed, .. }
        | State::Probing { unclaimed, .. } = &mut self.state
        {
            let unclaimed = std::mem::take(unclaimed);
            self.settle(now, unclaimed);
        }
    }

    /// How often the successor is still to say that it accepts before it is settled on. (More than once is
    /// twice.)
    #[cfg(test)]
    pub(super) fn words_wanted(&self) -> usize {
        match &self.state {
            State::Starting { .. } | State::Failing { given: Given::Nothing | Given::Held, .. } => usize::MAX,
            State::Committed { .. } => 1 + usize::from(!self.probation.is_zero()),
            State::Probation { answers: true, .. } | State::Probing { .. } => 1,
            _ => 0,
        }
    }

    /// Puts the deadline to `due`, so that states which differ in time alone are equal.
    #[cfg(test)]
    pub(super) fn forget_time(&mut self, due: Instant) {
        match &mut self.state {
            State::Committed { deadline, until, .. } => (*deadline, *until) = (due, due),
            State::Starting { deadline }
            | State::Failing { deadline, .. }
            | State::Probation { deadline, .. }
            | State::Probing { deadline, .. }
            | State::Settling { deadline, .. } => *deadline = due,
            State::Idle | State::Settled | State::Stopped { .. } => {}
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn start(&mut self, now: Instant) {
        self.state = State::Starting { deadline: after(now, self.start_timeout) };
        self.actions.extend([Action::Report(Report::Starting), Action::Spawn]);
    }

    fn commit(&mut self, now: Instant, unclaimed: Vec<u16>, answers: bool) {
        self.actions.extend([
            // In this order: after COMMIT two processes would accept, and a client could be answered by the
            // old code after the new one.
            Action::PauseAccepting { unclaimed: unclaimed.clone() },
            Action::Send(Message::Commit { probation: self.probation }),
            Action::Report(Report::Ready),
        ]);
        let until = after(now, self.probation);
        if answers {
            self.state = State::Committed { unclaimed, deadline: now + ANSWER, until };
        } else if self.probation.is_zero() {
            self.settle(now, unclaimed);
        } else {
            self.state = State::Probation { unclaimed, deadline: until, answers };
        }
    }

    /// It says that it accepts: after COMMIT it is watched, and at the end of that it is the service. Not at
    /// this very moment, but when the time that is over by then has been noticed: before that comes all else
    /// that it has said.
    fn answered(&mut self, now: Instant) {
        let (unclaimed, deadline, answers) = match &mut self.state {
            State::Committed { unclaimed, until, .. } => (unclaimed, *until, !self.probation.is_zero()),
            State::Probing { unclaimed, .. } => (unclaimed, now, false),
            _ => return,
        };
        let unclaimed = std::mem::take(unclaimed);
        self.state = State::Probation { unclaimed, deadline, answers };
    }

    fn settle(&mut self, now: Instant, unclaimed: Vec<u16>) {
        self.state = State::Settling { unclaimed, deadline: now + ANNOUNCE };
        self.actions.push_back(Action::Announce);
    }

    fn kill(&mut self, now: Instant, why: Failure, given: Given) {
        self.state = State::Failing { why, deadline: now + DIE, killed: true, given };
        self.actions.push_back(Action::Kill);
    }

    /// Takes back what a successor that was ready had been given.
    fn resume(&mut self) {
        if matches!(self.state, State::Settling { .. }) {
            self.actions.push_back(Action::AnnounceOwn);
        }
        self.actions.push_back(Action::ResumeAccepting);
    }

    fn hand_over(&mut self) {
        if let State::Committed { unclaimed, .. }
        | State::Probation { unclaimed, .. }
        | State::Probing { unclaimed, .. }
        | State::Settling { unclaimed, .. } = &mut self.state
        {
            let unclaimed = std::mem::take(unclaimed);
            self.state = State::Settled;
            self.actions.extend([Action::HandOver { unclaimed }, Action::Report(Report::Settled)]);
        }
    }

    fn end_failing(&mut self, now: Instant, why: Failure, given: Given) {
        if given == Given::Held {
            self.resume();
        }
        let report = if given == Given::Nothing { Report::Failed(why) } else { Report::TakenBack(why) };
        self.end_try(now, report);
    }

    fn end_try(&mut self, now: Instant, report: Report) {
        self.state = State::Idle;
        self.report(report);
        if std::mem::take(&mut self.remembered) {
            self.start(now);
        }
    }

    fn report(&mut self, report: Report) {
        self.actions.push_back(Action::Report(report));
    }
}

#[cfg(test)]
mod tests;
