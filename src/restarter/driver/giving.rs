//! The driver's part in state: given to the successor, and asked of the predecessor.
//!
//! It goes on beside the machines: an answer changes nothing of who accepts when. A program that cannot start
//! without its state says so itself, with [`failed`](crate::Restarter::failed).

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::super::shared::StateAsker;
use super::moving::is_for_later;
use super::{Attempt, Step};
use crate::aside::own_thread::on_own_thread_or;
use crate::handdown::peer::Peer;
use crate::handdown::state::{Providers, Snapshot, State, StateError};
use crate::handover::message::Message;
use crate::handover::state_reply::{StateAnswer, Withheld};
use crate::sys::memfd::Mapped;

/// What one state may cost.
#[derive(Clone, Copy, Debug)]
pub(in crate::restarter) struct Bounds {
    pub(in crate::restarter) size: u64,
    pub(in crate::restarter) time: Duration,
}

/// State on its way to the successor.
#[derive(Debug)]
pub(super) struct Giving {
    bounds: Bounds,
    /// Counts successors: what was made for one is not for the next.
    successor: u64,
    making: usize,
    done: (mpsc::UnboundedSender<Made>, mpsc::UnboundedReceiver<Made>),
    /// Wait for room in the channel.
    answers: VecDeque<(Message, Option<OwnedFd>)>,
    /// Wait for this process's last connection.
    at_end: Vec<(u64, String)>,
}

/// What a provider's call came to.
#[derive(Debug)]
pub(super) struct Made {
    successor: u64,
    id: u64,
    outcome: Result<Snapshot, Withheld>,
}

impl Giving {
    pub(super) fn new(bounds: Bounds) -> Giving {
        Giving {
            bounds,
            successor: 0,
            making: 0,
            done: mpsc::unbounded_channel(),
            answers: VecDeque::new(),
            at_end: Vec::new(),
        }
    }

    /// A successor is to be started, or is gone: what is under way is for nobody.
    pub(super) fn forget(&mut self) {
        self.successor += 1;
        self.making = 0;
        self.answers.clear();
        self.at_end.clear();
    }

    /// The successor wants state.
    pub(super) fn asked(&mut self, providers: &Providers, id: u64, name: String, at_end: bool) {
        if self.making + self.answers.len() + self.at_end.len() >= MAX_REQUESTS {
            say_seldom!(warn: name, "the successor asks for too much state at once, not answering");
        } else if at_end {
            self.at_end.push((id, name));
        } else {
            self.give(providers, id, name, false);
        }
    }

    /// The last connection is gone: now comes what was asked for the end. Whether there was any.
    pub(super) fn give_at_end(&mut self, providers: &Providers) -> bool {
        let at_end = std::mem::take(&mut self.at_end);
        let is_any = !at_end.is_empty();
        for (id, name) in at_end {
            self.give(providers, id, name, true);
        }
        is_any
    }

