//! What the driver hears: commands, signals, and the workers.

use std::time::{Duration, Instant};

use super::Driver;
use crate::handover::history::FailureKind;
use crate::handover::launch::Requested;
use crate::handover::message::{Message, Told};
use crate::handover::supervise::Worker;
use crate::handover::{Failure, Refusal};
use crate::listeners::Socket;
use crate::operate::control::message::Reply;
use crate::restarter::RestartError;
use crate::restarter::peer::Did;
use crate::signals::{Reaction, Signal};
use crate::supervisor::signals::Meaning;
use crate::supervisor::worker::Process;
use crate::supervisor::{Answer, Command};
use crate::sys::pidfd::Exit;

impl Driver {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Restart { answer } => self.request(now, answer, None),
            Command::Stop => self.machine.stop(now),
            Command::Hammer => self.machine.hammer(now),
            Command::Status { answer } => {
                // Whoever has dropped the future does not want to know.
                let _ = answer.send(self.status());
            }
        }
    }

    pub(super) fn signal(&mut self, now: Instant, signal: Signal, meaning: Meaning) {
        let Meaning::Reaction(reaction) = meaning else {
            // The first one serves before it has settled.
            let worker = self.machine.serving().or(self.machine.candidate());
            if let Some(process) = worker.and_then(|worker| self.workers.get(&worker)) {
                say!(info: %signal, pid = process.pid, "forwarding a signal");
                process.signal(signal.number());
            }
            return;
        };
        say!(info: %signal, ?reaction, "signal");
        self.signals.map.run_before(signal);
        match reaction {
            Reaction::Restart => self.request(now, None, None),
            Reaction::Stop => self.machine.stop(now),
            Reaction::Hammer => self.machine.hammer(now),
            Reaction::Hooks => {}
        }
        self.act();
        self.signals.map.run_after(signal);
    }

    /// `asker`: the worker that asks, if it is one.
    pub(super) fn request(&mut self, now: Instant, answer: Option<Answer>, asker: Option<Worker>) {
        let allowed = match &mut self.hooks.before_restart {
            _ if !self.restarts => Err(Refusal::Disabled),
            Some(hook) => self.children.hold(hook).map_err(|reason| Refusal::Vetoed { reason }),
            None => Ok(()),
        };
        match allowed.and_then(|()| self.machine.request(now)) {
            Ok(Requested::Started) => self.answers.extend(answer),
            Ok(_) => {
                if let Some(Answer::Control(follower)) = &answer {
                    follower.tell(&Reply::Remembered);
                }
                self.later.extend(answer);
            }
            Err(refusal) => {
                say!(warn: %refusal, "restart refused");
                self.operating.came_to_nothing(FailureKind::Refused, &refusal.to_string());
                if let Some(process) = asker.and_then(|worker| self.workers.get(&worker)) {
                    process.tell(&Message::Restarted(Told::Refused(refusal.clone())));
                }
                answer
                    .into_iter()
                    .for_each(|answer| answer.give(&Err(RestartError::Refused(refusal.clone()))));
            }
        }
    }

    pub(super) fn worker_did(&mut self, now: Instant, worker: Worker, did: Did) {
        match did {
            Did::Say(Message::Restart, fds) => match fds.into_iter().next() {
                Some(operator) => self.asked_by_way_of_a_worker(operator),
                None => self.request(now, None, Some(worker)),
            },
            Did::Say(Message::Keep(socket), fds) => match self.store.keep(worker, socket, fds) {
                Ok(Some(socket)) => self.offer(worker, &socket),
                Ok(None) => {}
                Err(error) => say!(warn: worker, %error, "a worker's socket is not kept for the next one"),
            },
            Did::Say(Message::HandDown { name }, fds) => {
                let kept = fds.into_iter().next().is_some_and(|fd| self.store.hand_down(name.clone(), fd));
                if !kept {
                    say!(warn: worker, name, "a worker's descriptor is not kept for the next one");
                }
            }
            Did::Say(Message::Withhold { name }, _) => self.store.withhold(&name),
            Did::Say(message, _) => {
                say!(debug: worker, ?message, "a worker says");
                let Some(message) = self.operating.hears(worker, message) else { return };
                if matches!(message, Message::Ready { .. }) {
                    self.initialised();
                }
                self.machine.message(now, worker, message);
            }
            Did::Babble(error) => {
                say!(warn: worker, %error, "a worker cannot be understood");
                self.machine.garbage(now, worker, error.to_string());
            }
            Did::Die => {
                if let Some(pid) = self.workers.get_mut(&worker).and_then(Process::goes_on) {
                    return say!(info: worker, pid, "the worker's starter has ended, its main process goes on");
                }
                let Some(process) = self.workers.remove(&worker) else { return };
                let exit = process.reap().unwrap_or(Exit::Unknown);
                self.gone(worker, process.pid);
                say!(info: worker, pid = process.pid, how = %exit, "a worker is gone");
                self.signalled.remove(&worker);
                self.readiness.take_if(|(whose, _)| *whose == worker);
                self.last_exit = Some(exit);
                let lived = process.started.elapsed();
                let how = self.operating.with_last_words(worker, self.with_advice(worker, exit, lived));
                self.operating.gone(worker, process.pid);
                self.machine.died(now, worker, how);
            }
        }
    }

    /// How it ended. With what may be the reason, where a program may be new here: it failed by itself, soon, and no other
    /// one serves.
    fn with_advice(&self, worker: Worker, exit: Exit, lived: Duration) -> String {
        let is_first = self.machine.serving().is_none_or(|serving| serving == worker);
        let advice = match exit {
            Exit::Code(1..) if is_first && lived < YOUNG => self.maker.advice(),
            _ => None,
        };
        advice.map_or_else(|| exit.to_string(), |advice| format!("{exit} ({advice})"))
    }

    /// The worker that is to replace this one, or has, was started without it.
    fn offer(&self, binder: Worker, socket: &Socket) {
        let other = self.machine.candidate().or(self.machine.serving()).filter(|other| *other != binder);
        if let Some(process) = other.and_then(|other| self.workers.get(&other)) {
            process.offer(socket);
        }
    }

    pub(super) fn gone(&self, worker: Worker, pid: u32) {
        if let Ok(pid) = i32::try_from(pid) {
            self.maker.gone(worker);
            self.children.reaped(pid);
        }
    }

    pub(super) fn became_ready(&mut self, now: Instant, ready: Result<(), Failure>) {
        let Some((worker, _)) = self.readiness.take() else { return };
        let message = match ready {
            Ok(()) => Message::Ready { unclaimed: Vec::new(), takes_moves: false },
            Err(failure) => Message::Failed { reason: failure.to_string() },
        };
        self.machine.message(now, worker, message);
    }
}

/// Longer than a server takes to find its address in use. A later death has other reasons.
const YOUNG: Duration = Duration::from_secs(10);
