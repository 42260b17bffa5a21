//! What is told to those who follow on the control socket.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Instant;

use super::super::super::outcome::{Outcome, RestartError};
use super::super::Driver;
use super::Operating;
use crate::drain::{ConnectionState, ConnectionStatus};
pub(in super::super) use crate::operate::control::Asked;
use crate::operate::control::message::{Lost, Reply};
use crate::operate::control::place::Place;
use crate::operate::control::status::{millis, whole_millis};
use crate::operate::control::{Follower, Server, status};
use crate::operate::event::Event;

/// The control socket of this process, if it has one.
#[derive(Debug, Default)]
pub(in super::super) struct Control {
    pub(super) server: Option<Server>,
    pub(super) place: Option<Arc<Place>>,
    /// Who waits for this process's end.
    pub(super) until_the_end: Vec<Follower>,
    /// How the last restart of this process came out.
    pub(super) last: Option<Reply>,
    pub(super) snapshot: Option<(Instant, status::GenerationDetail)>,
    /// Clients that are to go on with the successor.
    passed_on: Vec<OwnedFd>,
    moved_is_told: bool,
}

impl Control {
    /// Must be called on the driver's runtime.
    pub(in super::super) fn new(bound: Option<(UnixListener, Arc<Place>)>) -> io::Result<Control> {
        let Some((listener, place)) = bound else { return Ok(Control::default()) };
        Ok(Control { server: Some(Server::new(listener)?), place: Some(place), ..Control::default() })
    }

    pub(super) fn forget_what_was_seen(&mut self) {
        self.snapshot = None;
    }
}

impl Driver {
    /// Those who follow a restart hear of its steps, and those who wait for the end hear of the drain.
    pub(in super::super) fn tell_operators(&mut self, happening: &Event) {
        match happening {
            Event::Starting => self.tell_step(&Reply::Starting),
            Event::Spawned { .. } => {
                self.tell_step(&self.operating.step(|pid, after_ms| Reply::Spawned { pid, after_ms }));
            }
            Event::Ready { .. } => {
                self.tell_step(&self.operating.step(|pid, after_ms| Reply::Ready { pid, after_ms }));
            }
            Event::Stopping { notice } => {
                self.operating.tell_the_rest(&Reply::Stopping { notice_ms: millis(*notice) });
            }
            Event::Draining { connections, within } => {
                let (connections, within_ms) = (*connections as u64, millis(*within));
                self.operating.tell_the_rest(&Reply::Draining { connections, within_ms });
            }
            Event::Progress { left, oldest, within } => {
                let left = left.iter().map(|(kind, count)| (kind.name().to_owned(), *count as u64));
                let (left, oldest) = (left.collect(), oldest.as_ref().map(described));
                self.operating.tell_the_rest(&Reply::Progress { left, oldest, within_ms: millis(*within) });
            }
            Event::Ended { .. } => self.operating.ended(),
            _ => {}
        }
    }
}

impl Operating {
    /// The next request. Cancel safe.
    pub(in super::super) async fn next(&mut self) -> Asked {
        match &mut self.control.server {
            Some(server) => server.next().await,
            None => std::future::pending().await,
        }
    }

    /// The stable path is to lead to this process.
    pub(in super::super) fn points_to(&self, pid: u32) {
        if let Some(place) = &self.control.place {
            place.point_to(pid);
        }
    }

    pub(in super::super) fn successor_is_gone(&self, pid: u32) {
        if let Some(place) = &self.control.place {
            place.clear(pid);
        }
    }

    /// Tells one that waits for the outcome of a restart.
    pub(in super::super) fn answer(&mut self, follower: Follower, result: &Result<Outcome, RestartError>) {
        let pid = self.attempt.as_ref().and_then(|attempt| attempt.pid);
        match result {
            Ok(Outcome::Settled { pid }) => {
                follower.tell(&Reply::Settled { pid: *pid, after_ms: millis(self.since_request()) });
                self.follow_to_the_end(follower);
            }
            Ok(Outcome::PassedOn) => {
                follower.tell(&Reply::PassedOn { pid: pid.unwrap_or_default() });
                let server = self.control.server.as_mut();
                self.control.passed_on.extend(server.and_then(|server| server.release(&follower)));
            }
            Err(error) => follower.end_with(&self.reply_to(error)),
        }
    }

