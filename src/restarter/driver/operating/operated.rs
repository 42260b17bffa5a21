//! A server that replaces itself, as its control socket operates it.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::super::super::shared::{Answer, Life};
use super::super::{Asked, Driver};
use super::telling::{by_kind, described};
use crate::handover::history::since_unix_millis;
use crate::handover::message::Message;
use crate::handover::serving::Reason;
use crate::operate::control::message::{ErrorCode, Reply};
#[cfg(feature = "udp")]
use crate::operate::control::status::FlowsDetail;
use crate::operate::control::status::{
    self, GenerationDetail, GenerationStatus, OLDEST, PastRestart, RestartStatus, Restarts, Role,
    ServiceStatus,
};
use crate::operate::control::status::{millis, whole_millis};
use crate::operate::control::{Follower, Operated};

impl Driver {
    pub(in super::super) fn asked(&mut self, asked: Asked) {
        say!(debug: request = ?asked.request, "asked on the control socket");
        asked.put_to(self);
    }

    /// Sends the operators on whose restart is the successor's to make.
    pub(in super::super) fn pass_on(&mut self) {
        let passed_on = self.operating.passed_on();
        let Some(successor) = self.successor().filter(|_| !passed_on.is_empty()) else { return };
        let fds: Vec<_> = passed_on.iter().map(AsFd::as_fd).collect();
        // There are few, and the channel has room: else they find the successor by themselves.
        if let Err(error) = successor.send_with(&Message::Followers, &fds) {
            say!(debug: %error, "operators cannot be sent on");
        }
    }

    /// Has the supervisor restart for an operator, and tell that one each step, which nobody else knows;
    /// false where it is told of the request alone, and this process tells what comes of it.
    pub(in super::super) fn leave_to_supervisor(&mut self, follower: &Follower) -> bool {
        let superior = self.superior.as_ref().filter(|superior| superior.takes_operators);
        let peer = superior.and_then(|superior| superior.peer.as_ref());
        let Some((peer, connection)) = peer.zip(follower.connection()) else { return false };
        if let Err(error) = peer.send_with(&Message::Restart, &[connection.as_fd()]) {
            say!(debug: %error, "an operator cannot be sent on");
            return false;
        }
        self.operating.let_go(follower);
        true
    }

    /// Operators that the predecessor has sent on.
    pub(in super::super) fn adopt(&mut self, fds: Vec<OwnedFd>) {
        for fd in fds {
            if let Some(follower) = self.operating.adopt(fd) {
                self.follow(follower);
            }
        }
    }

    /// Those who came to follow a restart of this process that its predecessor did not ask for after all.
    pub(in super::super) fn turn_away_followers(&mut self) {
        for answer in std::mem::take(&mut self.waiting.later) {
            match answer {
                Answer::Control(follower) => follower.end_with(&nothing_to_follow()),
                handle => self.waiting.later.push(handle),
            }
        }
    }

    /// Tells those who wait for the restart that is on its way.
    pub(in super::super) fn tell_step(&self, reply: &Reply) {
        for answer in &self.waiting.now {
            if let Answer::Control(follower) = answer {
                follower.tell(reply);
            }
        }
    }
}

impl Operated for Driver {
    fn status(&mut self) -> ServiceStatus {
        let own = std::process::id();
        let role = self.role();
        let successor =
            self.operating.attempt.as_ref().and_then(|attempt| Some((attempt.pid?, attempt.is_ready)));
        let predecessor = self.predecessor.as_ref().and(self.operating.predecessor);
        let serving = match role {
            Role::Serving => Some(own),
            Role::Draining => successor.map(|(pid, _)| pid),
            Role::Starting | Role::Probation => predecessor,
            _ => None,
        };
        let mut generations = Vec::new();
        let generation = self.shared.generation;
        if let Some(pid) = predecessor {
            let role = match role {
                Role::Serving | Role::Draining => Role::Draining,
                Role::Stopping => Role::Stopping,
                _ => Role::Serving,
            };
            generations.push(self.other(pid, generation.saturating_sub(1), role));
        }
        generations.push(GenerationStatus {
            pid: own,
            generation,
            role,
            control: self.operating.control.place.as_ref().map(|place| place.own().display().to_string()),
            detail: Some(self.detail()),
        });
        if let Some((pid, is_ready)) = successor
            && self.attempt.is_some()
        {
            let role = match (self.operating.handed_over, is_ready) {
                (true, _) => Role::Serving,
                (false, true) => Role::Probation,
                (false, false) => Role::Starting,
            };
            generations.push(self.other(pid, generation + 1, role));
        }
        let operating = &self.operating;
        let history = &operating.history;
        ServiceStatus {
            kind: "restarter".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: own,
            serving,
            supervisor: self.shared.supervisor,
            born_unix_ms: history.born,
            service_uptime_ms: whole_millis(since_unix_millis(history.born)),
            restarts: Restarts::of(history),
            last_failure: history.last_failure.as_ref().map(status::PastFailure::of),
            last_restart: operating.time_to_ready.map(|time_to_ready| {
                let drained = operating.drained.filter(|_| !operating.handed_over);
                PastRestart {
                    time_to_ready_ms: Some(whole_millis(time_to_ready)),
                    drain_ms: drained.map(|drained| whole_millis(drained.took)),
                    moved: drained.map(|drained| drained.moved),
                    aborted: drained.map(|drained| drained.aborted),
                }
            }),
            connections: status::Moved::of(history),
            restart: self.restart_status(),
            generations,
        }
    }

    fn restart(&mut self, follower: Follower) {
        // Before, so that it hears of the very first step.
        self.waiting.later.retain(Answer::is_wanted);
        self.waiting.now.retain(Answer::is_wanted);
        self.request(Instant::now(), Some(Answer::Control(follower)));
    }

