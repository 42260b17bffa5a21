//! The driver's other half: doing what the machines ask.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::super::outcome::{Outcome, RestartError};
use super::super::shared::{Answer, Life};
use super::{Attempt, Driver, Step};
use crate::aside::own_thread::on_own_thread_or;
use crate::drain::{ConnectionState, ConnectionStatus, Kind};
use crate::handdown::peer::{Did, Peer};
use crate::handover::Failure;
use crate::handover::after;
use crate::handover::history::{History, unix_millis};
use crate::handover::launch::{self, Report};
use crate::handover::message::{Message, Takes};
use crate::handover::serving::{self, Reason};
use crate::handover::succeed::{self, Departure};
use crate::operate::event::Event;
use crate::restarter::ending::Ending;
use crate::restarter::signals::finish_hooks;
use crate::sockets::socket::Socket;

impl Driver {
    /// Does what the machines ask, until they ask for nothing more.
    pub(super) fn act(&mut self) {
        let now = Instant::now();
        self.act_on_succeed(now);
        self.act_on_launch(now);
        // Who has left before it served has nothing that a hammer could fall on.
        if std::mem::take(&mut self.farewell.hammer_is_due) && !self.has_left() {
            self.serving.hammer_now();
        }
        self.act_on_serving(now);
    }

