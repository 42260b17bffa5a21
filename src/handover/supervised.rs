//! A worker's obedience: what it does at its supervisor's word, once it serves.
//!
//! ```text
//!              PAUSE               HAND_OVER
//!   Serving ──────────▶ Paused ─────────────────▶ HandedOver (drains)
//!      ▲  ◀──────────────┘ │ RESUME                   ▲
//!      │                   │ the supervisor died      │ SETTLED from the successor
//!      │                   ▼                          │
//!      └────────────── Forsaken ──────────────────────┘
//!       successor died, deadline
//! ```
//!
//! The supervisor alone decides while it lives. A worker that outlives it ([`Orphans::ServeOn`]) is a server
//! of its own from then on; if its successor was just being tried, the two have only each other to ask. The
//! successor says SETTLED if it accepts, and leaves if it does not: the supervisor pauses the one before it
//! commits the other.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::message::{Message, Takes, Told};

/// What workers do when their supervisor is gone without having stopped them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Orphans {
    /// They stop in order. The default: a service manager that watches the supervisor starts another, which
    /// needs their addresses.
    #[default]
    Stop,
    /// They serve on, and restart like a server that never had a supervisor.
    ServeOn,
}

/// How long a forsaken worker waits for its successor's word. That one has seen the same death, and its word
/// is microseconds away unless it hangs; meanwhile nobody may be accepting.
const WORD: Duration = Duration::from_secs(2);

/// One worker's side. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Supervised {
    orphans: Orphans,
    state: State,
    /// The successor has said that the sockets are its own: it may have seen the supervisor's end before we
    /// have.
    has_successor_settled: bool,
    /// By whom a stop was asked for: one Ctrl-C reaches the supervisor and its workers, and is one request.
    told_to_stop: bool,
    asked_to_stop: bool,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Serving,
    Paused { unclaimed: Vec<u64> },
    Forsaken { unclaimed: Vec<u64>, deadline: Instant },
    HandedOver,
    Free,
}

/// What the driver is to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Take this process for the successor; the message's descriptors lead to it.
    Meet {
        /// Its process id.
        pid: u32,
    },
    /// Accept no more, but on these; keep all open.
    PauseAccepting {
        /// The SO_COOKIE of each socket that the successor does not want.
        unclaimed: Vec<u64>,
    },
    /// Accept again on all.
    ResumeAccepting,
    /// Close the sockets without emptying them, but serve the queues of these first; then drain.
    HandOver {
        /// The SO_COOKIE of each socket that the successor does not want.
        unclaimed: Vec<u64>,
        /// What the successor goes on with.
        takes: Takes,
    },
    /// Stop gracefully, or hasten the drain.
    Shutdown,
    /// Abort what is left.
    Hammer,
    /// A server of its own from now on: there is no supervisor any more.
    GoFree,
    /// Accept, if not yet, as the service: whom this process was to replace is told, or gone.
    TakeOver,
    /// Tell those who asked for a restart.
    Tell(Told),
}

impl Supervised {
    /// A worker that serves.
    pub fn new(orphans: Orphans) -> Supervised {
        Supervised {
            orphans,
            state: State::Serving,
            has_successor_settled: false,
            told_to_stop: false,
            asked_to_stop: false,
            actions: VecDeque::new(),
        }
    }

    /// Whether nobody decides for this process any more.
    pub fn is_free(&self) -> bool {
        self.state == State::Free
    }

    /// The supervisor said something that is not for [`Succeed`](super::Succeed).
    pub fn message(&mut self, message: Message) {
        match (&self.state, message) {
            (State::Serving, Message::Successor { pid }) => {
                self.has_successor_settled = false;
                self.actions.push_back(Action::Meet { pid });
            }
            (State::Serving, Message::Pause { unclaimed }) => {
                self.actions.push_back(Action::PauseAccepting { unclaimed: unclaimed.clone() });
                self.state = State::Paused { unclaimed };
            }
            (State::Paused { .. }, Message::Resume) => self.resume(),
            (State::Serving | State::Paused { .. }, Message::HandOver { unclaimed, takes }) => {
                self.hand_over(unclaimed, takes);
            }
            (State::Free, _) => {}
            (_, Message::Restarted(told)) => self.actions.push_back(Action::Tell(told)),
            (_, Message::Stop) => self.told_to_stop(),
            (_, Message::Hammer) => self.actions.push_back(Action::Hammer),
            _ => {}
        }
    }

    /// Somebody asks this very process to stop. Whether that is news: a stop that the supervisor has asked
    /// for already is the same one, and a second one from here is not.
    pub fn asked_to_stop(&mut self) -> bool {
        let was_asked = std::mem::replace(&mut self.asked_to_stop, true);
        was_asked || !self.told_to_stop
    }

