//! The driver's other half: doing what the machine asks.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use super::{Driver, Spawning};
use crate::aside::own_thread::on_own_thread_or;
use crate::handdown::peer::{Peer, kill_unwatched};
use crate::handdown::recipe::Supervision;
use crate::handover::Failure;
use crate::handover::message::{Message, Takes};
use crate::handover::supervise::{Action, End, Program, Report, Worker};
use crate::restarter::{Outcome, RestartError};
use crate::supervisor::Answer;
use crate::supervisor::making::{Born, Manner, Order};
use crate::supervisor::worker::Process;
use crate::sys::channel::Channel;

impl Driver {
    /// Does what the machine asks, until it asks for nothing more.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Spawn { worker, program, replaces } => self.spawn(worker, program, replaces),
                Action::Send(worker, Message::Probe) if self.asks(worker) => {}
                Action::Send(worker, message) => self.tell_worker(worker, &message),
                Action::Pause(worker, unclaimed) => {
                    let unclaimed = self.cookies_of_candidate(&unclaimed);
                    self.tell_worker(worker, &Message::Pause { unclaimed });
                }
                Action::Resume(worker) => self.tell_worker(worker, &Message::Resume),
                Action::HandOver { worker, unclaimed, takes } => {
                    self.hand_over(now, worker, &unclaimed, takes);
                }
                Action::Stop(worker) => self.stop(now, worker),
                Action::Hammer(worker) => self.hammer(worker),
                Action::Kill(worker) => self.kill(worker),
                Action::Abandon(worker) => self.abandon(worker),
                Action::Report(report) => self.report(report),
                Action::End(end) => self.end(end),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
        let spawning = self.spawning.iter().filter_map(|spawning| spawning.binary);
        let needed: Vec<u64> = self.machine.needed().chain(spawning).collect();
        self.binaries.keep_only(&needed);
    }

    fn spawn(&mut self, worker: Worker, program: Program, replaces: Option<Worker>) {
        self.operating.spawning(replaces);
        let (binary, instead) = match program {
            Program::Good(number) => (Some(number), self.binaries.path(number)),
            Program::Current => (self.binaries.number(self.maker.program()), None),
        };
        self.store.make_lost_again();
        let sockets = self.store.sockets();
        // The two exchange connections and state. Without it they cannot, and nothing else changes.
        let between = replaces.and_then(|replaced| {
            let process = self.workers.get(&replaced).filter(|process| process.manner == Manner::Told)?;
            let (near, far) = Channel::pair().ok()?;
            Some(((replaced, OwnedFd::from(near)), (process.pid, far, process.duplicate_pidfd().ok()?)))
        });
        let (to_replaced, peer) = between.unzip();
        let order = Order {
            generation: worker,
            instead,
            sockets,
            descriptors: self.store.descriptors(),
            supervision: Supervision {
                orphans: self.orphans,
                peer,
                takes_operators: self.operating.takes_operators(),
                adopts: self.children.reaps_orphans(),
            },
            extensions: self.extends.clone(),
        };
        let sockets = order.sockets.iter().map(|socket| socket.cookie).collect();
        let (maker, children) = (Arc::clone(&self.maker), Arc::clone(&self.children));
        // A thread of its own, since an exec from a file system that hangs must not keep a stop from being
        // heard.
        let making = on_own_thread_or(
            "heirloom-start",
            move || children.start(|| maker.make(order), |born| born.made.spawned.pid),
            |no_thread| Err(Failure::Spawn { reason: format!("cannot start a worker: {no_thread}") }),
        );
        self.spawning = Some(Spawning { worker, binary, to_replaced, sockets, making, unwanted: false });
    }

    pub(super) fn made(&mut self, now: Instant, made: Result<Born, Failure>) {
        let Some(spawning) = self.spawning.take() else { return };
        let Spawning { worker, binary, to_replaced, sockets, unwanted, .. } = spawning;
        let born = match made {
            Ok(born) => born,
            Err(failure) => return self.machine.spawn_failed(now, worker, failure),
        };
        let spawned = born.made.spawned;
        let pid = u32::try_from(spawned.pid).unwrap_or_default();
        let peer = match Peer::new(born.made.channel, spawned.pidfd) {
            Ok(peer) => peer,
            Err(error) => {
                // What cannot be watched must not become the service.
                let (pid, children) = (spawned.pid, Arc::clone(&self.children));
                tokio::spawn(async move {
                    kill_unwatched(pid).await;
                    children.reaped(pid);
                });
                let reason = format!("cannot watch the worker: {error}");
                return self.machine.spawn_failed(now, worker, Failure::Spawn { reason });
            }
        };
        say!(info: worker, pid, "worker started");
        let spawned = self.operating.spawned(pid);
        self.tell_step(&spawned);
        let Born { manner, addressee, asker, ready, .. } = born;
        let process = Process { pid, started: now, sockets, manner, addressee, asker, peer, starter: None };
        if unwanted {
            process.kill();
            self.abandoned.insert(worker, process);
            return;
        }
        if let Some((replaced, near)) = to_replaced {
            self.introduce(replaced, &process, &near);
        }
        // Bound since it was begun with.
        for socket in self.store.sockets().iter().filter(|socket| !process.sockets.contains(&socket.cookie)) {
            process.offer(socket);
        }
        self.workers.insert(worker, process);
        if let Some(ready) = ready {
            self.readiness.insert(worker, ready);
        }
        self.machine.spawned(now, worker, binary);
    }

    /// Gives the worker that serves its end of the channel to the one that is to replace it.
    fn introduce(&self, replaced: Worker, new: &Process, near: &OwnedFd) {
        let Some(process) = self.workers.get(&replaced) else { return };
        let message = Message::Successor { pid: new.pid };
        if let Err(error) = process.tell_with(&message, &[near.as_fd(), new.pidfd().as_fd()]) {
            say!(warn: worker = replaced, %error, "a worker does not get to know the one that is to replace it");
        }
    }

    fn tell_worker(&self, worker: Worker, message: &Message) {
        if let Some(process) = self.workers.get(&worker).filter(|process| process.manner == Manner::Told) {
            process.tell(message);
        }
    }

    /// Asks a worker that cannot be told to answer.
    fn asks(&mut self, worker: Worker) -> bool {
        let asker = self.workers.get(&worker).and_then(|process| process.asker.clone());
        let answer = asker.map(|asker| self.readiness.insert(worker, asker.ask()));
        answer.is_some()
    }

    fn cookies_of_candidate(&self, unclaimed: &[u16]) -> Vec<u64> {
        let candidate = self.machine.candidate().and_then(|worker| self.workers.get(&worker));
        candidate.map(|process| process.named(unclaimed)).unwrap_or_default()
    }

    fn hand_over(&mut self, now: Instant, worker: Worker, unclaimed: &[u16], takes: Takes) {
        let new = self.machine.serving().and_then(|worker| self.workers.get(&worker));
        let unwanted = new.map(|process| process.named(unclaimed)).unwrap_or_default();
        self.store.drop_sockets(&unwanted);
        self.operating.replaces(worker);
        self.tell_worker(worker, &Message::HandOver { unclaimed: unwanted, takes });
        if let Some(Process { manner: Manner::Signalled { delay, .. }, .. }) = self.workers.get(&worker) {
            self.signalled.insert(worker, now + *delay);
        }
    }

    fn stop(&mut self, now: Instant, worker: Worker) {
        self.operating.says_goodbye(worker);
        match self.workers.get(&worker).map(|process| process.manner) {
            Some(Manner::Told) => {
                self.tell_worker(worker, &Message::Stop);
                self.wake(worker);
            }
            Some(Manner::Signalled { .. }) => {
                self.signalled.insert(worker, now);
                self.send_due_signals(now);
            }
            None => {}
        }
    }

    pub(super) fn send_due_signals(&mut self, now: Instant) {
        let due: Vec<Worker> =
            self.signalled.iter().filter(|(_, due)| now >= **due).map(|(worker, _)| *worker).collect();
        for worker in due {
            self.signalled.remove(&worker);
            if let Some(process) = self.workers.get(&worker)
                && let Manner::Signalled { stop, .. } = process.manner
            {
                process.signal(stop);
                self.wake(worker);
            }
        }
    }

    /// One that is stopped (SIGSTOP) could not obey.
    fn wake(&self, worker: Worker) {
        if let Some(process) = self.workers.get(&worker) {
            process.signal(libc::SIGCONT);
        }
    }

    fn hammer(&self, worker: Worker) {
        match self.workers.get(&worker) {
            Some(process) if process.manner == Manner::Told => process.tell(&Message::Hammer),
            Some(process) => process.kill(),
            None => {}
        }
    }

    fn kill(&self, worker: Worker) {
        if let Some(process) = self.workers.get(&worker) {
            process.kill();
        }
    }

    fn abandon(&mut self, worker: Worker) {
        say!(error: worker, "a killed worker does not die; going on without it");
        if let Some(process) = self.workers.remove(&worker) {
            self.abandoned.insert(worker, process);
        } else if let Some(spawning) = self.spawning.as_mut().filter(|spawning| spawning.worker == worker) {
            spawning.unwanted = true;
        }
    }

    fn report(&mut self, report: Report) {
        // Before it is told: a reader of the log looks for the file.
        if let (Report::Ready { .. }, Some(pid_file)) = (&report, &self.pid_file) {
            pid_file.write_own();
        }
        self.tell(&report);
        match report {
            Report::Settled { worker } => {
                let pid = self.workers.get(&worker).map(|process| process.pid).unwrap_or_default();
                self.settled(pid);
                answer(&mut self.answers, &Ok(Outcome::Settled { pid }));
                self.answers.append(&mut self.later);
            }
            Report::Failed { worker, why } => {
                self.drop_what_it_bound(worker);
                self.failed(&Err(RestartError::Failed(why)));
            }
            Report::TakenBack { worker, why } => {
                self.drop_what_it_bound(worker);
                self.failed(&Err(RestartError::TakenBack(why)));
            }
            _ => {}
        }
    }

    /// If nobody serves, it stays for the next worker, with the clients that wait there.
    fn drop_what_it_bound(&mut self, failed: Worker) {
        if self.machine.serving().is_some() {
            self.store.take_back(failed);
        }
    }

    fn failed(&mut self, result: &Result<Outcome, RestartError>) {
        answer(&mut self.answers, result);
        // The machine starts the remembered one next; from now on it is the one that these wait for.
        self.answers.append(&mut self.later);
    }

    fn end(&mut self, end: End) {
        answer(&mut self.answers, &Err(RestartError::Stopped));
        answer(&mut self.later, &Err(RestartError::Stopped));
        say!(info: "ended");
        self.ended = Some(end);
    }
}

fn answer(waiting: &mut Vec<Answer>, result: &Result<Outcome, RestartError>) {
    for answer in waiting.drain(..) {
        // Logged first: who hears of it finds it in the log.
        crate::aside::say::finish();
        answer.give(result);
    }
}
