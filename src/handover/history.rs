//! What became of the restarts before this one: told from generation to generation, so that an operator who
//! asks the process that serves hears of all of them.
//!
//! Plain figures for people: nothing here decides anything.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::message::cut;
use super::moves::Moves;

/// The figures, since the first generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When the first generation was started, in milliseconds since 1970.
    pub born: u64,
    /// Restarts whose successor became the service.
    pub settled: u64,
    /// Restarts whose successor did not get ready.
    pub failed: u64,
    /// Restarts whose successor was lost after it was ready.
    pub taken_back: u64,
    /// Restarts that were not tried.
    pub refused: u64,
    /// Connections that moved to a successor, as far as their process has told.
    pub moved: u64,
    /// Connections that the hammer aborted, as far as their process has told.
    pub aborted: u64,
    /// When the restart was asked for that this process comes from, in milliseconds since 1970; 0 for none.
    pub asked: u64,
    /// The last restart that failed.
    pub last_failure: Option<PastFailure>,
    /// The connections that moved by what was spoken on them, and those that stayed by why. It goes beside
    /// the rest, in a form of its own.
    pub moves: Moves,
}

/// A restart that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastFailure {
    /// What it came to.
    pub kind: FailureKind,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Why; at most [`MAX_PAST_REASON`] bytes.
    pub reason: String,
}

/// How a restart failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The successor did not get ready.
    Failed,
    /// It was lost after it was ready.
    TakenBack,
    /// It was not tried.
    Refused,
}

/// Longest reason that is handed on: it travels in the environment of every generation to come, so it is the
/// start of an error and no log.
pub const MAX_PAST_REASON: usize = 512;

impl History {
    /// A first generation, born now.
    pub fn born_now() -> History {
        History { born: unix_millis(), ..History::default() }
    }

    /// A restart has failed now.
    pub fn add_failure(&mut self, kind: FailureKind, reason: &str) {
        match kind {
            FailureKind::Failed => self.failed += 1,
            FailureKind::TakenBack => self.taken_back += 1,
            FailureKind::Refused => self.refused += 1,
        }
        let reason = cut(reason, MAX_PAST_REASON).to_owned();
        self.last_failure = Some(PastFailure { kind, at: unix_millis(), reason });
    }

    /// A process tells at its end what became of its connections.
    pub(crate) fn add_drain(&mut self, moved: u64, aborted: u64, moves: &Moves) {
        self.moved = self.moved.saturating_add(moved);
        self.aborted = self.aborted.saturating_add(aborted);
        self.moves.add(moves);
    }

    pub(super) fn encode(&self, escape: fn(&[u8]) -> String) -> String {
        let History {
            born,
            settled,
            failed,
            taken_back,
            refused,
            moved,
            aborted,
            asked,
            last_failure,
            moves: _,
        } = self;
        let mut text = format!("{born}/{settled}/{failed}/{taken_back}/{refused}/{moved}/{aborted}/{asked}");
        if let Some(PastFailure { kind, at, reason }) = last_failure {
            let reason = escape(cut(reason, MAX_PAST_REASON).as_bytes());
            let _ = write!(text, "/{}/{at}/{reason}", kind.number());
        }
        text
    }

    /// `None` for what cannot be read. What a later release writes behind it is passed over.
    pub(super) fn decode(text: &str, unescape: fn(&str) -> Option<Vec<u8>>) -> Option<History> {
        let mut parts = text.split('/');
        let mut number = || parts.next()?.parse().ok();
        let mut history = History {
            born: number()?,
            settled: number()?,
            failed: number()?,
            taken_back: number()?,
            refused: number()?,
            moved: number()?,
            aborted: number()?,
            asked: number()?,
            last_failure: None,
            moves: Moves::default(),
        };
        if let (Some(kind), Some(at), Some(reason)) = (parts.next(), parts.next(), parts.next()) {
            let reason = String::from_utf8_lossy(&unescape(reason)?).into_owned();
            let reason = cut(&reason, MAX_PAST_REASON).to_owned();
            let kind = FailureKind::from_number(kind.parse().ok()?);
            history.last_failure =
                kind.zip(at.parse().ok()).map(|(kind, at)| PastFailure { kind, at, reason });
        }
        Some(history)
    }
}

impl FailureKind {
    fn number(self) -> u8 {
        match self {
            FailureKind::Failed => 1,
            FailureKind::TakenBack => 2,
            FailureKind::Refused => 3,
        }
    }

    fn from_number(number: u8) -> Option<FailureKind> {
        match number {
            1 => Some(FailureKind::Failed),
            2 => Some(FailureKind::TakenBack),
            3 => Some(FailureKind::Refused),
            _ => None,
        }
    }
}

/// The wall clock, which is the one that two processes and a person have in common.
pub(crate) fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long ago that was; nothing, if the clock has been set back since.
pub(crate) fn since_unix_millis(then: u64) -> Duration {
    Duration::from_millis(unix_millis().saturating_sub(then))
}
