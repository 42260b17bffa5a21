//! The driver's part under a supervisor: doing as it is told, and giving it what the workers to come are to
//! have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::outcome::{Outcome, RestartError};
use super::super::shared::{Answer, Shared};
use super::moving::is_for_later;
use super::{Attempt, Driver, Step};
use crate::handdown::peer::{Did, Peer};
use crate::handover::message::{KeptSocket, Message, Takes, Told};
use crate::handover::supervised::Action;
use crate::handover::{Refusal, Supervised};
use crate::operate::event::Event;
use crate::sockets::inherited::offered;
use crate::sockets::socket::Socket;
use crate::sys::channel::Channel;
use crate::sys::pidfd::Pidfd;

/// The supervisor, as this worker sees it.
#[derive(Debug)]
pub(super) struct Superior {
    /// `None` once it is gone.
    pub(super) peer: Option<Peer>,
    pub(super) machine: Supervised,
    /// Whether it goes on with operators who want a restart.
    pub(super) takes_operators: bool,
    keeping: Keeping,
}

/// What the supervisor keeps for the workers to come, and what it has not been told yet.
#[derive(Debug, Default)]
struct Keeping {
    sockets: BTreeSet<u64>,
    descriptors: BTreeMap<String, Arc<OwnedFd>>,
    unsent: VecDeque<Unsent>,
}

/// A message, and what goes along.
#[derive(Debug)]
struct Unsent {
    message: Message,
    descriptor: Option<Arc<OwnedFd>>,
    socket: Option<Arc<Socket>>,
}

impl Superior {
    pub(super) fn new(peer: Peer, machine: Supervised, takes_operators: bool) -> Superior {
        Superior { peer: Some(peer), machine, takes_operators, keeping: Keeping::default() }
    }

    /// Whether it is the supervisor that decides.
    pub(super) fn decides(&self) -> bool {
        self.peer.is_some() && !self.machine.is_free()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.peer.is_some() && !self.keeping.unsent.is_empty()
    }

    /// Sends what can be sent; the rest waits for room in the channel.
    pub(super) fn send(&mut self) {
        let Some(peer) = &self.peer else { return };
        while let Some(Unsent { message, descriptor, socket }) = self.keeping.unsent.front() {
            let mut fds: Vec<BorrowedFd<'_>> = descriptor.iter().map(|fd| fd.as_fd()).collect();
            fds.extend(socket.iter().flat_map(|socket| [Some(socket.as_fd()), socket.lock_fd()]).flatten());
            match peer.send_with(message, &fds) {
                Err(error) if is_for_later(&error) => return,
                Err(error) => say_seldom!(warn: %error, ?message, "the supervisor cannot be told"),
                Ok(()) => {}
            }
            self.keeping.unsent.pop_front();
        }
    }

    /// Finds out what is new since the last time.
    fn keep(&mut self, shared: &Shared) {
        for socket in shared.listeners.open() {
            if self.keeping.sockets.insert(socket.cookie) && !socket.was_inherited() {
                // From here on its path is the supervisor's to remove.
                socket.surrender_place();
                let message = Message::Keep(socket.described());
                self.keeping.unsent.push_back(Unsent { message, descriptor: None, socket: Some(socket) });
            }
        }
        let now: BTreeMap<_, _> = shared.descriptors.handed_down().into_iter().collect();
        for name in self.keeping.descriptors.keys().filter(|name| !now.contains_key(*name)) {
            let message = Message::Withhold { name: name.clone() };
            self.keeping.unsent.push_back(Unsent { message, descriptor: None, socket: None });
        }
        for (name, fd) in &now {
            if self.keeping.descriptors.get(name).is_none_or(|known| !Arc::ptr_eq(known, fd)) {
                let message = Message::HandDown { name: name.clone() };
                let descriptor = Some(Arc::clone(fd));
                self.keeping.unsent.push_back(Unsent { message, descriptor, socket: None });
            }
        }
        self.keeping.descriptors = now;
        self.send();
    }
}

impl Driver {
    /// Whether a supervisor decides for this process.
    pub(super) fn is_supervised(&self) -> bool {
        self.superior.as_ref().is_some_and(Superior::decides)
    }

    /// The process that decides whether this one is to accept.
    pub(super) fn decider(&self) -> Option<&Peer> {
        match &self.superior {
            Some(superior) => superior.peer.as_ref(),
            None => self.predecessor.as_ref(),
        }
    }

    pub(super) fn tell_supervisor(&self, message: &Message) {
        if let Some(peer) = self.superior.as_ref().and_then(|superior| superior.peer.as_ref()) {
            peer.send(message);
        }
    }

    pub(super) fn keep(&mut self) {
        if let Some(superior) = &mut self.superior
            && superior.decides()
        {
            superior.keep(&self.shared);
        }
    }

    pub(super) fn ask_supervisor(&mut self, answer: Option<Answer>) {
        if self.serving.is_draining() {
            let stopping = self.serving.is_stopping();
            let refusal = if stopping { Refusal::Stopping } else { Refusal::Settled };
            return self.refuse(refusal, answer);
        }
        say!(info: "restart: asking the supervisor");
        if let Some(Answer::Control(follower)) = &answer
            && self.leave_to_supervisor(follower)
        {
            return;
        }
        self.waiting.now.extend(answer);
        self.tell_supervisor(&Message::Restart);
    }

    pub(super) fn supervisor_did(&mut self, now: Instant, did: Did) {
        match did {
            Did::Say(Message::Keep(described), fds) => self.is_offered(described, fds),
            Did::Say(message, fds) => {
                say!(debug: ?message, "the supervisor says");
                if self.succeed.is_serving() || message == Message::Hammer {
                    self.obey(now, message, fds);
                } else {
                    self.succeed.message(now, message);
                }
            }
            Did::Babble(error) => say!(warn: %error, "the supervisor cannot be understood"),
            Did::Die => self.supervisor_died(now),
        }
    }

