//! What operators are told of a supervisor, and what they have done.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Driver, Input};
use crate::handover::Failure;
use crate::handover::history::{FailureKind, History, since_unix_millis};
use crate::handover::message::Message;
use crate::handover::supervise::{Report, Worker};
use crate::operate::control::message::{ErrorCode, Lost, Reply};
use crate::operate::control::place::Bound;
use crate::operate::control::status::{
    GenerationStatus, Moved, PastFailure, PastRestart, RestartStatus, Restarts, Role, ServiceStatus, millis,
    whole_millis,
};
use crate::operate::control::{Asked, Follower, Operated, Server};
use crate::operate::stderr::{Mark, destination};
use crate::supervisor::metrics::{Figure, record};
use crate::supervisor::{Answer, WorkerRole};

/// Operators and figures.
#[derive(Debug)]
pub(super) struct Operating {
    server: Option<Server>,
    place: Option<Arc<crate::operate::control::place::Place>>,
    history: History,
    attempt: Attempt,
    /// The worker that was replaced last, and whether that was at the last settling: a dead one is replaced
    /// without.
    replaced: Option<Worker>,
    has_replaced: bool,
    /// Since when workers have been told to stop.
    goodbyes: BTreeMap<Worker, Instant>,
    respawned: u64,
    has_served: bool,
    last_restart: Option<PastRestart>,
    /// Who waits until this worker has drained, and since when.
    until_drained: Vec<(Worker, Instant, Follower)>,
    until_the_end: Vec<(Instant, Follower)>,
    /// What workers that drain say of it, and what those say that die of a panic.
    drained: BTreeMap<Worker, (Duration, u64, u64)>,
    last_words: BTreeMap<Worker, String>,
    /// When an operator wants it all to be over.
    pub(super) hammer_at: Option<Instant>,
}

/// The restart that is on its way.
#[derive(Debug)]
struct Attempt {
    requested: Instant,
    pid: Option<u32>,
    /// Whether there was a worker to replace when it began. (The machine is ahead of what it reports.)
    is_restart: bool,
    ready_after: Option<Duration>,
    /// Where standard error ended when it was started.
    stderr: Option<Arc<Mark>>,
}

impl Attempt {
    fn new(stderr: Option<Arc<Mark>>) -> Attempt {
        Attempt { requested: Instant::now(), pid: None, is_restart: false, ready_after: None, stderr }
    }
}

impl Operating {
    /// Must be called on the driver's runtime.
    pub(super) fn new(control: Option<Bound>) -> std::io::Result<Operating> {
        let (server, place) = match control {
            Some((listener, place)) => (Some(Server::new(listener)?), Some(place)),
            None => (None, None),
        };
        if let Some(place) = &place {
            place.point_to(std::process::id());
        }
        Ok(Operating {
            server,
            place,
            history: History::born_now(),
            attempt: Attempt::new(None),
            replaced: None,
            has_replaced: false,
            goodbyes: BTreeMap::new(),
            respawned: 0,
            has_served: false,
            last_restart: None,
            until_drained: Vec::new(),
            until_the_end: Vec::new(),
            drained: BTreeMap::new(),
            last_words: BTreeMap::new(),
            hammer_at: None,
        })
    }

    /// The next request. Cancel safe.
    pub(super) async fn next(&mut self) -> Input {
        match &mut self.server {
            Some(server) => Input::Asked(server.next().await),
            None => std::future::pending().await,
        }
    }

    /// Whether it goes on with the operators of a worker.
    pub(super) fn takes_operators(&self) -> bool {
        self.server.is_some()
    }

    pub(super) fn starting(&mut self) {
        self.has_replaced = false;
        self.attempt = Attempt::new(Mark::at_the_end());
    }

    pub(super) fn spawning(&mut self, replaces: Option<Worker>) {
        self.attempt.is_restart = replaces.is_some();
    }

    pub(super) fn is_restart(&self) -> bool {
        self.attempt.is_restart
    }

    pub(super) fn spawned(&mut self, pid: u32) -> Reply {
        self.attempt.pid = Some(pid);
        Reply::Spawned { pid, after_ms: self.after_ms() }
    }

    pub(super) fn replaces(&mut self, worker: Worker) {
        (self.replaced, self.has_replaced) = (Some(worker), true);
        self.says_goodbye(worker);
    }

    pub(super) fn says_goodbye(&mut self, worker: Worker) {
        self.goodbyes.entry(worker).or_insert_with(Instant::now);
    }

    /// What a worker says that is for people alone; anything else comes back.
    pub(super) fn hears(&mut self, worker: Worker, message: Message) -> Option<Message> {
        match message {
            Message::Words { text } => drop(self.last_words.insert(worker, text)),
            Message::Drained { took, moved, aborted, moves } => {
                // Once, whatever it says.
                if self.drained.insert(worker, (took, moved, aborted)).is_none() {
                    self.history.add_drain(moved, aborted, &moves);
                    record(Figure::Connections { moved, aborted, moves });
                }
            }
            other => return Some(other),
        }
        None
    }

