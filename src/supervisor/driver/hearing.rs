//! What the driver hears: commands, signals, and the workers.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Driver;
use crate::aside::{Aside, STAY, WAITING};
use crate::handdown::peer::Did;
use crate::handover::history::FailureKind;
use crate::handover::launch::Requested;
use crate::handover::message::{Message, Takes, Told};
use crate::handover::supervise::Worker;
use crate::handover::{Failure, Refusal};
use crate::operate::control::message::Reply;
use crate::restarter::RestartError;
use crate::restarter::signals::{HOOK, Reaction, Signal};
use crate::sockets::socket::Socket;
use crate::supervisor::builder::BeforeRestart;
use crate::supervisor::leftovers::Leftovers;
use crate::supervisor::orphans::Children;
use crate::supervisor::signals::Meaning;
use crate::supervisor::worker::Process;
use crate::supervisor::{Answer, Command, WorkerRole};
use crate::sys::arrivals::Arrival;
use crate::sys::pidfd::Exit;

impl Driver {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Restart { answer } => self.request(now, answer, None),
            Command::Stop => self.machine.stop(now),
            Command::Hammer => self.machine.hammer(now),
            Command::Status { answer } => {
                // If the future was dropped, nobody wants the answer.
                let _ = answer.send(self.status());
            }
        }
    }

    pub(super) fn signal(&mut self, now: Instant, arrival: &Arrival, meaning: Meaning) {
        let signal = Signal::of(arrival);
        let Meaning::Reaction(reaction) = meaning else {
            // The first one serves before it has settled.
            let worker = self.machine.serving().or(self.machine.candidate());
            if let Some(process) = worker.and_then(|worker| self.workers.get(&worker)) {
                say!(info: %signal, pid = process.pid, "forwarding a signal");
                process.pass_on(arrival);
            }
            return;
        };
        say!(info: %signal, ?reaction, "signal");
        // Two are one wait too many: an operator who stops once more means now.
        let is_late = self.hooking.is_some();
        self.hooked(now);
        match self.signals.map.begin(signal, reaction).filter(|_| !is_late) {
            Some(hooking) => self.hooking = Some(hooking),
            None => self.react(now, signal, reaction),
        }
    }

    /// The hooks before a reaction have run, or are not waited for.
    pub(super) fn hooked(&mut self, now: Instant) {
        if let Some(hooking) = self.hooking.take() {
            self.react(now, hooking.signal, hooking.reaction);
        }
    }

    fn react(&mut self, now: Instant, signal: Signal, reaction: Reaction) {
        match reaction {
            Reaction::Restart => self.request(now, None, None),
            Reaction::Stop => self.machine.stop(now),
            Reaction::Hammer => self.machine.hammer(now),
            Reaction::Hooks => {}
        }
        self.act();
        self.signals.map.go_on(signal);
    }

    /// `asker`: the worker that asks, if it is one.
    pub(super) fn request(&mut self, now: Instant, answer: Option<Answer>, asker: Option<Worker>) {
        let allowed = match &mut self.hooks.before_restart {
            _ if !self.restarts => Err(Refusal::Disabled),
            Some(hook) => permit(hook, &self.children),
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
                Err(error) => {
                    say_seldom!(warn: worker, %error, "a worker's socket is not kept for the next one")
                }
            },
            Did::Say(Message::HandDown { name }, fds) => {
                let kept = fds.into_iter().next().is_some_and(|fd| self.store.hand_down(name.clone(), fd));
                if !kept {
                    say_seldom!(warn: worker, name, "a worker's descriptor is not kept for the next one");
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
                say_seldom!(warn: worker, %error, "a worker cannot be understood");
                self.machine.garbage(now, worker, error.to_string());
            }
            Did::Die => {
                if let Some(pid) = self.workers.get_mut(&worker).and_then(Process::goes_on) {
                    return say!(info: worker, pid, "the worker's starter has ended, its main process goes on");
                }
                let Some(process) = self.workers.remove(&worker) else { return };
                // Before its group is killed.
                let left = self.left_behind();
                let exit = process.reap().unwrap_or(Exit::Unknown);
                // One that forks in this moment is missed by one of the two looks.
                let left = left.or(self.leftovers().and_then(|leftovers| leftovers.kill_holders()));
                self.gone(worker, process.pid);
                say!(info: worker, pid = process.pid, how = %exit, "a worker is gone");
                self.signalled.remove(&worker);
                self.readiness.remove(&worker);
                self.last_exit = Some(exit);
                let lived = process.started.elapsed();
                let how = self.operating.with_last_words(worker, self.with_advice(worker, exit, lived));
                self.operating.gone(worker, process.pid);
                match left {
                    Some(left) if exit == Exit::Code(0) && self.role(worker) != WorkerRole::Leaving => {
                        self.daemonised(
                            now,
                            worker,
                            &format!("{how}, and left pid {left} behind with its sockets"),
                        );
                    }
                    _ => self.machine.died(now, worker, how),
                }
            }
        }
    }

    /// How it ended. With what may be the reason, where a program may be new here: it failed by itself, soon,
    /// and no other one serves.
    fn with_advice(&self, worker: Worker, exit: Exit, lived: Duration) -> String {
        let is_first = self.machine.serving().is_none_or(|serving| serving == worker);
        let advice = match exit {
            Exit::Code(1..) if is_first && lived < YOUNG => self.maker.advice(),
            _ => None,
        };
        advice.map_or_else(|| exit.to_string(), |advice| format!("{exit} ({advice})"))
    }

    /// One that goes into the background does so each time: there is no use in starting the first one again.
    fn daemonised(&mut self, now: Instant, worker: Worker, how: &str) {
        let reason = format!("{how}: it daemonises; run it in the foreground");
        match worker {
            1 => self.machine.spawn_failed(now, worker, Failure::Spawn { reason }),
            _ => self.machine.died(now, worker, reason),
        }
    }

    /// A process that a foreign worker has left with a socket, if there is one.
    fn left_behind(&self) -> Option<i32> {
        self.leftovers()?.holders().first().copied()
    }

    /// Not while one is being started: nobody knows its number yet. What is left then is found the next time.
    fn leftovers(&self) -> Option<Leftovers> {
        let is_known = self.maker.is_foreign() && self.spawning.is_none();
        let processes = self.workers.values().chain(self.abandoned.values());
        let alive = processes.flat_map(Process::numbers);
        is_known.then(|| Leftovers::new(&self.store.sockets(), alive))
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

    pub(super) fn became_ready(&mut self, now: Instant, worker: Worker, ready: Result<(), Failure>) {
        self.readiness.remove(&worker);
        if let Err(failure) = ready {
            return self.machine.message(now, worker, Message::Failed { reason: failure.to_string() });
        }
        if !self.machine.is_on_probation() {
            let ready = Message::Ready { unclaimed: Vec::new(), takes: Takes::default(), answers: true };
            self.machine.message(now, worker, ready);
        }
        // One that has just shown that it is ready has shown that it lives.
        self.machine.message(now, worker, Message::Accepting);
    }
}

/// What the program's own hook says of a restart.
fn permit(hook: &BeforeRestart, children: &Arc<Children>) -> Result<(), Refusal> {
    let (hook, children, runtime) = (Arc::clone(hook), Arc::clone(children), Handle::current());
    let said = VETO.ask(HOOK, move || {
        let _within = runtime.enter();
        let mut hook = hook.lock().unwrap_or_else(PoisonError::into_inner);
        children.hold(&mut *hook)
    });
    let said = said.unwrap_or_else(|| {
        Err(format!("the hook before a restart has panicked, or not answered within {HOOK:?}"))
    });
    said.map_err(|reason| Refusal::Vetoed { reason })
}

/// Not that of other hooks: one of them that hangs is no reason to refuse restarts.
static VETO: Aside = Aside::new("heirloom-veto", WAITING, Some(STAY));

/// Longer than a server takes to find its address in use. A later death has other reasons.
const YOUNG: Duration = Duration::from_secs(10);