    /// The worker that serves has bound it since this one was started.
    fn is_offered(&self, described: KeptSocket, fds: Vec<OwnedFd>) {
        match fds.into_iter().next().map(|fd| offered(fd, described)) {
            Some(Ok(socket)) => self.shared.listeners.offer(socket),
            Some(Err(error)) => say!(warn: %error, "a socket from the supervisor cannot be used"),
            None => say!(warn: "a socket from the supervisor has not arrived"),
        }
    }

    fn supervisor_died(&mut self, now: Instant) {
        say!(warn: "the supervisor is gone");
        let (alone, successor) = (self.predecessor.is_none(), self.attempt.is_some());
        let Some(superior) = &mut self.superior else { return };
        superior.peer = None;
        if self.succeed.is_serving() {
            superior.machine.supervisor_died(now, successor);
        } else {
            superior.machine.supervisor_died_early(self.succeed.is_accepting(), alone);
        }
        self.act_on_supervised(now, Vec::new());
    }

    fn obey(&mut self, now: Instant, message: Message, fds: Vec<OwnedFd>) {
        if let Some(superior) = &mut self.superior {
            superior.machine.message(message);
        }
        self.act_on_supervised(now, fds);
    }

    pub(super) fn act_on_supervised(&mut self, now: Instant, mut fds: Vec<OwnedFd>) {
        while let Some(action) = self.superior.as_mut().and_then(|superior| superior.machine.poll_action()) {
            match action {
                Action::Meet { pid } => self.meet(now, pid, std::mem::take(&mut fds)),
                Action::PauseAccepting { unclaimed } => {
                    let sockets = self.shared.listeners.open();
                    self.shared.listeners.pause(&sockets, &indexes(&sockets, &unclaimed));
                    let (pid, after) = self.met();
                    self.tell(Event::Ready { pid, after });
                }
                Action::ResumeAccepting => self.shared.listeners.accept(),
                Action::HandOver { unclaimed, takes } => self.obey_hand_over(now, &unclaimed, takes),
                Action::Shutdown => self.stop_service(now, None, &Message::Leaving),
                Action::Hammer => {
                    self.stop_service(now, None, &Message::Leaving);
                    self.farewell.hammer_is_due = true;
                }
                Action::GoFree => say!(warn: "serving on without a supervisor"),
                Action::TakeOver => {
                    say!(warn: "serving on without a supervisor");
                    if let Some(predecessor) = &self.predecessor {
                        predecessor.send(&Message::Settled { restart_again: false });
                    }
                    self.succeed.predecessor_died();
                }
                Action::Tell(told) => self.told(told),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    /// The successor, to which connections move and which asks for state; it is the supervisor's child.
    fn meet(&mut self, now: Instant, pid: u32, fds: Vec<OwnedFd>) {
        let mut fds = fds.into_iter();
        let peer = fds.next().zip(fds.next()).and_then(|(channel, pidfd)| {
            let channel = Channel::from_fd(channel).ok()?;
            Peer::new(channel, Pidfd::from_fd(pidfd).ok()?).ok()
        });
        let Some(peer) = peer else {
            // Out of descriptors, say. The connections are closed with notice then.
            say!(warn: pid, "cannot reach the successor, no connection will move to it");
            return;
        };
        self.giving.forget();
        self.operating.starts_a_successor(now);
        let sockets = self.shared.listeners.open();
        let step = Step::Running { pid, peer };
        self.attempt = Some(Attempt { requested: now, sockets, step, takes: Takes::default() });
        self.tell(Event::Spawned { pid, after: Duration::ZERO });
    }

    fn obey_hand_over(&mut self, now: Instant, unclaimed: &[u64], takes: Takes) {
        // Before the next step: what is bound in between is in neither, so binding it is refused.
        let sockets = self.shared.listeners.open();
        // What was bound a moment ago must be the supervisor's before it is closed here: its queue would go
        // with it.
        self.keep();
        self.shared.listeners.hand_over(&sockets, &indexes(&sockets, unclaimed));
        if let Some(attempt) = &mut self.attempt {
            attempt.takes = takes;
        }
        self.offer_moves();
        self.operating.hands_over();
        let (pid, after) = self.met();
        self.tell(Event::Settled { pid, after });
        self.answer_all(&Ok(Outcome::Settled { pid }));
        self.serving.handed_over(now);
    }

    fn told(&mut self, told: Told) {
        let result = match told {
            Told::Refused(refusal) => {
                self.tell(Event::Refused(refusal.clone()));
                RestartError::Refused(refusal)
            }
            Told::Failed(failure) => {
                self.tell(Event::Failed(failure.clone()));
                RestartError::Failed(failure)
            }
            Told::TakenBack(failure) => {
                self.tell(Event::TakenBack(failure.clone()));
                RestartError::TakenBack(failure)
            }
            Told::Stopped => RestartError::Stopped,
        };
        self.answer_all(&Err(result));
    }

    fn met(&self) -> (u32, Duration) {
        match &self.attempt {
            Some(Attempt { requested, step: Step::Running { pid, .. }, .. }) => (*pid, requested.elapsed()),
            _ => (0, Duration::ZERO),
        }
    }
}

fn indexes(sockets: &[Arc<Socket>], cookies: &[u64]) -> Vec<u16> {
    let named = sockets.iter().enumerate().filter(|(_, socket)| cookies.contains(&socket.cookie));
    named.filter_map(|(index, _)| u16::try_from(index).ok()).collect()
}