    fn give(&mut self, providers: &Providers, id: u64, name: String, at_end: bool) {
        let Some(provider) = providers.find(&name, at_end) else {
            say!(debug: name, at_end, "the successor asks for state that nobody provides");
            return self.answer(id, Err(Withheld::NoSuchName));
        };
        let Some(reserved) = provider.reserve() else { return self.answer(id, Err(Withheld::Busy)) };
        let Bounds { size, time } = self.bounds;
        let (successor, done) = (self.successor, self.done.0.clone());
        self.making += 1;
        tokio::spawn(async move {
            let began = Instant::now();
            let called = {
                let name = name.clone();
                on_own_thread_or(
                    "heirloom-state",
                    move || reserved.call(&name, size),
                    |no_thread| Err(Withheld::Failed { reason: no_thread.to_string() }),
                )
            };
            let outcome = match tokio::time::timeout(time, called).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(Withheld::Panicked),
                // The thread goes on, since nothing can stop it; until it ends the provider is busy.
                Err(_) => Err(Withheld::TimedOut { after: time }),
            };
            let after = began.elapsed();
            match &outcome {
                Ok(snapshot) => {
                    say!(info: name, bytes = snapshot.length, ?after, "state for the successor")
                }
                Err(why) => say!(warn: name, ?why, ?after, "no state for the successor"),
            }
            // The driver outlives its tasks.
            let _ = done.send(Made { successor, id, outcome });
        });
    }

    /// The next call that has ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Made {
        match self.done.1.recv().await {
            Some(made) => made,
            // Never: the sender is ours.
            None => std::future::pending().await,
        }
    }

    pub(super) fn made(&mut self, made: Made) {
        if made.successor == self.successor {
            self.making -= 1;
            self.answer(made.id, made.outcome);
        }
    }

    fn answer(&mut self, id: u64, outcome: Result<Snapshot, Withheld>) {
        let (answer, fd) = match outcome {
            Ok(Snapshot { tag, length, file }) => (StateAnswer::Given { tag, length }, Some(file.into())),
            Err(why) => (StateAnswer::Withheld(why), None),
        };
        self.answers.push_back((Message::State { id, answer }, fd));
    }

    /// Sends what can be sent; the rest waits for room in the channel.
    pub(super) fn send(&mut self, attempt: Option<&Attempt>) {
        let Some(Attempt { step: Step::Running { peer, .. }, .. }) = attempt else { return };
        while let Some((message, fd)) = self.answers.front() {
            match peer.send_with(message, &fd.iter().map(AsFd::as_fd).collect::<Vec<_>>()) {
                Err(error) if is_for_later(&error) => return,
                Err(error) => say!(debug: ?message, %error, "could not send"),
                Ok(()) => say!(debug: ?message, "sent"),
            }
            self.answers.pop_front();
        }
    }

    /// Whether something waits for room in the channel.
    pub(super) fn is_stuck(&self) -> bool {
        !self.answers.is_empty()
    }

    /// How long a call takes at most.
    pub(super) fn longest(&self) -> Duration {
        self.bounds.time
    }

    /// Whether every answer has been sent.
    pub(super) fn is_idle(&self) -> bool {
        self.making == 0 && self.answers.is_empty()
    }
}

/// State that the predecessor is asked for.
#[derive(Debug)]
pub(super) struct Asking {
    bounds: Bounds,
    /// Whether a predecessor was there, and whether it understands the question.
    was_inherited: bool,
    is_understood: bool,
    next: u64,
    waiting: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
struct Asked {
    name: String,
    at_end: bool,
    /// None for what comes at the predecessor's end: that has a deadline there, or ends with its death.
    deadline: Option<Instant>,
    is_sent: bool,
    answer: StateAsker,
}

impl Asking {
    /// `gives_state`: what the predecessor said of itself, if there was one.
    pub(super) fn new(bounds: Bounds, gives_state: Option<bool>) -> Asking {
        Asking {
            bounds,
            was_inherited: gives_state.is_some(),
            is_understood: gives_state.unwrap_or(false),
            next: 0,
            waiting: BTreeMap::new(),
        }
    }

    pub(super) fn ask(
        &mut self,
        now: Instant,
        (name, at_end): (String, bool),
        predecessor: Option<&Peer>,
        answer: StateAsker,
    ) {
        let at_once = if !self.was_inherited {
            Ok(None)
        } else if !self.is_understood {
            say!(info: name, "the predecessor's heirloom is too old to give state");
            Ok(None)
        } else if predecessor.is_none() {
            Err(StateError::PredecessorDied { name })
        } else {
            let deadline = if at_end { None } else { now.checked_add(self.patience()) };
            self.waiting.insert(self.next, Asked { name, at_end, deadline, is_sent: false, answer });
            self.next += 1;
            return;
        };
        let _ = answer.send(at_once);
    }

    /// Sends what can be sent; the rest waits for room in the channel.
    pub(super) fn send(&mut self, predecessor: Option<&Peer>) {
        let Some(predecessor) = predecessor else { return };
        for (&id, asked) in self.waiting.iter_mut().filter(|(_, asked)| !asked.is_sent) {
            let request = Message::StateRequest { id, name: asked.name.clone(), at_end: asked.at_end };
            match predecessor.send_with(&request, &[]) {
                Err(error) if is_for_later(&error) => return,
                // It is dying, and its death is what answers.
                Err(error) => say!(debug: ?request, %error, "could not send"),
                Ok(()) => say!(debug: ?request, "sent"),
            }
            asked.is_sent = true;
        }
    }

    /// Whether something waits for room in the channel.
    pub(super) fn is_stuck(&self) -> bool {
        self.waiting.values().any(|asked| !asked.is_sent)
    }