    /// How a worker ended, with what it has said of that.
    pub(super) fn with_last_words(&mut self, worker: Worker, how: String) -> String {
        match self.last_words.remove(&worker) {
            Some(words) => format!("{how}: {words}"),
            None => how,
        }
    }

    /// A worker's process is gone.
    pub(super) fn gone(&mut self, worker: Worker, pid: u32) {
        if let Some(place) = &self.place {
            place.clear(pid);
        }
        let told = self.drained.remove(&worker);
        let goodbye = self.goodbyes.remove(&worker);
        // Any other program's tells nothing.
        let took = told.map(|(took, ..)| took).or(goodbye.map(|since| since.elapsed()));
        if let Some(took) = took {
            record(Figure::Drained(took));
        }
        if let Some(last) = self.last_restart.as_mut().filter(|_| self.replaced == Some(worker)) {
            last.drain_ms = took.map(whole_millis);
            (last.moved, last.aborted) = told.map(|(_, moved, aborted)| (moved, aborted)).unzip();
        }
        let (_, moved, aborted) = told.unwrap_or_default();
        for (_, since, follower) in self.until_drained.extract_if(.., |(whose, ..)| *whose == worker) {
            follower.end_with(&Reply::Drained { after_ms: millis(since.elapsed()), moved, aborted });
        }
    }

    /// The service has ended, and so does this process. First its socket's file goes: who has heard the last
    /// words finds nobody here any more.
    pub(super) fn ended(&mut self) {
        if let Some(place) = &self.place {
            place.give_up();
        }
        for (since, follower) in std::mem::take(&mut self.until_the_end) {
            let (moved, aborted) = (0, self.history.aborted);
            follower.end_with(&Reply::Drained { after_ms: millis(since.elapsed()), moved, aborted });
        }
    }

    pub(super) fn came_to_nothing(&mut self, kind: FailureKind, reason: &str) {
        self.history.add_failure(kind, reason);
        record(Figure::Lost(kind));
    }

    /// This worker is the service.
    fn serves(&mut self, worker: Worker) {
        let after = self.attempt.requested.elapsed();
        if self.attempt.is_restart {
            // The worker that it was to replace may have died before it was told to stop.
            self.replaced = self.replaced.filter(|_| self.has_replaced);
            self.history.settled += 1;
            self.last_restart = Some(PastRestart {
                time_to_ready_ms: self.attempt.ready_after.map(whole_millis),
                ..PastRestart::default()
            });
            record(Figure::Settled { worker, after });
        } else {
            let replaces_a_dead_one = std::mem::replace(&mut self.has_served, true);
            self.respawned += u64::from(replaces_a_dead_one);
            // No restart is what it comes from.
            self.last_restart = None;
            record(Figure::Serves { worker, replaces_a_dead_one });
        }
    }

    fn lost(&self, why: &Failure) -> Lost {
        Lost {
            pid: self.attempt.pid,
            reason: why.to_string(),
            stderr: self.attempt.stderr.as_ref().map(Mark::read).unwrap_or_default(),
            stderr_goes_to: destination(std::process::id()),
            after_ms: self.after_ms(),
        }
    }

    fn after_ms(&self) -> f64 {
        millis(self.attempt.requested.elapsed())
    }
}

impl Driver {
    pub(super) fn asked(&mut self, asked: Asked) {
        say!(debug: request = ?asked.request, "asked on the control socket");
        asked.put_to(self);
    }

    /// An operator wants a restart, and has asked a worker for it.
    pub(super) fn asked_by_way_of_a_worker(&mut self, operator: OwnedFd) {
        match self.operating.server.as_mut().map(|server| server.adopt(operator)) {
            Some(Ok(follower)) => self.restart(follower),
            Some(Err(error)) => say_seldom!(warn: %error, "an operator of a worker is turned away"),
            None => say_seldom!(warn: "an operator of a worker is turned away: there is no control socket"),
        }
    }

    /// Tells those who wait for the restart that is on its way.
    pub(super) fn tell_step(&self, reply: &Reply) {
        for answer in &self.answers {
            if let Answer::Control(follower) = answer {
                follower.tell(reply);
            }
        }
    }

    pub(super) fn initialised(&self) {
        let operating = &self.operating;
        let pid = operating.attempt.pid.unwrap_or_default();
        self.tell_step(&Reply::Initialised { pid, after_ms: operating.after_ms() });
    }