    fn act_on_succeed(&mut self, now: Instant) {
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
                succeed::Action::Shutdown { within } => {
                    self.answer_stopped();
                    self.serving.shutdown(now, within);
                }
                succeed::Action::Leave(departure) => self.leave(departure),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn act_on_launch(&mut self, now: Instant) {
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
                launch::Action::Shutdown { within } => {
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
                    self.tell(Event::Stopping { notice: self.deadlines.notice });
                }
                serving::Action::ServeBacklog => {
                    self.shared.listeners.serve_backlog();
                    self.farewell.backlog = true;
                }
                serving::Action::CloseListeners => {
                    self.farewell.backlog = false;
                    self.shared.listeners.close();
                }
                serving::Action::Drain { deadline, reason } => {
                    *self.shared.drain.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some((reason, deadline));
                    self.farewell.progress = Some(now + PROGRESS);
                    self.farewell.upgraded = self.deadlines.upgraded.and_then(|limit| now.checked_add(limit));
                    let connections = self.shared.tracker.count();
                    let within = deadline.saturating_duration_since(now);
                    self.shared.tracker.begin(self.deadlines.idle_linger);
                    // Begun first: who hears of it finds it begun.
                    self.tell(Event::Draining { connections, within });
                    self.farewell.connections = Some(now + serving::EMPTYING);
                }
                serving::Action::Hammer => self.farewell.connections = None,
                serving::Action::End(reason) => self.end(reason),
                #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
                _ => {}
            }
        }
    }

    fn start_accepting(&mut self) {
        // Before the first connection: it may be a prober's, who is not to hear that this process is not
        // ready.
        self.shared.ready.store(true, Ordering::Relaxed);
        self.shared.listeners.accept();
        self.shared.life.send_replace(Life::Accepting);
        self.tell(Event::Accepting { generation: self.shared.generation });
    }

    fn serve(&mut self, now: Instant, restart: bool) {
        self.shared.listeners.settled();
        if !self.announcement.is_own {
            // The predecessor wrote our id to its own pid file; ours may be another.
            self.announce_own(true);
        }
        self.operating.serves();
        self.shared.is_watched.store(false, Ordering::Relaxed);
        say!(debug: "settled, this process is the service");
        if restart {
            self.waiting.now.append(&mut self.waiting.later);
            self.request(now, None);
        }
        self.turn_away_followers();
    }

    /// Before the drain begins: what is to move is not told to close.
    pub(super) fn offer_moves(&mut self) {
        if let Some(attempt) = self.attempt.as_ref().filter(|attempt| attempt.takes.moves) {
            let mover = self.moves.open(attempt.takes, self.deadlines.drain);
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
        crate::aside::say::finish();
        self.shared.life.send_replace(Life::Left(departure));
        self.shared.ending.send_replace(Some(Ending { reason: Reason::Shutdown, aborted: Vec::new() }));
        self.shared.tracker.begin(Duration::ZERO);
    }

    pub(super) fn has_left(&self) -> bool {
        matches!(*self.shared.life.borrow(), Life::Left(_))
    }

    fn spawn(&mut self, now: Instant) {
        let sockets = self.shared.listeners.open();
        self.recipe.history = Some(History { asked: unix_millis(), ..self.operating.history.clone() });
        let recipe = self.recipe.clone();
        let (handed, pid_file) = (sockets.clone(), self.pid_file.clone());
        let descriptors = self.shared.descriptors.handed_down();
        self.giving.forget();
        // A thread of its own, since an exec from a file system that hangs must not keep a stop from being
        // heard.
        let making = on_own_thread_or(
            "heirloom-start",
            move || recipe.make(None, &handed, pid_file.as_deref(), &descriptors, None),
            |no_thread| Err(Failure::Spawn { reason: format!("cannot start a successor: {no_thread}") }),
        );
        let step = Step::Spawning(making);
        self.attempt = Some(Attempt { requested: now, sockets, step, takes: Takes::default() });
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
        self.announcement.is_own = false;
        if let (Some(pid_file), Some(pid)) = (&self.pid_file, self.successor_pid()) {
            pid_file.write_successors(pid);
        }
        let pid = self.successor_pid().unwrap_or_default();
        self.operating.points_to(pid);
        let mut late = self.shared.listeners.open();
        late.retain(|socket| !self.sockets().iter().any(|handed| Arc::ptr_eq(handed, socket)));
        let late: Vec<_> = late.iter().map(|socket| socket.kept()).collect();
        // Nobody needs time to hear of it: so it is heard.
        let at_once = || oneshot::channel().1;
        let heard = self.shared.service.announce_successor(pid, &late).unwrap_or_else(at_once);
        self.announcement.heard = Some(heard);
    }

    fn announce_own(&mut self, is_known: bool) {
        // What was said of the successor does not count any more.
        (self.announcement.heard, self.announcement.is_own) = (None, true);
        if let Some(pid_file) = &self.pid_file {
            pid_file.write_own();
        }
        self.operating.points_to(std::process::id());
        // Last: whoever waits for it may use the others.
        self.shared.service.announce_own(&self.shared.listeners.kept(), is_known);
    }

    fn report(&mut self, report: Report) {
        let (pid, after) = (self.successor_pid().unwrap_or_default(), self.since_request());
        match report {
            Report::Starting => self.tell(Event::Starting),
            Report::Remembered => self.tell(Event::Remembered),
            Report::Ready => self.tell(Event::Ready { pid, after }),
            Report::Settled => {
                self.tell(Event::Settled { pid, after });
                self.answer_all(&Ok(Outcome::Settled { pid }));
                let later = std::mem::take(&mut self.waiting.later);
                self.answer(later, &Ok(Outcome::PassedOn));
                self.pass_on();
            }
            Report::Failed(failure) => {
                self.tell(Event::Failed(failure.clone()));
                self.answer_failed(&Err(RestartError::Failed(failure)));
            }
            Report::TakenBack(failure) => {
                self.tell(Event::TakenBack(failure.clone()));
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
        self.waiting.now.append(&mut self.waiting.later);
    }

    fn answer_stopped(&mut self) {
        self.waiting.now.append(&mut self.waiting.later);
        self.answer_all(&Err(RestartError::Stopped));
    }

    /// Those who wait for the restart that is on its way.
    pub(super) fn answer_all(&mut self, result: &Result<Outcome, RestartError>) {
        self.operating.keep_outcome(result);
        let answers = std::mem::take(&mut self.waiting.now);
        self.answer(answers, result);
    }

    pub(super) fn answer(
        &mut self,
        waiting: impl IntoIterator<Item = Answer>,
        result: &Result<Outcome, RestartError>,
    ) {
        for answer in waiting {
            // Logged first: who hears of it finds it in the log.
            crate::aside::say::finish();
            match answer {
                // If the future was dropped, nobody wants the answer.
                Answer::Handle(answer) => drop(answer.send(result.clone())),
                Answer::Control(follower) => self.operating.answer(follower, result),
            }
        }
    }

    fn end(&mut self, reason: Reason) {
        self.farewell.progress = None;
        self.farewell.upgraded = None;
        let mut aborted = self.shared.tracker.hammer();
        self.leave_to_successor(&mut aborted);
        self.hammered(aborted);
        self.tell_moved();
        let aborted = std::mem::take(&mut self.farewell.aborted);
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
        let figures = self.operating.drained(aborted.len(), &self.shared.tracker.unmoved());
        self.tell_successor(&figures);
        self.tell_supervisor(&figures);
        self.farewell.held = Some((after(Instant::now(), wait), Ending { reason, aborted }));
        self.release_end_if_done();
    }

    /// What a successor was sent and has not answered for (it is stopped, say) waits in its channel, which
    /// outlives this process: it has moved, and nobody has aborted it.
    fn leave_to_successor(&mut self, aborted: &mut Vec<ConnectionStatus>) {
        let (mut moved, mut sent) = (Vec::new(), self.moves.unanswered());
        aborted.retain(|connection| {
            let has_moved = sent > 0 && connection.state == ConnectionState::Moving;
            if has_moved {
                sent -= 1;
                moved.push(connection.kind.name_with(connection.tls));
            }
            !has_moved
        });
        self.moved(&moved);
    }

    /// These went on in the successor: what was spoken on each.
    pub(super) fn moved(&mut self, spoken: &[&'static str]) {
        self.shared.service.moved(spoken);
        self.operating.moved(spoken);
    }

    /// Once nobody is being born, and the successor has all that it was promised.
    pub(super) fn release_end_if_done(&mut self) {
        let is_spawning = matches!(self.attempt, Some(Attempt { step: Step::Spawning(_), .. }));
        if !is_spawning && self.giving.is_idle() {
            self.release_end();
        }
    }

    pub(super) fn hammer_upgraded(&mut self, now: Instant) {
        if self.farewell.upgraded.take_if(|due| now >= *due).is_some() {
            let aborted = self.shared.tracker.hammer_kinds(&[Kind::Raw, Kind::Upgraded]);
            self.hammered(aborted);
        }
    }

    fn hammered(&mut self, aborted: Vec<ConnectionStatus>) {
        if aborted.is_empty() {
            return;
        }
        self.tell(Event::Hammered { aborted: aborted.len() });
        for connection in aborted.iter().take(LISTED) {
            say!(warn: %connection, "aborted");
        }
        self.farewell.aborted.extend(aborted);
    }

    pub(super) fn tell_progress(&mut self, now: Instant) {
        let (Some(due), Some(deadline)) = (self.farewell.progress, self.serving.deadline()) else { return };
        if now < due {
            return;
        }
        self.farewell.progress = Some(now + PROGRESS);
        let (by_kind, oldest) = self.shared.tracker.census();
        let within = deadline.saturating_duration_since(now);
        self.tell(Event::Progress { left: by_kind, oldest, within });
    }

    pub(super) fn release_end(&mut self) {
        if let Some((_, ending)) = self.farewell.held.take() {
            self.tell(Event::Ended { reason: ending.reason });
            self.shared.service.flush();
            finish_hooks();
            crate::aside::say::finish();
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

/// How long the end waits for an exec that is under way, so that what comes of it can be killed. An exec
/// takes well under a millisecond; one from a file system that hangs is not waited for any longer. Nor is the
/// final state when this process was asked to stop, or the successor's reading of it.
const BIRTH: Duration = Duration::from_secs(2);

/// How often a drain that takes long tells how it comes along: often enough for a progress bar on a terminal,
/// seldom enough for a log.
const PROGRESS: Duration = Duration::from_secs(1);

/// How many aborted connections are named in the log; the rest are in the [`Ending`].
const LISTED: usize = 20;
