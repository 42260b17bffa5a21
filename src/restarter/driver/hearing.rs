//! What the driver hears, and which machine is told: commands, signals, and the two peers.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::outcome::RestartError;
use super::super::shared::{Answer, Command};
use super::{Attempt, Driver, Step};
use crate::handdown::peer::{Did, Peer, kill_unwatched};
use crate::handdown::recipe::Made;
use crate::handover::launch::Requested;
use crate::handover::message::Message;
use crate::handover::{Failure, Refusal};
use crate::operate::control::message::Reply;
use crate::operate::event::Event;
use crate::restarter::ending::Ending;
use crate::restarter::signals::{Reaction, Signal};
use crate::sys::arrivals::Arrival;
use crate::sys::pidfd::Exit;

impl Driver {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Ready => {
                self.shared.descriptors.close_unclaimed();
                let unclaimed = self.shared.listeners.close_unclaimed();
                self.keep();
                self.succeed.ready(now, unclaimed);
            }
            Command::Failed { reason, said } => {
                // The predecessor's log gets it, or else the program prints the error that it has in its
                // hands.
                say!(debug: reason, "initialisation failed");
                self.succeed.failed(reason);
                self.waiting.said.push(said);
            }
            Command::Words { text, said } => {
                if let Some(decider) = self.decider() {
                    decider.send(&Message::Words { text });
                }
                let _ = said.send(());
            }
            Command::State { name, at_end, answer } => {
                self.asking.ask(now, (name, at_end), self.predecessor.as_ref(), answer);
            }
            Command::Keep => self.keep(),
            #[cfg(feature = "udp")]
            Command::Tell(event) => self.tell(event),
            Command::Restart { answer } => self.request(now, answer),
            Command::Shutdown { within } => self.stop(now, within, &Message::Stop),
            Command::Hammer => {
                self.stop(now, None, &Message::Stop);
                self.farewell.hammer_is_due = true;
            }
        }
    }

    pub(super) fn signal(&mut self, now: Instant, arrival: &Arrival) {
        let signal = Signal::of(arrival);
        let reaction = self.signals.inbox.reaction(&self.signals.map, arrival).unwrap_or(Reaction::Hooks);
        say!(info: %signal, ?reaction, "signal");
        // Two are one wait too many: an operator who stops once more means now.
        let is_late = self.signals.hooking.is_some();
        self.hooked(now);
        match self.signals.map.begin(signal, reaction).filter(|_| !is_late) {
            Some(hooking) => self.signals.hooking = Some(hooking),
            None => self.react(now, signal, reaction),
        }
    }

    /// The hooks before a reaction have run, or are not waited for.
    pub(super) fn hooked(&mut self, now: Instant) {
        if let Some(hooking) = self.signals.hooking.take() {
            self.react(now, hooking.signal, hooking.reaction);
        }
    }

    fn react(&mut self, now: Instant, signal: Signal, reaction: Reaction) {
        match reaction {
            Reaction::Restart => self.request(now, None),
            Reaction::Stop => self.stop_by_signal(now, signal),
            Reaction::Hammer => self.command(now, Command::Hammer),
            Reaction::Hooks => {}
        }
        self.act();
        self.signals.map.go_on(signal);
    }

    pub(super) fn request(&mut self, now: Instant, answer: Option<Answer>) {
        if self.is_supervised() {
            return self.ask_supervisor(answer);
        }
        let requested = match &self.refusal {
            Some(refusal) => Err(refusal.clone()),
            None if !self.succeed.is_serving() => {
                self.succeed.request();
                self.tell(Event::Remembered);
                Ok(Requested::Remembered)
            }
            None => self.launch.request(now),
        };
        match requested {
            Ok(requested @ Requested::Started) => self.waiting.now.extend(told(answer, requested)),
            Ok(requested) => self.waiting.later.extend(told(answer, requested)),
            Err(refusal) => self.refuse(refusal, answer),
        }
    }

    pub(super) fn refuse(&mut self, refusal: Refusal, answer: Option<Answer>) {
        self.tell(Event::Refused(refusal.clone()));
        self.answer(answer, &Err(RestartError::Refused(refusal)));
    }

    fn stop_by_signal(&mut self, now: Instant, signal: Signal) {
        let left = self.has_left();
        // A supervisor replaces a worker that was told to stop behind its back.
        self.stop(now, None, &Message::Leaving);
        if left {
            // A second one, and the program is still initialising: there is nothing to drain, and only the
            // signal's own meaning is left to end it.
            crate::aside::say::finish();
            let _ = signal_hook::low_level::emulate_default_handler(signal.number());
        }
    }

    /// `word`: what a supervisor is told.
    pub(super) fn stop(&mut self, now: Instant, within: Option<Duration>, word: &Message) {
        if let Some(superior) = &mut self.superior {
            if !superior.machine.asked_to_stop() {
                return;
            }
            // That this process leaves, the machine says by itself while it is not the service; and once it
            // has handed over, its end is nobody else's. A supervisor of an older release would stop all
            // workers for it.
            if self.is_the_service() {
                self.tell_supervisor(word);
            }
        }
        self.stop_service(now, within, word);
    }

    fn is_the_service(&self) -> bool {
        self.succeed.is_serving() && !self.operating.has_handed_over()
    }

    pub(super) fn stop_service(&mut self, now: Instant, within: Option<Duration>, word: &Message) {
        // It may be on already, by the other side's word.
        if let Some(within) = within {
            self.serving.hasten(now, within);
        }
        if self.succeed.is_serving() {
            self.launch.stop(within);
        } else {
            let is_told = self.superior.is_some();
            let word = if is_told { word.clone() } else { Message::Leaving };
            self.succeed.stop(within, word);
        }
        if self.successor().is_some() {
            // Held for the successor's sake; an operator who asks again does not want to wait for that.
            self.release_end();
        }
    }

    pub(super) fn made(&mut self, now: Instant, made: Made) {
        let Made { spawned, channel } = made;
        let pid = u32::try_from(spawned.pid).unwrap_or_default();
        let Some(attempt) = &mut self.attempt else { return };
        let reaper = spawned.pid;
        match Peer::new(channel, spawned.pidfd) {
            Ok(peer) => {
                attempt.step = Step::Running { pid, peer };
                let after = attempt.requested.elapsed();
                self.tell(Event::Spawned { pid, after });
                self.launch.spawned();
            }
            Err(error) => {
                // What cannot be watched must not become the service.
                self.abandoned.push(tokio::spawn(kill_unwatched(reaper)));
                self.attempt = None;
                self.launch.spawn_failed(
                    now,
                    Failure::Spawn { reason: format!("cannot watch the successor: {error}") },
                );
            }
        }
    }

    pub(super) fn successor_did(&mut self, now: Instant, did: Did) {
        match did {
            Did::Say(Message::Taken { ids }, _) => {
                let spoken = self.moves.taken(&ids);
                self.moved(&spoken);
            }
            Did::Say(Message::Refused { ids }, _) => self.moves.refused(&ids),
            Did::Say(Message::StateRequest { id, name, at_end }, _) => {
                self.giving.asked(&self.shared.providers, id, name, at_end);
            }
            Did::Say(Message::Settled { .. }, _) if self.superior.is_some() => {
                if let Some(superior) = &mut self.superior {
                    superior.machine.successor_settled();
                }
                self.act_on_supervised(now, Vec::new());
            }
            Did::Say(Message::Words { text }, _) => self.operating.last_words(text),
            Did::Say(message, _) => {
                say!(debug: ?message, "the successor says");
                if let (Message::Ready { takes, .. }, Some(attempt)) = (&message, &mut self.attempt) {
                    attempt.takes = *takes;
                    self.tell_step(
                        &self.operating.step(|pid, after_ms| Reply::Initialised { pid, after_ms }),
                    );
                }
                self.launch.message(now, message);
            }
            Did::Babble(error) => {
                say!(warn: %error, "the successor cannot be understood");
                self.launch.garbage(now, error.to_string());
            }
            Did::Die => {
                let exit = self.reap();
                let how = exit.map(|exit| exit.to_string()).unwrap_or_default();
                let how = self.operating.with_last_words(how);
                if !self.launch.owns_service() && exit.is_some_and(is_crash) {
                    self.shared.service.successor_crashed(&how);
                }
                say!(debug: how, "the successor is gone");
                self.operating.successor_is_gone(self.successor_pid().unwrap_or_default());
                self.shared.tracker.withdraw_moves();
                self.moves.lost();
                self.giving.forget();
                if let Some(superior) = &mut self.superior {
                    superior.machine.successor_died();
                    self.act_on_supervised(now, Vec::new());
                }
                // The machine first: an action that it still asks for must not reach the next successor.
                self.launch.died(now, Failure::Died { how });
                if !self.launch.in_progress() {
                    self.attempt = None;
                }
            }
        }
    }

    pub(super) fn predecessor_did(&mut self, now: Instant, did: Did) {
        match did {
            Did::Say(Message::Move { connections }, fds) => {
                self.arrivals.push(connections, fds, &self.shared.tracker)
            }
            Did::Say(Message::State { id, answer }, fds) => self.asking.answered(id, answer, fds),
            Did::Say(Message::Followers, fds) => self.adopt(fds),
            Did::Say(Message::Drained { took, moved, aborted, moves }, _) => {
                self.operating.predecessor_drained(took, moved, aborted, &moves);
            }
            Did::Say(message, _) => {
                say!(debug: ?message, "the predecessor says");
                if self.superior.is_none() {
                    self.succeed.message(now, message);
                }
            }
            Did::Babble(error) => say!(warn: %error, "the predecessor cannot be understood"),
            Did::Die => {
                say!(debug: "the predecessor is gone");
                self.predecessor = None;
                self.shared.is_watched.store(false, Ordering::Relaxed);
                self.asking.lost();
                // A supervisor sees it too, and decides.
                if self.superior.is_none() {
                    self.succeed.predecessor_died();
                }
            }
        }
    }

    fn reap(&self) -> Option<Exit> {
        let Some(Attempt { step: Step::Running { peer, .. }, .. }) = &self.attempt else { return None };
        match peer.pidfd().reap() {
            Ok(Some(exit)) => Some(exit),
            Ok(None) | Err(_) => Some(Exit::Unknown),
        }
    }
}

/// Whether no service ends so on purpose: not after a stop, and not because it has a successor of its own.
fn is_crash(exit: Exit) -> bool {
    match exit {
        Exit::Code(status) => status != 0 && status != i32::from(Ending::HAMMERED),
        Exit::Signal(_) => true,
        Exit::Unknown => false,
    }
}

/// An operator is told what became of the request.
fn told(answer: Option<Answer>, requested: Requested) -> Option<Answer> {
    if let Some(Answer::Control(follower)) = &answer
        && requested == Requested::Remembered
    {
        follower.tell(&Reply::Remembered);
    }
    answer
}