    /// Keeps the figures, and tells operators.
    pub(super) fn tell_operators(&mut self, report: &Report) {
        match report {
            Report::Starting { .. } => {
                self.operating.starting();
                self.tell_step(&Reply::Starting);
            }
            Report::Ready { .. } => {
                let after = self.operating.attempt.requested.elapsed();
                self.operating.attempt.ready_after = Some(after);
                if self.operating.attempt.is_restart {
                    record(Figure::Ready(after));
                }
                let pid = self.operating.attempt.pid.unwrap_or_default();
                self.tell_step(&Reply::Ready { pid, after_ms: millis(after) });
            }
            Report::Settled { worker } => self.operating.serves(*worker),
            Report::Failed { why, .. } => {
                self.operating.came_to_nothing(FailureKind::Failed, &why.to_string());
                self.end_with(&Reply::Failed(self.operating.lost(why)));
            }
            Report::TakenBack { why, .. } => {
                self.operating.came_to_nothing(FailureKind::TakenBack, &why.to_string());
                self.end_with(&Reply::TakenBack(self.operating.lost(why)));
            }
            _ => {}
        }
    }

    /// Those who wait for the restart that has settled go on waiting, for the drain.
    pub(super) fn settled(&mut self, pid: u32) {
        let requested = self.operating.attempt.requested;
        let settled = Reply::Settled { pid, after_ms: self.operating.after_ms() };
        let is_there = |worker: &Worker| self.operating.has_replaced && self.workers.contains_key(worker);
        let replaced = self.operating.replaced.filter(is_there);
        for answer in self.answers.extract_if(.., |answer| matches!(answer, Answer::Control(_))) {
            let Answer::Control(follower) = answer else { continue };
            follower.tell(&settled);
            match replaced {
                Some(worker) => self.operating.until_drained.push((worker, requested, follower)),
                None => {
                    let after_ms = millis(requested.elapsed());
                    follower.end_with(&Reply::Drained { after_ms, moved: 0, aborted: 0 });
                }
            }
        }
    }

    fn end_with(&mut self, reply: &Reply) {
        for answer in self.answers.extract_if(.., |answer| matches!(answer, Answer::Control(_))) {
            if let Answer::Control(follower) = answer {
                follower.end_with(reply);
            }
        }
    }

    fn told_role(&self, worker: Worker) -> Role {
        match self.role(worker) {
            WorkerRole::Serving => Role::Serving,
            WorkerRole::Candidate if self.operating.attempt.ready_after.is_some() => Role::Probation,
            WorkerRole::Candidate => Role::Starting,
            WorkerRole::Leaving if self.machine.is_stopping() => Role::Stopping,
            WorkerRole::Leaving => Role::Draining,
        }
    }
}

impl Operated for Driver {
    fn status(&mut self) -> ServiceStatus {
        let operating = &self.operating;
        let history = &operating.history;
        let serving = self.machine.serving().and_then(|worker| self.workers.get(&worker));
        let generations = self.workers.iter().map(|(worker, process)| {
            let control = operating.place.as_ref().and_then(|place| place.of(process.pid));
            GenerationStatus {
                pid: process.pid,
                generation: *worker,
                role: self.told_role(*worker),
                control: control.map(|path| path.display().to_string()),
                detail: None,
            }
        });
        ServiceStatus {
            kind: "supervisor".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            serving: serving.map(|process| process.pid),
            supervisor: None,
            born_unix_ms: history.born,
            service_uptime_ms: whole_millis(since_unix_millis(history.born)),
            restarts: Restarts { respawned: operating.respawned, ..Restarts::of(history) },
            last_failure: history.last_failure.as_ref().map(PastFailure::of),
            last_restart: operating.last_restart.clone(),
            connections: Moved::of(history),
            restart: self.machine.in_progress().then(|| RestartStatus {
                phase: if operating.attempt.ready_after.is_some() { "probation" } else { "starting" }
                    .to_owned(),
                pid: operating.attempt.pid,
                since_ms: operating.after_ms(),
                remembered: !self.later.is_empty() || self.machine.has_remembered(),
            }),
            generations: generations.collect(),
        }
    }

    fn restart(&mut self, follower: Follower) {
        self.later.retain(Answer::is_wanted);
        self.answers.retain(Answer::is_wanted);
        self.request(Instant::now(), Some(Answer::Control(follower)), None);
    }

    fn follow(&mut self, follower: Follower) {
        // It never passes a restart on: it outlives them all.
        let reason = "this process has no restart to tell of".to_owned();
        follower.end_with(&Reply::Error { code: ErrorCode::Nothing, reason });
    }

    fn stop(&mut self, within: Option<Duration>, follower: Follower) {
        let now = Instant::now();
        follower.tell(&Reply::Stopping { notice_ms: 0.0 });
        self.operating.until_the_end.push((now, follower));
        // Not a second time, as a second signal would: two operators who both want it to stop want no hammer.
        if !self.machine.is_stopping() {
            self.machine.stop(now);
        }
        if let Some(due) = within.and_then(|within| now.checked_add(within)) {
            self.operating.hammer_at = Some(self.operating.hammer_at.map_or(due, |at| at.min(due)));
        }
    }

    fn hammer(&mut self, follower: Follower) {
        let now = Instant::now();
        self.operating.until_the_end.push((now, follower));
        self.machine.hammer(now);
    }
}