    /// The supervisor's process is gone, and all that it had said was given to [`message`](Self::message)
    /// before. `successor`: whether the worker that it last [met](Action::Meet) is alive.
    pub fn supervisor_died(&mut self, now: Instant, successor: bool) {
        match (self.orphans, std::mem::replace(&mut self.state, State::Free)) {
            (_, State::HandedOver) => self.state = State::HandedOver,
            (Orphans::Stop, _) => self.told_to_stop(),
            (Orphans::ServeOn, State::Paused { unclaimed }) if successor && self.has_successor_settled => {
                self.hand_over(unclaimed, Takes { moves: true, ..Takes::default() });
            }
            (Orphans::ServeOn, State::Paused { unclaimed }) if successor => {
                self.state = State::Forsaken { unclaimed, deadline: now + WORD };
            }
            (Orphans::ServeOn, State::Paused { .. }) => {
                self.actions.extend([Action::ResumeAccepting, Action::GoFree]);
            }
            (Orphans::ServeOn, _) => self.actions.push_back(Action::GoFree),
        }
    }

    /// As [`supervisor_died`](Self::supervisor_died), for a process that has not settled yet. `accepting`:
    /// whether it was told to; `alone`: whether there is no other worker.
    pub fn supervisor_died_early(&mut self, accepting: bool, alone: bool) {
        if self.orphans == Orphans::ServeOn && (accepting || alone) {
            self.state = State::Free;
            self.actions.push_back(Action::TakeOver);
        } else {
            self.told_to_stop();
        }
    }

    /// The successor says that the sockets are its own. It has seen the supervisor's death, and so it counts
    /// once this process sees that, too.
    pub fn successor_settled(&mut self) {
        self.has_successor_settled = true;
        if let State::Forsaken { unclaimed, .. } = &mut self.state {
            let unclaimed = std::mem::take(unclaimed);
            self.hand_over(unclaimed, Takes { moves: true, ..Takes::default() });
        }
    }

