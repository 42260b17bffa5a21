//! The clients: a thread each.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::answer::{self, Answer};
use super::wire::{Look as Seen, Symptom, Trouble, Wire};
use super::{Expect, Failure, Look, Mode, Shared, Target, Think};

/// What all clients of a load do.
pub(super) struct Plan {
    pub(super) target: Target,
    pub(super) mode: Mode,
    request: Vec<u8>,
    expect: Expect,
    patience: Duration,
}

impl Plan {
    pub(super) fn new(target: Target, mode: Mode, path: &str, expect: Expect, patience: Duration) -> Plan {
        Plan { target, mode, request: answer::request(path), expect, patience }
    }
}

/// Said once, to those that think as well.
#[derive(Debug, Default)]
pub(super) struct Stop {
    is_said: Mutex<bool>,
    said: Condvar,
}

impl Stop {
    pub(super) fn say(&self) {
        *self.is_said.lock().unwrap() = true;
        self.said.notify_all();
    }

    /// Whether it is said, after this pause at the latest.
    fn within(&self, pause: Duration) -> bool {
        let is_said = self.is_said.lock().unwrap();
        *self.said.wait_timeout_while(is_said, pause, |is_said| !*is_said).unwrap().0
    }
}

pub(super) struct Client {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    connection: Option<Wire>,
    dice: u64,
}

/// Why a request failed, in kind and in words.
struct Lost(Failure, String);

impl Client {
    pub(super) fn new(plan: Arc<Plan>, shared: Arc<Shared>, number: usize) -> Client {
        // Any odd constant will do; equal seeds would make the clients think in step.
        let dice = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number as u64 + 1);
        Client { plan, shared, connection: None, dice }
    }

    pub(super) fn run(mut self, stop: &Stop) {
        let mut pause = Duration::ZERO;
        while !stop.within(pause) {
            pause = match self.ask() {
                Ok((answer, latency)) => {
                    self.shared.record(|report| report.answered(&answer.body, latency, answer.closes));
                    self.think()
                }
                Err(Lost(kind, detail)) => {
                    self.shared.record(|report| report.failed_with(kind, &detail));
                    AFTER_FAILURE
                }
            };
        }
    }

    fn ask(&mut self) -> Result<(Answer, Duration), Lost> {
        let plan = Arc::clone(&self.plan);
        let (began, mut waited) = (Instant::now(), Duration::ZERO);
        let deadline = began + plan.patience;
        let mut wire = match self.kept()? {
            Some(kept) => kept,
            None => plan.target.connect(deadline)?,
        };
        if let Mode::KeepAlive { look: Look::ThenWait(wait), .. } = plan.mode {
            std::thread::sleep(wait); // allow: sleep (the round trip between the look and the request)
            waited = wait;
        }
        wire.begin(deadline);
        wire.send(&plan.request)?;
        let answer = Answer::from(wire.answer()?);
        let latency = began.elapsed().saturating_sub(waited);
        if wire.has_more() {
            return Err(Lost(Failure::BadAnswer, "bytes after the answer".to_owned()));
        }
        plan.expect.check(&answer)?;
        if matches!(plan.mode, Mode::KeepAlive { .. }) && !answer.closes {
            self.connection = Some(wire);
        }
        Ok((answer, latency))
    }

    /// The connection of the last request. An unseen close is the race that this client is here to lose.
    fn kept(&mut self) -> Result<Option<Wire>, Lost> {
        let Some(mut kept) = self.connection.take() else { return Ok(None) };
        if matches!(self.plan.mode, Mode::KeepAlive { look: Look::Never, .. }) {
            return Ok(Some(kept));
        }
        match kept.look() {
            Seen::Quiet => Ok(Some(kept)),
            Seen::Closed => {
                self.shared.record(|report| report.reconnects += 1);
                Ok(None)
            }
            Seen::Spoke => Err(Lost(Failure::BadAnswer, "bytes on an idle connection".to_owned())),
            Seen::Reset => Err(Lost(Failure::Reset, "an idle connection was reset".to_owned())),
        }
    }

    fn think(&mut self) -> Duration {
        let Think { from, to } = self.plan.mode.think();
        // xorshift64: even enough for a pause.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let span = u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX);
        from + Duration::from_millis(self.dice % (span + 1))
    }
}

impl From<Trouble> for Lost {
    fn from(trouble: Trouble) -> Lost {
        let kind = match trouble.symptom {
            Symptom::Refused => Failure::Refused,
            Symptom::Reset | Symptom::Closed if trouble.had_begun => Failure::CutOff,
            Symptom::Reset => Failure::Reset,
            Symptom::Closed => Failure::Empty,
            Symptom::Silent => Failure::TimedOut,
            Symptom::Status(_) | Symptom::Garbled(_) | Symptom::Cancelled(_) | Symptom::Slow(_) => {
                Failure::BadAnswer
            }
            Symptom::Own(_) => Failure::Local,
        };
        Lost(kind, trouble.to_string())
    }
}

impl Expect {
    fn check(&self, answer: &Answer) -> Result<(), Lost> {
        let Answer { status, body, .. } = answer;
        if *status != 200 {
            return Err(Lost(Failure::BadAnswer, format!("status {status}: {body:?}")));
        }
        let right = match self {
            Expect::Anything => true,
            Expect::Number => body.trim_end().parse::<u64>().is_ok(),
            Expect::StartsWith(start) => body.starts_with(start),
        };
        if right { Ok(()) } else { Err(Lost(Failure::WrongBody, format!("{body:?}"))) }
    }
}

/// A server that refuses everything would otherwise be asked 100,000 times a second, and the machine with it.
const AFTER_FAILURE: Duration = Duration::from_millis(1);
