//! The successor: from its start until the sockets are its own. The first generation goes the same way with
//! no predecessor to wait for.
//!
//! ```text
//!                    ready                    COMMIT                    SETTLED
//!   Initialising ───────────▶ Waiting ─────────────────────▶ Accepting ───────────▶ Serving
//!     │      │                 │    │ predecessor died           │  │ predecessor died  ▲
//!     │      │                 │    └────────── take over ───────┼──┴─── take over ─────┤
//!     │      └── ready, no predecessor (first generation, or died before) ──────────────┘
//!     ▼                        ▼                                 ▼
//!   Left (nothing taken) ◀── deadline, stop                   Leaving (stop, STOP)
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::after;
use super::message::{Message, Takes};

/// How long a successor that accepts waits for SETTLED beyond its predecessor's probation. A predecessor that
/// is alive but silent for that long (stopped by a debugger, say) must not keep restarts away for ever; and
/// it is far above the seconds that a predecessor may spend on telling the service manager.
const SILENCE: Duration = Duration::from_secs(60);

/// The successor's side of one process's life. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Succeed {
    start_timeout: Duration,
    predecessor: bool,
    state: State,
    remembered: bool,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Initialising,
    Waiting {
        deadline: Instant,
    },
    Accepting {
        deadline: Instant,
    },
    Serving,
    /// `asked`: by somebody at this process itself, and not only by the predecessor's STOP.
    Leaving {
        asked: bool,
    },
    Left,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Tell the predecessor.
    Send(Message),
    /// Accept from now on.
    StartAccepting,
    /// Tell the world that this process is the main one (service manager, pid file): there is no predecessor
    /// to do it.
    AnnounceOwn,
    /// This process is the service now and may itself be restarted; at once, if `restart`.
    Serve {
        /// A trigger was remembered.
        restart: bool,
    },
    /// Stop the service gracefully.
    Shutdown {
        /// The drain's limit, instead of the one that is set.
        within: Option<Duration>,
    },
    /// End this process; it has taken nothing.
    Leave(Departure),
}

/// Why a process ends that has taken nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Departure {
    /// Its own initialisation failed.
    Failed,
    /// It was asked to stop before it was ready, or before it was told to accept.
    Stopped,
    /// Its predecessor lives and did not answer READY by the start deadline.
    Unanswered,
}

impl Succeed {
    /// A process with a predecessor.
    pub fn new(start_timeout: Duration) -> Succeed {
        Succeed {
            start_timeout,
            predecessor: true,
            state: State::Initialising,
            remembered: false,
            actions: VecDeque::new(),
        }
    }

    /// The first generation.
    pub fn first(start_timeout: Duration) -> Succeed {
        Succeed { predecessor: false, ..Succeed::new(start_timeout) }
    }

    /// Whether the driver is past this machine.
    pub fn is_serving(&self) -> bool {
        self.state == State::Serving
    }

    /// Whether it was told to accept, and not yet that it is the service.
    pub fn is_accepting(&self) -> bool {
        matches!(self.state, State::Accepting { .. })
    }

    /// The user's own initialisation is done; `unclaimed` are the sockets that nobody asked for.
    pub fn ready(&mut self, now: Instant, unclaimed: Vec<u16>) {
        if self.state != State::Initialising {
            return;
        }
        if self.predecessor {
            self.state = State::Waiting { deadline: after(now, self.start_timeout) };
            self.actions.push_back(Action::Send(Message::Ready {
                unclaimed,
                takes: Takes::ALL,
                answers: true,
            }));
        } else {
            self.take_over();
        }
    }

    /// The user's own initialisation failed.
    pub fn failed(&mut self, reason: String) {
        if self.state == State::Initialising {
            self.leave(Departure::Failed, reason);
        }
    }