    /// The successor's process is gone. While the supervisor lives it sees that as well, and says what to do.
    pub fn successor_died(&mut self) {
        if matches!(self.state, State::Forsaken { .. }) {
            self.resume();
            self.state = State::Free;
            self.actions.push_back(Action::GoFree);
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Forsaken { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    /// The clock says `now`.
    pub fn timeout(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| now >= deadline) {
            self.successor_died();
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn told_to_stop(&mut self) {
        if !std::mem::replace(&mut self.told_to_stop, true) && !self.asked_to_stop {
            self.actions.push_back(Action::Shutdown);
        }
    }

    fn resume(&mut self) {
        self.state = State::Serving;
        self.actions.push_back(Action::ResumeAccepting);
    }

    fn hand_over(&mut self, unclaimed: Vec<u64>, takes: Takes) {
        self.state = State::HandedOver;
        self.actions.push_back(Action::HandOver { unclaimed, takes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions(supervised: &mut Supervised) -> Vec<Action> {
        std::iter::from_fn(|| supervised.poll_action()).collect()
    }

    fn paused(orphans: Orphans) -> Supervised {
        let mut supervised = Supervised::new(orphans);
        supervised.message(Message::Successor { pid: 7 });
        supervised.message(Message::Pause { unclaimed: vec![3] });
        let expected = [Action::Meet { pid: 7 }, Action::PauseAccepting { unclaimed: vec![3] }];
        assert_eq!(actions(&mut supervised), expected);
        supervised
    }

    #[test]
    fn a_successor_that_was_faster_to_see_the_supervisors_end_is_believed() {
        let now = Instant::now();
        let mut supervised = paused(Orphans::ServeOn);
        supervised.successor_settled();
        assert_eq!(actions(&mut supervised), [], "the supervisor lives, as far as this process knows");
        supervised.supervisor_died(now, true);
        let handed_over =
            [Action::HandOver { unclaimed: vec![3], takes: Takes { moves: true, ..Takes::default() } }];
        assert_eq!(actions(&mut supervised), handed_over);
        assert_eq!(supervised.deadline(), None);
        // Its word may come before this process has even paused.
        let mut supervised = Supervised::new(Orphans::ServeOn);
        supervised.message(Message::Successor { pid: 7 });
        supervised.successor_settled();
        supervised.message(Message::Pause { unclaimed: vec![3] });
        supervised.successor_settled();
        assert!(!actions(&mut supervised).contains(&handed_over[0]), "the supervisor decides while it lives");
        supervised.supervisor_died(now, true);
        assert_eq!(actions(&mut supervised), handed_over);
        // Unless it is gone by now.
        let mut supervised = paused(Orphans::ServeOn);
        supervised.successor_settled();
        supervised.supervisor_died(now, false);
        assert_eq!(actions(&mut supervised), [Action::ResumeAccepting, Action::GoFree]);
        // Or another one is meant.
        let mut supervised = paused(Orphans::ServeOn);
        supervised.successor_settled();
        supervised.message(Message::Resume);
        supervised.message(Message::Successor { pid: 8 });
        supervised.message(Message::Pause { unclaimed: vec![] });
        actions(&mut supervised);
        supervised.supervisor_died(now, true);
        assert_eq!(actions(&mut supervised), [], "its word is waited for");
        assert!(supervised.deadline().is_some());
    }

    #[test]
    fn it_does_as_it_is_told() {
        let mut supervised = paused(Orphans::Stop);
        supervised.message(Message::Resume);
        assert_eq!(actions(&mut supervised), [Action::ResumeAccepting]);
        supervised.message(Message::Resume);
        assert_eq!(actions(&mut supervised), [], "it accepts already");
        supervised.message(Message::HandOver {
            unclaimed: vec![],
            takes: Takes { moves: true, sessions: true, ..Takes::default() },
        });
        assert_eq!(
            actions(&mut supervised),
            [Action::HandOver {
                unclaimed: vec![],
                takes: Takes { moves: true, sessions: true, ..Takes::default() }
            }]
        );
        supervised.message(Message::Pause { unclaimed: vec![] });
        assert_eq!(actions(&mut supervised), [], "it has nothing left to pause");
        supervised.message(Message::Stop);
        assert_eq!(actions(&mut supervised), [Action::Shutdown]);
    }

    #[test]
    fn one_stop_that_reaches_both_is_one() {
        let mut supervised = Supervised::new(Orphans::Stop);
        supervised.message(Message::Stop);
        assert_eq!(actions(&mut supervised), [Action::Shutdown]);
        assert!(!supervised.asked_to_stop());
        assert!(supervised.asked_to_stop(), "the second one from here calls the hammer");
        let mut supervised = Supervised::new(Orphans::Stop);
        assert!(supervised.asked_to_stop());
        supervised.message(Message::Stop);
        assert_eq!(actions(&mut supervised), []);
        supervised.message(Message::Hammer);
        assert_eq!(actions(&mut supervised), [Action::Hammer]);
    }

    #[test]
    fn orphans_stop_unless_they_are_to_serve_on() {
        let now = Instant::now();
        let mut supervised = paused(Orphans::Stop);
        supervised.supervisor_died(now, true);
        assert_eq!(actions(&mut supervised), [Action::Shutdown]);
        let mut supervised = Supervised::new(Orphans::ServeOn);
        supervised.supervisor_died(now, false);
        assert_eq!(actions(&mut supervised), [Action::GoFree]);
        assert!(supervised.is_free());
    }

    #[test]
    fn g1_a_forsaken_worker_goes_by_its_successors_word_or_death() {
        let now = Instant::now();
        let forsaken = || {
            let mut supervised = paused(Orphans::ServeOn);
            supervised.supervisor_died(now, true);
            assert_eq!(actions(&mut supervised), []);
            supervised
        };
        let mut settled = forsaken();
        settled.successor_settled();
        assert_eq!(
            actions(&mut settled),
            [Action::HandOver { unclaimed: vec![3], takes: Takes { moves: true, ..Takes::default() } }]
        );
        let back = [Action::ResumeAccepting, Action::GoFree];
        let mut alone = forsaken();
        alone.successor_died();
        assert_eq!(actions(&mut alone), back);
        let mut unanswered = forsaken();
        unanswered.timeout(now + WORD / 2);
        assert_eq!(actions(&mut unanswered), []);
        unanswered.timeout(now + WORD);
        assert_eq!(actions(&mut unanswered), back);
        let mut without = paused(Orphans::ServeOn);
        without.supervisor_died(now, false);
        assert_eq!(actions(&mut without), back);
    }

    #[test]
    fn g3_a_worker_that_was_not_committed_leaves_the_service_to_the_one_before_it() {
        for (orphans, accepting, alone, then) in [
            (Orphans::ServeOn, false, false, Action::Shutdown),
            (Orphans::ServeOn, false, true, Action::TakeOver),
            (Orphans::ServeOn, true, false, Action::TakeOver),
            (Orphans::Stop, true, true, Action::Shutdown),
        ] {
            let mut supervised = Supervised::new(orphans);
            supervised.supervisor_died_early(accepting, alone);
            assert_eq!(actions(&mut supervised), [then]);
        }
    }

    #[test]
    fn a_worker_that_drains_does_not_mind_the_supervisors_death() {
        for orphans in [Orphans::Stop, Orphans::ServeOn] {
            let mut supervised = Supervised::new(orphans);
            supervised.message(Message::HandOver { unclaimed: vec![], takes: Takes::default() });
            actions(&mut supervised);
            supervised.supervisor_died(Instant::now(), true);
            assert_eq!(actions(&mut supervised), []);
        }
    }
}