    pub(super) fn answered(&mut self, id: u64, answer: StateAnswer, fds: Vec<OwnedFd>) {
        // Late, or never asked for: what came along is closed.
        let Some(Asked { name, answer: asker, .. }) = self.waiting.remove(&id) else { return };
        let _ = asker.send(match answer {
            StateAnswer::Given { tag, length } => self.given(name, tag, length, fds).map(Some),
            StateAnswer::Withheld(why) => withheld(name, why),
        });
    }

    fn given(&self, name: String, tag: u32, length: u64, fds: Vec<OwnedFd>) -> Result<State, StateError> {
        if length > self.bounds.size {
            return Err(StateError::TooLarge { name, limit: self.bounds.size });
        }
        let missing = || io::Error::other("its descriptor has not arrived; is this process at its limit?");
        let fd = fds.into_iter().next().ok_or_else(missing);
        let mapped = fd.and_then(|fd| Mapped::sealed(fd, length));
        mapped.map(|bytes| State::new(tag, bytes)).map_err(|source| StateError::Unusable { name, source })
    }

    /// The predecessor is gone, and all that it had said was heard.
    pub(super) fn lost(&mut self) {
        for (_, Asked { name, answer, .. }) in std::mem::take(&mut self.waiting) {
            let _ = answer.send(Err(StateError::PredecessorDied { name }));
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().filter_map(|asked| asked.deadline).min()
    }

    pub(super) fn timeout(&mut self, now: Instant) {
        let after = self.patience();
        let is_over = |asked: &Asked| asked.deadline.is_some_and(|deadline| now >= deadline);
        for (_, Asked { name, answer, .. }) in self.waiting.extract_if(.., |_, asked| is_over(asked)) {
            let _ = answer.send(Err(StateError::Unanswered { name, after }));
        }
    }

    /// The predecessor answers after its own bound at the latest, which is usually the same as this one's.
    fn patience(&self) -> Duration {
        self.bounds.time.saturating_mul(2)
    }
}

fn withheld(name: String, why: Withheld) -> Result<Option<State>, StateError> {
    match why {
        Withheld::NoSuchName => Ok(None),
        Withheld::TooLarge { limit } => Err(StateError::TooLarge { name, limit }),
        Withheld::Panicked => Err(StateError::Panicked { name }),
        Withheld::TimedOut { after } => Err(StateError::TimedOut { name, after }),
        Withheld::Busy => Err(StateError::Busy { name }),
        Withheld::Failed { reason } => Err(StateError::Failed { name, reason }),
    }
}

/// How many requests of one successor are under way at a time: far more than a program has kinds of state,
/// and what a successor gone wild can make this process remember.
const MAX_REQUESTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    use tokio::sync::oneshot;

    use crate::sys::memfd;

    const BOUNDS: Bounds = Bounds { size: 8, time: Duration::from_secs(10) };

    /// As if it had been sent to a predecessor.
    fn asking(asking: &mut Asking) -> oneshot::Receiver<Result<Option<State>, StateError>> {
        let (answer, heard) = oneshot::channel();
        let deadline = Some(Instant::now() + BOUNDS.time);
        let asked = Asked { name: "s".to_owned(), at_end: false, deadline, is_sent: true, answer };
        asking.waiting.insert(asking.next, asked);
        asking.next += 1;
        heard
    }

    fn answer(length: u64, fds: Vec<OwnedFd>) -> Result<Option<State>, StateError> {
        let mut asker = Asking::new(BOUNDS, Some(true));
        let mut heard = asking(&mut asker);
        asker.answered(0, StateAnswer::Given { tag: 1, length }, fds);
        heard.try_recv().unwrap()
    }

    fn sealed(bytes: &[u8]) -> OwnedFd {
        let mut file = memfd::create("test").unwrap();
        file.write_all(bytes).unwrap();
        memfd::seal(&file).unwrap();
        file.into()
    }

    #[test]
    fn what_comes_is_looked_at_before_it_is_state() {
        assert_eq!(*answer(5, vec![sealed(b"bytes")]).unwrap().unwrap(), *b"bytes");
        assert!(matches!(answer(5, vec![]), Err(StateError::Unusable { .. })));
        assert!(matches!(answer(4, vec![sealed(b"bytes")]), Err(StateError::Unusable { .. })));
        assert!(matches!(answer(9, vec![sealed(b"too large")]), Err(StateError::TooLarge { limit: 8, .. })));
        let unsealed = memfd::create("test").unwrap();
        assert!(matches!(answer(0, vec![unsealed.into()]), Err(StateError::Unusable { .. })));
    }