    /// The predecessor said something.
    pub fn message(&mut self, now: Instant, message: Message) {
        match (&self.state, message) {
            (State::Waiting { .. }, Message::Commit { probation }) => {
                self.state = State::Accepting { deadline: after(now, probation.saturating_add(SILENCE)) };
                self.actions.extend([Action::StartAccepting, Action::Send(Message::Accepting)]);
            }
            (State::Accepting { .. }, Message::Probe) => {
                self.actions.push_back(Action::Send(Message::Accepting))
            }
            (State::Accepting { .. }, Message::Settled { restart_again }) => {
                self.remembered |= restart_again;
                self.serve();
            }
            // STOP follows COMMIT, so both can be waiting for us; and a predecessor that says it has
            // committed us.
            (State::Accepting { .. }, Message::Stop) => {
                self.state = State::Leaving { asked: false };
                self.actions.push_back(Action::Shutdown { within: None });
            }
            _ => {}
        }
    }

    /// The predecessor's process is gone, and all that it had said was given to [`message`](Self::message)
    /// before.
    pub fn predecessor_died(&mut self) {
        self.predecessor = false;
        match self.state {
            State::Waiting { .. } => self.take_over(),
            State::Accepting { .. } => {
                self.actions.push_back(Action::AnnounceOwn);
                self.serve();
            }
            State::Initialising | State::Serving | State::Leaving { .. } | State::Left => {}
        }
    }

    /// Somebody wants a restart: remembered until this process is the service.
    pub fn request(&mut self) {
        self.remembered = true;
    }

    /// Somebody wants this process to stop. `word` is what it says of that if it accepts already:
    /// [`Leaving`](Message::Leaving), or [`Stop`](Message::Stop) to a supervisor, if the program means the
    /// whole service. Which of them counts the supervisor knows: it may have settled this process a moment
    /// ago.
    pub fn stop(&mut self, within: Option<Duration>, word: Message) {
        match self.state {
            State::Initialising | State::Waiting { .. } => {
                self.leave(Departure::Stopped, "it was asked to stop before it was ready".to_owned());
            }
            State::Accepting { .. } => {
                self.state = State::Leaving { asked: true };
                self.actions.extend([Action::Send(word), Action::Shutdown { within }]);
            }
            // A TERM to the whole group reaches both sides, and STOP may be faster than our own signal. That
            // is one request, not the second that calls the hammer.
            State::Leaving { asked: false } => self.state = State::Leaving { asked: true },
            State::Leaving { asked: true } => self.actions.push_back(Action::Shutdown { within }),
            State::Serving | State::Left => {}
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { deadline } | State::Accepting { deadline } => Some(deadline),
            State::Initialising | State::Serving | State::Leaving { .. } | State::Left => None,
        }
    }

    /// The clock says `now`.
    pub fn timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.state {
            State::Waiting { .. } => {
                let reason = format!("its predecessor did not answer READY for {:?}", self.start_timeout);
                self.leave(Departure::Unanswered, reason);
            }
            State::Accepting { .. } => {
                // A predecessor that wakes up after all must find that the sockets are ours: else it would
                // take our later exit for a death and come back beside our own successor. Not LEAVING, since
                // the service does not stop.
                let settled = Message::Settled { restart_again: false };
                self.actions.extend([Action::Send(settled), Action::AnnounceOwn]);
                self.serve();
            }
            _ => {}
        }
    }

    /// Puts the deadline to `due`, so that states which differ in time alone are equal.
    #[cfg(test)]
    pub(super) fn forget_time(&mut self, due: Instant) {
        if let State::Waiting { deadline } | State::Accepting { deadline } = &mut self.state {
            *deadline = due;
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn take_over(&mut self) {
        self.actions.extend([Action::StartAccepting, Action::AnnounceOwn]);
        self.serve();
    }

    fn serve(&mut self) {
        self.state = State::Serving;
        self.actions.push_back(Action::Serve { restart: std::mem::take(&mut self.remembered) });
    }

    fn leave(&mut self, why: Departure, reason: String) {
        self.state = State::Left;
        if self.predecessor {
            self.actions.push_back(Action::Send(Message::Failed { reason }));
        }
        self.actions.push_back(Action::Leave(why));
    }
}

#[cfg(test)]
mod tests;