    fn follow(&mut self, follower: Follower) {
        if self.launch.in_progress() {
            self.waiting.now.push(Answer::Control(follower));
        } else if !self.succeed.is_serving()
            && matches!(*self.shared.life.borrow(), Life::Starting | Life::Accepting)
        {
            // The predecessor's word that it is to restart is on its way.
            self.waiting.later.push(Answer::Control(follower));
        } else {
            match self.operating.control.last.clone() {
                Some(settled @ Reply::Settled { .. }) => {
                    follower.tell(&settled);
                    self.operating.follow_to_the_end(follower);
                }
                Some(outcome) => follower.end_with(&outcome),
                None => follower.end_with(&nothing_to_follow()),
            }
        }
    }

    fn stop(&mut self, within: Option<Duration>, follower: Follower) {
        let now = Instant::now();
        if self.operating.handed_over {
            let successor =
                self.operating.attempt.as_ref().and_then(|attempt| attempt.pid).unwrap_or_default();
            let service = match self.shared.supervisor.filter(|_| self.is_supervised()) {
                Some(supervisor) => format!("to stop the service, stop its supervisor, process {supervisor}"),
                None => format!("to stop the service, stop process {successor}"),
            };
            let reason = format!(
                "this process has handed over to process {successor}, and drains; {service}; to end this drain alone, \
                 use `heirloom hammer --pid {}`",
                std::process::id()
            );
            follower.end_with(&Reply::Refused { reason });
            return;
        }
        let is_stopping = self.serving.is_draining() || self.has_left();
        self.operating.follow_to_the_end(follower.clone());
        if !is_stopping {
            self.stop(now, within, &Message::Stop);
            return;
        }
        // Not a second time, as a second signal would: two operators who both want it to stop want no hammer.
        if let Some(within) = within {
            self.serving.hasten(now, within);
        }
        let left = self.shared.tracker.count() as u64;
        let within = self.serving.deadline().map(|deadline| deadline.saturating_duration_since(now));
        follower.tell(&Reply::Draining { connections: left, within_ms: millis(within.unwrap_or_default()) });
    }

    fn hammer(&mut self, follower: Follower) {
        self.operating.follow_to_the_end(follower);
        self.command(Instant::now(), super::super::Command::Hammer);
    }
}

fn nothing_to_follow() -> Reply {
    let reason = "this process has no restart to tell of".to_owned();
    Reply::Error { code: ErrorCode::Nothing, reason }
}

impl Driver {
    fn role(&self) -> Role {
        let life = *self.shared.life.borrow();
        match life {
            Life::Left(_) => Role::Leaving,
            _ if self.operating.handed_over => Role::Draining,
            _ if self.serving.is_draining() => Role::Stopping,
            _ if self.succeed.is_serving() => Role::Serving,
            Life::Accepting => Role::Probation,
            Life::Starting => Role::Starting,
        }
    }

    fn restart_status(&self) -> Option<RestartStatus> {
        let attempt = self.operating.attempt.as_ref().filter(|_| self.launch.in_progress())?;
        Some(RestartStatus {
            phase: if attempt.is_ready { "probation" } else { "starting" }.to_owned(),
            pid: attempt.pid,
            since_ms: millis(attempt.requested.elapsed()),
            remembered: self.launch.has_remembered(),
        })
    }

    fn other(&self, pid: u32, generation: u64, role: Role) -> GenerationStatus {
        let place = self.operating.control.place.as_ref();
        let control = place.and_then(|place| place.of(pid)).map(|path| path.display().to_string());
        GenerationStatus { pid, generation, role, control, detail: None }
    }

    /// Looks at every connection, which takes a while where there are many: so not more often than a person
    /// can read.
    fn detail(&mut self) -> GenerationDetail {
        let now = Instant::now();
        if let Some((at, detail)) = &self.operating.control.snapshot
            && now.duration_since(*at) < SNAPSHOT
        {
            return detail.clone();
        }
        let mut connections = self.shared.tracker.snapshot();
        let by_kind = by_kind(&connections);
        connections.sort_by_key(|connection| std::cmp::Reverse(connection.age));
        let drain = *self.shared.drain.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let detail = GenerationDetail {
            uptime_ms: whole_millis(self.operating.born.elapsed()),
            ready: self.shared.ready.load(std::sync::atomic::Ordering::Relaxed),
            connections: by_kind,
            oldest: connections.iter().take(OLDEST).map(described).collect(),
            moved: owned(self.operating.moved_by_kind()),
            unmoved: owned(&self.shared.tracker.unmoved()),
            #[cfg(feature = "udp")]
            flows: self.shared.flows().iter().map(FlowsDetail::of).collect(),
            #[cfg(not(feature = "udp"))]
            flows: Vec::new(),
            drained_from: self.operating.drain.map(|(_, connections)| connections as u64),
            hammer_in_ms: drain.map(|(_, deadline): (Reason, Instant)| {
                whole_millis(deadline.saturating_duration_since(now))
            }),
        };
        self.operating.control.snapshot = Some((now, detail.clone()));
        detail
    }
}

fn owned(counts: &BTreeMap<&'static str, u64>) -> BTreeMap<String, u64> {
    counts.iter().map(|(what, count)| ((*what).to_owned(), *count)).collect()
}

/// For how long a look at the connections is good: ten a second cost a server with ten thousand of them
/// little, and somebody who asks in a loop must not keep the driver from its work.
const SNAPSHOT: Duration = Duration::from_millis(100);

impl Answer {
    /// A client that has gone must not be kept in a list that grows with each of them.
    fn is_wanted(&self) -> bool {
        match self {
            Answer::Handle(answer) => !answer.is_closed(),
            Answer::Control(follower) => follower.is_there(),
        }
    }
}