    #[test]
    fn each_reason_has_its_error() {
        let error = |why| withheld("s".to_owned(), why).unwrap_err().to_string();
        assert!(withheld("s".to_owned(), Withheld::NoSuchName).unwrap().is_none());
        assert!(error(Withheld::TooLarge { limit: 8 }).contains("limit of 8 bytes"));
        assert!(error(Withheld::Panicked).contains("panicked"));
        assert!(error(Withheld::TimedOut { after: Duration::from_secs(1) }).contains("not done after 1s"));
        assert!(error(Withheld::Busy).contains("still at work"));
        assert!(error(Withheld::Failed { reason: "why".to_owned() }).contains("why"));
    }

    #[test]
    fn a_first_generation_and_an_old_predecessor_have_no_state() {
        let (now, name) = (Instant::now(), || ("s".to_owned(), false));
        for gives_state in [None, Some(false)] {
            let (answer, mut heard) = oneshot::channel();
            Asking::new(BOUNDS, gives_state).ask(now, name(), None, answer);
            assert!(heard.try_recv().unwrap().unwrap().is_none());
        }
        let (answer, mut heard) = oneshot::channel();
        Asking::new(BOUNDS, Some(true)).ask(now, name(), None, answer);
        assert!(matches!(heard.try_recv().unwrap(), Err(StateError::PredecessorDied { .. })));
    }

    #[test]
    fn g5_silence_ends_and_so_does_death() {
        let mut asker = Asking::new(BOUNDS, Some(true));
        let mut heard = asking(&mut asker);
        let deadline = asker.deadline().unwrap();
        asker.timeout(deadline - Duration::from_millis(1));
        assert!(heard.try_recv().is_err());
        asker.timeout(deadline);
        assert!(matches!(heard.try_recv().unwrap(), Err(StateError::Unanswered { .. })));
        assert_eq!(asker.deadline(), None);
        asker.answered(0, StateAnswer::Withheld(Withheld::Panicked), vec![]);

        let mut heard = asking(&mut asker);
        asker.lost();
        assert!(matches!(heard.try_recv().unwrap(), Err(StateError::PredecessorDied { .. })));
    }

    #[tokio::test]
    async fn what_was_made_for_one_successor_is_not_for_the_next() {
        let providers = Providers::default();
        providers.set("s".to_owned(), false, 1, |_| Ok(()));
        let mut giving = Giving::new(BOUNDS);
        giving.asked(&providers, 1, "s".to_owned(), false);
        giving.forget();
        let made = giving.next().await;
        giving.made(made);
        assert!(giving.is_idle());
        giving.asked(&providers, 1, "s".to_owned(), false);
        let made = giving.next().await;
        giving.made(made);
        assert!(matches!(&giving.answers[0], (Message::State { id: 1, .. }, Some(_))));
    }

    #[tokio::test]
    async fn g5_a_provider_that_hangs_is_answered_for_and_not_called_again() {
        let providers = Providers::default();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let released = std::sync::Mutex::new(released);
        providers.set("s".to_owned(), false, 1, move |_| {
            let _ = released.lock().unwrap().recv();
            Ok(())
        });
        // Not by a paused clock: that stands still as long as a blocking thread is at work.
        let time = Duration::from_millis(20);
        let mut giving = Giving::new(Bounds { time, ..BOUNDS });
        giving.asked(&providers, 1, "s".to_owned(), false);
        let made = giving.next().await;
        assert!(matches!(made.outcome, Err(Withheld::TimedOut { after }) if after == time));
        giving.asked(&providers, 2, "s".to_owned(), false);
        let busy = StateAnswer::Withheld(Withheld::Busy);
        assert_eq!(giving.answers[0].0, Message::State { id: 2, answer: busy });
        drop(release);
    }

    #[test]
    fn a_flood_of_requests_is_not_remembered() {
        let (providers, mut giving) = (Providers::default(), Giving::new(BOUNDS));
        for id in 0..10 * MAX_REQUESTS as u64 {
            giving.asked(&providers, id, "s".to_owned(), id % 2 == 0);
        }
        assert_eq!(giving.answers.len() + giving.at_end.len(), MAX_REQUESTS);
        assert!(giving.give_at_end(&providers) && giving.is_stuck());
    }
}
