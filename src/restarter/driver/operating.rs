//! The driver's part in being operated: what became of restarts, for the generations to come and for
//! operators.
//!
//! The driver calls these where something happens; nothing here decides anything.

mod operated;
mod telling;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::handover::history::{FailureKind, History, since_unix_millis};
use crate::handover::message::Message;
use crate::handover::moves::Moves;
use crate::operate::event::Event;
use crate::operate::stderr::Mark;

pub(super) use telling::{Asked, Control};

/// What there is to tell.
#[derive(Debug)]
pub(super) struct Operating {
    pub(super) history: History,
    /// The restart that this process comes from.
    time_to_ready: Option<Duration>,
    drained: Option<Drained>,
    predecessor: Option<u32>,
    born: Instant,
    attempt: Option<Try>,
    /// Since when, and with how many connections.
    drain: Option<(Instant, usize)>,
    /// A successor is the service.
    handed_over: bool,
    moved: u64,
    moved_by_kind: BTreeMap<&'static str, u64>,
    control: Control,
}

/// How the predecessor's drain went.
#[derive(Clone, Copy, Debug)]
struct Drained {
    took: Duration,
    moved: u64,
    aborted: u64,
}

/// The restart that is on its way, or has settled.
#[derive(Debug)]
struct Try {
    requested: Instant,
    pid: Option<u32>,
    is_ready: bool,
    /// Of a panic, say: the reason for its end, if it comes to that.
    last_words: Option<String>,
    /// Where standard error ended when it was started, and what has come since when it was lost.
    stderr: (Option<std::sync::Arc<Mark>>, String),
}

impl Operating {
    pub(super) fn new(history: History, predecessor: Option<u32>, control: Control) -> Operating {
        Operating {
            history,
            time_to_ready: None,
            drained: None,
            predecessor,
            born: Instant::now(),
            attempt: None,
            drain: None,
            handed_over: false,
            moved: 0,
            moved_by_kind: BTreeMap::new(),
            control,
        }
    }

    /// What has happened, for the generations to come and for whoever asks later.
    pub(super) fn remember(&mut self, happening: &Event) {
        match happening {
            Event::Accepting { .. } if self.history.asked > 0 => {
                self.time_to_ready = Some(since_unix_millis(self.history.asked));
            }
            Event::Starting => self.starts_a_successor(Instant::now()),
            Event::Spawned { pid, .. } => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.pid = Some(*pid);
                }
            }
            Event::Ready { .. } => {
                if let Some(attempt) = &mut self.attempt {
                    attempt.is_ready = true;
                }
            }
            Event::Settled { .. } => self.history.settled += 1,
            Event::Refused(refusal) => self.came_to_nothing(FailureKind::Refused, &refusal.to_string()),
            Event::Failed(failure) => self.came_to_nothing(FailureKind::Failed, &failure.to_string()),
            Event::TakenBack(failure) => self.came_to_nothing(FailureKind::TakenBack, &failure.to_string()),
            Event::Draining { connections, .. } => {
                self.drain = Some((Instant::now(), *connections));
                // What was seen a moment ago knows of no drain.
                self.control.forget_what_was_seen();
            }
            _ => {}
        }
    }

    /// This process is the service.
    pub(super) fn serves(&mut self) {
        if std::mem::take(&mut self.history.asked) > 0 {
            self.history.settled += 1;
        }
    }

    pub(super) fn starts_a_successor(&mut self, now: Instant) {
        self.attempt = Some(Try {
            requested: now,
            pid: None,
            is_ready: false,
            last_words: None,
            stderr: (Mark::at_the_end(), String::new()),
        });
    }

    pub(super) fn last_words(&mut self, text: String) {
        if let Some(attempt) = &mut self.attempt {
            attempt.last_words = Some(text);
        }
    }

    /// How the successor ended, with what it has said of that.
    pub(super) fn with_last_words(&mut self, how: String) -> String {
        match self.attempt.as_mut().and_then(|attempt| attempt.last_words.take()) {
            Some(words) => format!("{how}: {words}"),
            None => how,
        }
    }

    fn came_to_nothing(&mut self, kind: FailureKind, reason: &str) {
        self.history.add_failure(kind, reason);
        if let Some(attempt) = &mut self.attempt {
            attempt.stderr.1 = attempt.stderr.0.take().map(|mark| mark.read()).unwrap_or_default();
        }
    }

    pub(super) fn hands_over(&mut self) {
        self.handed_over = true;
    }

    pub(super) fn has_handed_over(&self) -> bool {
        self.handed_over
    }

    /// These have moved: what was spoken on each.
    pub(super) fn moved(&mut self, spoken: &[&'static str]) {
        self.moved += spoken.len() as u64;
        for kind in spoken {
            *self.moved_by_kind.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn moved_by_kind(&self) -> &BTreeMap<&'static str, u64> {
        &self.moved_by_kind
    }

    /// What the successor is told of the drain that has ended. `unmoved`: how many connections were to move
    /// and stayed, by reason.
    pub(super) fn drained(&mut self, aborted: usize, unmoved: &BTreeMap<&'static str, u64>) -> Message {
        let took = self.drain.map(|(since, _)| since.elapsed()).unwrap_or_default();
        let (moved, aborted) = (self.moved, aborted as u64);
        let moves = Moves::of(&self.moved_by_kind, unmoved);
        self.history.add_drain(moved, aborted, &moves);
        self.drained = Some(Drained { took, moved, aborted });
        Message::Drained { took, moved, aborted, moves }
    }

    /// What the predecessor tells of its drain.
    pub(super) fn predecessor_drained(&mut self, took: Duration, moved: u64, aborted: u64, moves: &Moves) {
        // Once, whatever it says.
        if self.drained.is_none() {
            self.history.add_drain(moved, aborted, moves);
            self.drained = Some(Drained { took, moved, aborted });
        }
    }

    fn since_request(&self) -> Duration {
        self.attempt.as_ref().map(|attempt| attempt.requested.elapsed()).unwrap_or_default()
    }
}
