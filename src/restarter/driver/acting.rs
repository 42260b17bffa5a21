//! The driver's other half: doing what the machines ask.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::super::outcome::{Outcome, RestartError};
use super::super::peer::{Did, Peer};
use super::super::shared::{Answer, Life};
use super::{Attempt, Driver, Step};
use crate::drain::{ConnectionStatus, Kind, State};
use crate::ending::Ending;
use crate::event::Event;
use crate::handover::Failure;
use crate::handover::after;
use crate::handover::history::{FailureKind, History, unix_millis};
use crate::handover::launch::{self, Report};
use crate::handover::message::Message;
use crate::handover::serving::{self, Reason};
use crate::handover::succeed::{self, Departure};
use crate::listeners::Socket;
#[cfg(feature = "control")]
use crate::operate::control::message::Reply;
use crate::own_thread::on_own_thread_or;
use crate::signals::finish_hooks;

impl Driver {
    /// Does what the machines ask, until they ask for nothing more.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        self.act_on_succeed(now, None);
        self.act_on_launch(now, None);
        self.act_on_serving(now);
    }

    pub(super) fn act_on_succeed(&mut self, now: Instant, within: Option<Duration>) {
        while let Some(action) = self.succeed.poll_action() {
            match action {
                succeed::Action::Send(message) => {
                    if let Some(decider) = self.decider() {
                        decider.send(&message);
                    }
                }
                succeed::Action::StartAccepting => self.start_accepting(),
                succeed::Action::AnnounceOwn => self.announce_own(false),
                succeed::Action::Serve { restart } => self.serve(now, restart),
                succeed::Action::Shutdown => {
                    self.answer_stopped();
                    self.serving.shutdown(now, within);
                }
                succeed::Action::Leave(departure) => self.leave(departure),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    pub(super) fn act_on_launch(&mut self, now: Instant, within: Option<Duration>) {
        while let Some(action) = self.launch.poll_action() {
            match action {
                launch::Action::Spawn => self.spawn(now),
                launch::Action::Send(message) => self.tell_successor(&message),
                launch::Action::Kill => self.kill(),
                launch::Action::Abandon => self.abandon(),
                launch::Action::PauseAccepting { unclaimed } => {
                    self.shared.listeners.pause(self.sockets(), &unclaimed);
                }
                launch::Action::ResumeAccepting => self.shared.listeners.accept(),
                launch::Action::Announce => self.announce_successor(),
                launch::Action::AnnounceOwn => self.announce_own(false),
                launch::Action::HandOver { unclaimed } => {
                    self.shared.listeners.hand_over(self.sockets(), &unclaimed);
                    self.operating.hands_over();
                    self.offer_moves();
                    self.pid_file = None;
                    self.serving.handed_over(now);
                }
                launch::Action::Shutdown => {
                    self.answer_stopped();
                    self.serving.shutdown(now, within);
                }
                launch::Action::Report(report) => self.report(report),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn act_on_serving(&mut self, now: Instant) {
        while let Some(action) = self.serving.poll_action() {
            match action {
                serving::Action::GiveNotice => {
                    self.shared.ready.store(false, Ordering::Relaxed);
                    let notice = self.deadlines.notice;
                    say!(info: ?notice, "stopping");
                    self.shared.report(Event::Stopping { notice });
                    self.operating.stopping(notice);
                }
                serving::Action::ServeBacklog => {
                    self.shared.listeners.serve_backlog();
                    self.watches.backlog = true;
                }
                serving::Action::CloseListeners => {
                    self.watches.backlog = false;
                    self.shared.listeners.close();
                }
                serving::Action::Drain { deadline, reason } => {
                    *self.shared.drain.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((reason, deadline));
                    self.progress = Some(now + PROGRESS);
                    self.upgraded = self.deadlines.upgraded.and_then(|limit| now.checked_add(limit));
                    let connections = self.shared.tracker.count();
                    let within = deadline.saturating_duration_since(now);
                    self.shared.tracker.begin(self.deadlines.idle_linger);
                    // Whoever hears of it finds it begun.
                    say!(info: connections, ?within, "draining");
                    self.shared.report(Event::Draining { connections, within });
                    self.operating.draining(now, connections, within);
                    self.watches.connections = Some(now + serving::EMPTYING);
                }
                serving::Action::Hammer => self.watches.connections = None,
                serving::Action::End(reason) => self.end(reason),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn start_accepting(&mut self) {
        // Before the first connection: it may be a prober's, who is not to hear that this process is not ready.
        self.shared.ready.store(true, Ordering::Relaxed);
        self.shared.listeners.accept();
        self.shared.life.send_replace(Life::Accepting);
        self.operating.accepting();
        let generation = self.shared.generation;
        say!(info: generation, "accepting");
        self.shared.report(Event::Accepting { generation });
    }

    fn serve(&mut self, now: Instant, restart: bool) {
        self.shared.listeners.settled();
        if !self.is_announced {
            // The predecessor wrote our id to its own pid file; ours may be another.
            self.announce_own(true);
        }
        self.operating.serves();
        self.shared.is_watched.store(false, Ordering::Relaxed);
        say!(debug: "settled, this process is the service");
        if restart {
            self.answers.append(&mut self.later);
            self.request(now, None);
        }
        #[cfg(feature = "control")]
        self.turn_away_followers();
    }

    /// Before the drain begins: what is to move is told no goodbye.
    pub(super) fn offer_moves(&mut self) {
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.takes_moves) {
            let mover = self.moves.open(attempt.takes_sessions);
            self.shared.tracker.offer_moves(mover);
        }
    }

    fn leave(&mut self, departure: Departure) {
        say!(debug: ?departure, "leaving, nothing was taken");
        if self.decider().is_some() {
            self.shared.listeners.leave();
        } else {
            self.shared.listeners.close();
        }
        self.answer_stopped();
        self.operating.ended();
        crate::say::finish();
        self.shared.life.send_replace(Life::Left(departure));
        self.shared.tracker.begin(Duration::ZERO);
    }

    fn spawn(&mut self, now: Instant) {
        let sockets = self.shared.listeners.open();
        self.recipe.history = Some(History { asked: unix_millis(), ..self.operating.history.clone() });
        let recipe = self.recipe.clone();
        let (handed, pid_file) = (sockets.clone(), self.pid_file.clone());
        let descriptors = self.shared.descriptors.handed_down();
        self.giving.forget();
        // A thread of its own, since an exec from a file system that hangs must not keep a stop from being heard.
        let making = on_own_thread_or(
            "heirloom-start",
            move || recipe.make(None, &handed, pid_file.as_deref(), &descriptors, None),
            |no_thread| Err(Failure::Spawn { reason: format!("cannot start a successor: {no_thread}") }),
        );
        let step = Step::Spawning(making);
        self.attempt =
            Some(Attempt { requested: now, sockets, step, takes_moves: false, takes_sessions: false });
    }

    fn tell_successor(&self, message: &Message) {
        if let Some(Attempt { step: Step::Running { peer, .. }, .. }) = &self.attempt {
            peer.send(message);
        }
    }

    fn kill(&self) {
        if let Some(Attempt { step: Step::Running { peer, pid }, .. }) = &self.attempt {
            // ESRCH: it is dead already, and its death is on its way to us.
            if let Err(error) = peer.pidfd().signal(libc::SIGKILL) {
                say!(debug: pid, %error, "could not kill the successor");
            }
        }
    }

    fn abandon(&mut self) {
        let Some(attempt) = self.attempt.take() else { return };
        self.abandoned.retain(|waiting| !waiting.is_finished());
        self.abandoned.push(tokio::spawn(async move {
            let mut peer = match attempt.step {
                Step::Running { pid, peer } => {
                    say!(error: pid, "a killed successor does not die; going on without it");
                    peer
                }
                Step::Spawning(spawning) => {
                    let Ok(Ok(made)) = spawning.await else { return };
                    let _ = made.spawned.pidfd.signal(libc::SIGKILL);
                    let Ok(peer) = Peer::new(made.channel, made.spawned.pidfd) else { return };
                    peer
                }
            };
            while !matches!(peer.next().await, Did::Die) {}
            let _ = peer.pidfd().reap();
        }));
    }

    fn announce_successor(&mut self) {
        self.is_announced = false;
        if let (Some(pid_file), Some(pid)) = (&self.pid_file, self.successor_pid()) {
            pid_file.write_successors(pid);
        }
        let pid = self.successor_pid().unwrap_or_default();
        self.operating.points_to(pid);
        let mut late = self.shared.listeners.open();
        late.retain(|socket| !self.sockets().iter().any(|handed| Arc::ptr_eq(handed, socket)));
        self.announcing = self.shared.service.announce_successor(pid, &late);
        self.watches.announced = self.announcing.is_none();
    }

    fn announce_own(&mut self, is_known: bool) {
        // What was said of the successor does not count any more.
        (self.announcing, self.is_announced) = (None, true);
        self.shared.service.announce_own(&self.shared.listeners.open(), is_known);
        if let Some(pid_file) = &self.pid_file {
            pid_file.write_own();
        }
        self.operating.points_to(std::process::id());
    }

    fn report(&mut self, report: Report) {
        let (pid, after) = (self.successor_pid().unwrap_or_default(), self.since_request());
        match report {
            Report::Starting => {
                say!(info: "restart: starting a successor");
                self.shared.report(Event::Starting);
                self.operating.starts_a_successor(Instant::now());
                #[cfg(feature = "control")]
                self.tell_step(&Reply::Starting);
            }
            Report::Remembered => {
                say!(info: "restart: one is on its way, another one follows it");
                self.shared.report(Event::Remembered);
            }
            Report::Ready => {
                say!(info: pid, ?after, "successor ready");
                self.shared.report(Event::Ready { pid, after });
                self.operating.ready();
                #[cfg(feature = "control")]
                self.tell_step(&self.operating.step(|pid, after_ms| Reply::Ready { pid, after_ms }));
            }
            Report::Settled => {
                say!(info: pid, ?after, "successor settled");
                self.shared.report(Event::Settled { pid, after });
                self.operating.settled();
                self.answer_all(&Ok(Outcome::Settled { pid }));
                let later = std::mem::take(&mut self.later);
                self.answer(later, &Ok(Outcome::PassedOn));
                #[cfg(feature = "control")]
                self.pass_on();
            }
            Report::Failed(failure) => {
                // First: our own line is not to stand at the end of what the successor wrote.
                self.operating.came_to_nothing(FailureKind::Failed, &failure.to_string());
                say!(error: %failure, "restart failed, serving on");
                self.shared.report(Event::Failed(failure.clone()));
                self.answer_failed(&Err(RestartError::Failed(failure)));
            }
            Report::TakenBack(failure) => {
                self.operating.came_to_nothing(FailureKind::TakenBack, &failure.to_string());
                say!(error: %failure, "restart taken back, accepting again");
                self.shared.report(Event::TakenBack(failure.clone()));
                self.answer_failed(&Err(RestartError::TakenBack(failure)));
            }
            Report::OutOfTurn(message) => {
                say!(warn: ?message, "the successor speaks out of turn");
                if let Some(successor) = self.successor() {
                    successor.spoke_in_vain();
                }
            }
            #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
            _ => {}
        }
    }

    fn answer_failed(&mut self, result: &Result<Outcome, RestartError>) {
        self.answer_all(result);
        // The machine starts the remembered one next; from now on it is the one that these wait for.
        self.answers.append(&mut self.later);
    }

    fn answer_stopped(&mut self) {
        self.answers.append(&mut self.later);
        self.answer_all(&Err(RestartError::Stopped));
    }

    /// Those who wait for the restart that is on its way.
    pub(super) fn answer_all(&mut self, result: &Result<Outcome, RestartError>) {
        #[cfg(feature = "control")]
        self.operating.keep_outcome(result);
        let answers = std::mem::take(&mut self.answers);
        self.answer(answers, result);
    }

    pub(super) fn answer(
        &mut self,
        waiting: impl IntoIterator<Item = Answer>,
        result: &Result<Outcome, RestartError>,
    ) {
        for answer in waiting {
            // Whoever hears of it finds it in the log.
            crate::say::finish();
            match answer {
                // Whoever has dropped the future does not want to know.
                Answer::Handle(answer) => drop(answer.send(result.clone())),
                #[cfg(feature = "control")]
                Answer::Control(follower) => self.operating.answer(follower, result),
            }
        }
    }

    fn end(&mut self, reason: Reason) {
        self.progress = None;
        self.upgraded = None;
        let mut aborted = self.shared.tracker.hammer();
        self.leave_to_successor(&mut aborted);
        self.hammered(aborted);
        let aborted = std::mem::take(&mut self.aborted);
        if reason == Reason::Shutdown
            && let Some(pid_file) = self.pid_file.take()
        {
            pid_file.remove();
        }
        let mut wait = BIRTH;
        // A hammer that fell because somebody asked for it is not kept waiting.
        if reason == Reason::Restart || aborted.is_empty() {
            let is_any = self.giving.give_at_end(&self.shared.providers);
            if is_any && reason == Reason::Restart {
                wait = wait.saturating_add(self.giving.longest());
            }
        }
        let figures = self.operating.drained(aborted.len());
        self.tell_successor(&figures);
        self.tell_supervisor(&figures);
        self.held_end = Some((after(Instant::now(), wait), Ending { reason, aborted }));
        self.release_end_if_done();
    }

    /// What a successor was sent and has not answered for (it is stopped, say) waits in its channel, which outlives this
    /// process: it has moved, and nobody has aborted it.
    fn leave_to_successor(&mut self, aborted: &mut Vec<ConnectionStatus>) {
        let (all, mut sent) = (aborted.len(), self.moves.unanswered());
        aborted.retain(|connection| {
            let has_moved = sent > 0 && connection.state == State::Moving;
            sent -= usize::from(has_moved);
            !has_moved
        });
        self.shared.service.moved(all - aborted.len());
        self.operating.moved(all - aborted.len());
    }

    /// Once nobody is being born, and the successor has all that it was promised.
    pub(super) fn release_end_if_done(&mut self) {
        let is_spawning = matches!(self.attempt, Some(Attempt { step: Step::Spawning(_), .. }));
        if !is_spawning && self.giving.is_idle() {
            self.release_end();
        }
    }

    pub(super) fn hammer_upgraded(&mut self, now: Instant) {
        if self.upgraded.take_if(|due| now >= *due).is_some() {
            let aborted = self.shared.tracker.hammer_kinds(&[Kind::Raw, Kind::Upgraded]);
            self.hammered(aborted);
        }
    }

    fn hammered(&mut self, aborted: Vec<ConnectionStatus>) {
        if aborted.is_empty() {
            return;
        }
        say!(warn: aborted = aborted.len(), "the hammer fell");
        for connection in aborted.iter().take(LISTED) {
            say!(warn: %connection, "aborted");
        }
        self.shared.report(Event::Hammered { aborted: aborted.len() });
        self.aborted.extend(aborted);
    }

    pub(super) fn tell_progress(&mut self, now: Instant) {
        let (Some(due), Some(deadline)) = (self.progress, self.serving.deadline()) else { return };
        if now < due {
            return;
        }
        self.progress = Some(now + PROGRESS);
        let (by_kind, oldest) = self.shared.tracker.census();
        let within = deadline.saturating_duration_since(now);
        if let Some(oldest) = &oldest {
            let left: usize = by_kind.iter().map(|(_, count)| count).sum();
            say!(info: left, %oldest, ?within, "still draining");
        }
        self.operating.progress(&by_kind, oldest.as_ref(), within);
        self.shared.report(Event::Progress { left: by_kind, oldest, within });
    }

    pub(super) fn release_end(&mut self) {
        if let Some((_, ending)) = self.held_end.take() {
            say!(info: reason = ?ending.reason, "ended");
            self.operating.ended();
            self.shared.report(Event::Ended);
            self.shared.service.flush();
            finish_hooks();
            crate::say::finish();
            self.shared.ending.send_replace(Some(ending));
        }
    }

    fn sockets(&self) -> &[Arc<Socket>] {
        self.attempt.as_ref().map_or(&[], |attempt| &attempt.sockets)
    }

    pub(super) fn successor_pid(&self) -> Option<u32> {
        match self.attempt.as_ref()?.step {
            Step::Running { pid, .. } => Some(pid),
            Step::Spawning(_) => None,
        }
    }

    fn since_request(&self) -> Duration {
        self.attempt.as_ref().map(|attempt| attempt.requested.elapsed()).unwrap_or_default()
    }
}

/// How long the end waits for an exec that is under way, so that what comes of it can be killed. An exec takes
/// well under a millisecond; one from a file system that hangs is not waited for any longer. Nor is the final state
/// when this process was asked to stop, or the successor's reading of it.
const BIRTH: Duration = Duration::from_secs(2);

/// How often a drain that takes long tells how it comes along: often enough for a progress bar on a terminal, seldom
/// enough for a log.
const PROGRESS: Duration = Duration::from_secs(1);

/// How many aborted connections are named in the log; the rest are in the [`Ending`].
const LISTED: usize = 20;