    /// The clients for the successor, which are closed here once they are sent.
    pub(in super::super) fn passed_on(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.control.passed_on)
    }

    /// Another process goes on with this one.
    pub(super) fn let_go(&mut self, follower: &Follower) {
        drop(self.control.server.as_mut().and_then(|server| server.release(follower)));
    }

    /// Goes on with the predecessor's clients.
    pub(super) fn adopt(&mut self, fd: OwnedFd) -> Option<Follower> {
        let server = self.control.server.as_mut()?;
        server.adopt(fd).inspect_err(|error| say!(debug: %error, "an operator is lost")).ok()
    }

    /// Keeps the outcome for one who asks for it later.
    pub(in super::super) fn keep_outcome(&mut self, result: &Result<Outcome, RestartError>) {
        self.control.last = match result {
            Ok(Outcome::Settled { pid }) => {
                Some(Reply::Settled { pid: *pid, after_ms: millis(self.since_request()) })
            }
            Ok(_) => None,
            Err(error) => Some(self.reply_to(error)),
        };
    }

    fn reply_to(&self, error: &RestartError) -> Reply {
        let lost = |reason: &dyn std::fmt::Display| Lost {
            pid: self.attempt.as_ref().and_then(|attempt| attempt.pid),
            reason: reason.to_string(),
            stderr: self.attempt.as_ref().map(|attempt| attempt.stderr.1.clone()).unwrap_or_default(),
            stderr_goes_to: self
                .attempt
                .as_ref()
                .and_then(|attempt| attempt.pid)
                .and_then(crate::operate::stderr::destination),
            after_ms: millis(self.since_request()),
        };
        match error {
            RestartError::Refused(refusal) => Reply::Refused { reason: refusal.to_string() },
            RestartError::Failed(failure) => Reply::Failed(lost(failure)),
            RestartError::TakenBack(failure) => Reply::TakenBack(lost(failure)),
            RestartError::Stopped | RestartError::DriverGone => Reply::Stopped,
        }
    }

    /// Tells those who wait for this process's end.
    pub(in super::super) fn tell_the_rest(&self, reply: &Reply) {
        for follower in &self.control.until_the_end {
            follower.tell(reply);
        }
    }

    /// The reply for a step of the restart that is on its way.
    pub(in super::super) fn step(&self, make: fn(u32, f64) -> Reply) -> Reply {
        let pid = self.attempt.as_ref().and_then(|attempt| attempt.pid).unwrap_or_default();
        make(pid, millis(self.since_request()))
    }

    pub(super) fn follow_to_the_end(&mut self, follower: Follower) {
        self.control.until_the_end.retain(Follower::is_there);
        self.control.until_the_end.push(follower);
    }

    /// Whether no connection is on its way to the successor; told once, when all that could go at once have
    /// gone.
    pub(in super::super) fn moved_so_far(&mut self, is_idle: bool) {
        if self.handed_over && is_idle && self.moved > 0 && !self.control.moved_is_told {
            self.control.moved_is_told = true;
            self.tell_the_rest(&Reply::Moved {
                connections: self.moved,
                after_ms: millis(self.since_request()),
            });
        }
    }

    /// The socket's file goes, and then come the last words: who has heard them finds nobody here any more.
    pub(in super::super) fn ended(&mut self) {
        if let Some(place) = &self.control.place {
            place.give_up();
        }
        self.moved_so_far(true);
        let drained = self.drained;
        let after = match self.handed_over {
            true => self.since_request(),
            false => drained.map(|drained| drained.took).unwrap_or_default(),
        };
        // The connections stay open until the process is gone, which is how its end is seen.
        self.tell_the_rest(&Reply::Drained {
            after_ms: millis(after),
            moved: self.moved,
            aborted: drained.map_or(0, |drained| drained.aborted),
        });
    }
}

pub(super) fn by_kind(connections: &[ConnectionStatus]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for connection in connections {
        *counts.entry(connection.kind.name().to_owned()).or_default() += 1;
    }
    counts
}

pub(super) fn described(connection: &ConnectionStatus) -> status::ConnectionDetail {
    let state = match connection.state {
        ConnectionState::Fresh => "fresh",
        ConnectionState::Idle => "idle",
        ConnectionState::ReadingHead => "reading_head",
        ConnectionState::Busy => "busy",
        ConnectionState::Closing => "closing",
        ConnectionState::Moving => "moving",
    };
    status::ConnectionDetail {
        kind: connection.kind.name().to_owned(),
        tls: connection.tls,
        state: state.to_owned(),
        peer: connection.peer.as_ref().map(ToString::to_string),
        age_ms: whole_millis(connection.age),
        in_state_ms: whole_millis(connection.in_state),
    }
}
