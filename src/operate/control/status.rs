//! What a service is doing, as it is told and as `heirloom status --json` prints it.
//!
//! One process tells what it knows: of itself everything, of its predecessor and its successor that they are
//! there. The command asks those as well, and whom they name, and puts what each says of itself in its place.
//! A supervisor tells of its workers.

use std::collections::BTreeMap;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::handover::history::{self, FailureKind, History, since_unix_millis};

/// How many connections a status names: enough to see who holds a process, and a screenful.
pub const OLDEST: usize = 10;

/// What a service is doing: the shape of `heirloom status --json`. Members are added, and never change their
/// meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServiceStatus {
    /// What was asked: `restarter`, a server that replaces itself, or `supervisor`, a parent of workers.
    pub kind: String,
    /// The release of heirloom that answers.
    pub version: String,
    /// The process that answers, as its own PID namespace has it.
    pub pid: u32,
    /// The process that the service is, if any: it accepts, and it is the one to restart.
    pub serving: Option<u32>,
    /// The supervisor whose worker it is: what that one tells is the whole service.
    #[serde(default)]
    pub supervisor: Option<u32>,
    /// When the first generation started, in milliseconds since 1970; 0 if that is not told. Every generation
    /// says the same.
    #[serde(default)]
    pub born_unix_ms: u64,
    /// Since the first generation started.
    pub service_uptime_ms: u64,
    /// Restarts since then, by outcome.
    pub restarts: Restarts,
    /// The last restart that failed.
    pub last_failure: Option<PastFailure>,
    /// The restart that the serving generation comes from.
    pub last_restart: Option<PastRestart>,
    /// Connections that moved or were aborted at restarts since then, as far as their processes have ended.
    pub connections: Moved,
    /// The restart that is on its way.
    pub restart: Option<RestartStatus>,
    /// Every generation that is alive, oldest first. (Of one process that was asked: itself and its
    /// neighbours.)
    pub generations: Vec<GenerationStatus>,
}

/// Restarts by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Restarts {
    /// The successor became the service.
    pub settled: u64,
    /// It did not get ready.
    pub failed: u64,
    /// It was lost after it was ready.
    pub taken_back: u64,
    /// Not tried.
    pub refused: u64,
    /// A supervisor's workers that had died, or left by themselves, and were replaced.
    #[serde(default)]
    pub respawned: u64,
}

/// A restart that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastFailure {
    /// `failed`, `taken_back` or `refused`.
    pub outcome: String,
    /// The reason, for people.
    pub reason: String,
    /// The time of the failure, in milliseconds since 1970.
    pub at_unix_ms: u64,
    /// How long ago.
    pub ago_ms: u64,
}

impl Restarts {
    pub(crate) fn of(history: &History) -> Restarts {
        Restarts {
            settled: history.settled,
            failed: history.failed,
            taken_back: history.taken_back,
            refused: history.refused,
            respawned: 0,
        }
    }
}

impl PastFailure {
    pub(crate) fn of(failure: &history::PastFailure) -> PastFailure {
        let outcome = match failure.kind {
            FailureKind::Failed => "failed",
            FailureKind::TakenBack => "taken_back",
            FailureKind::Refused => "refused",
        };
        PastFailure {
            outcome: outcome.to_owned(),
            reason: failure.reason.clone(),
            at_unix_ms: failure.at,
            ago_ms: whole_millis(since_unix_millis(failure.at)),
        }
    }
}

/// A restart that settled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PastRestart {
    /// From the request until the successor accepted.
    pub time_to_ready_ms: Option<u64>,
    /// How long the predecessor drained; not known while it does, or if it was killed. Of a supervisor's
    /// worker that does not tell, how long it was there after it was told to stop.
    pub drain_ms: Option<u64>,
    /// How many connections moved; not known while it drains, or if it did not tell.
    pub moved: Option<u64>,
    /// How many the hammer aborted; as above.
    pub aborted: Option<u64>,
}

/// What became of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Moved {
    /// To a successor.
    pub moved: u64,
    /// By the hammer.
    pub aborted: u64,
    /// Those that moved, by what was spoken on them, as in [`GenerationDetail::moved`]. A generation of an
    /// older release tells only how many there were.
    #[serde(default)]
    pub by_kind: BTreeMap<String, u64>,
    /// How many times one was to move and stayed, by reason, as in [`GenerationDetail::unmoved`].
    #[serde(default)]
    pub unmoved: BTreeMap<String, u64>,
}

impl Moved {
    pub(crate) fn of(history: &History) -> Moved {
        Moved {
            moved: history.moved,
            aborted: history.aborted,
            by_kind: history.moves.moved.clone(),
            unmoved: history.moves.unmoved.clone(),
        }
    }
}

/// A restart that is on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RestartStatus {
    /// `starting` or `probation`.
    pub phase: String,
    /// The successor's process, once there is one.
    pub pid: Option<u32>,
    /// Since the request.
    pub since_ms: f64,
    /// Whether another one follows it.
    pub remembered: bool,
}

/// Where a generation is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Role {
    /// Initialises, and accepts nothing yet.
    Starting,
    /// Accepts, and is watched by its predecessor.
    Probation,
    /// Is the service.
    Serving,
    /// A successor serves; finishes what it has.
    Draining,
    /// Nobody serves on; finishes what it has.
    Stopping,
    /// Will end without having served.
    Leaving,
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationStatus {
    /// Its id, as its own PID namespace has it.
    pub pid: u32,
    /// From 1.
    pub generation: u64,
    /// Where it is in its life.
    pub role: Role,
    /// Its control socket, in its own mount namespace, where it has one.
    #[serde(default)]
    pub control: Option<String>,
    /// What it says of itself; `None` if it was not asked.
    #[serde(default)]
    pub detail: Option<GenerationDetail>,
}

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationDetail {
    /// Since it started.
    pub uptime_ms: u64,
    /// Whether more clients should be sent to it.
    pub ready: bool,
    /// How many connections it has, by kind: `raw`, `http1`, `http2`, `upgraded`, and where WebSockets and
    /// event streams move also `websocket` and `stream`.
    pub connections: BTreeMap<String, u64>,
    /// Those that have been there for longest, at most [`OLDEST`].
    pub oldest: Vec<ConnectionDetail>,
    /// How many it has moved to its successor, by what was spoken on them: a kind as in
    /// [`connections`](Self::connections), with `+tls` behind it if over heirloom's own TLS (`http1`,
    /// `websocket+tls`).
    #[serde(default)]
    pub moved: BTreeMap<String, u64>,
    /// How many times one was to move and stayed, by reason. `refused`: no successor takes it. `too_much`:
    /// what would have had to go along is over a limit. `tls`: its keys cannot be followed. Of a WebSocket or
    /// a stream also `busy`, in the middle of a message for too long; `ending`, at its end; `extension`,
    /// compressed with a memory; `unsupported`, over HTTP/2 or TLS 1.2 or with too long a request. HTTP/2
    /// and TLS 1.2 are not asked to move at all, and else not among these.
    #[serde(default)]
    pub unmoved: BTreeMap<String, u64>,
    /// Its datagram sockets with conversations (the feature `udp`).
    #[serde(default)]
    pub flows: Vec<FlowsDetail>,
    /// How many it had when its drain began; `None` while it does not drain.
    #[serde(default)]
    pub drained_from: Option<u64>,
    /// When the hammer falls on them; `None` while it does not drain.
    pub hammer_in_ms: Option<u64>,
}

/// Conversations over one datagram socket, as one process knows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FlowsDetail {
    /// Where the socket is bound.
    pub address: String,
    /// Whether this process reads it.
    pub reads: bool,
    /// Datagrams that it has read, for whichever generation.
    pub received: u64,
    /// Those that belonged to nothing that is known.
    pub unknown: u64,
    /// Datagrams that it has forwarded to older generations.
    pub forwarded: u64,
    /// Datagrams for older generations that were dropped.
    pub dropped: u64,
    /// Conversations by the number of the generation that has them, as far as they are counted.
    pub by_generation: BTreeMap<String, u64>,
}

#[cfg(feature = "udp")]
impl FlowsDetail {
    pub(crate) fn of(status: &crate::udp::FlowsStatus) -> FlowsDetail {
        let counted = std::iter::once(&status.own).chain(&status.older).filter_map(|generation| {
            let flows = generation.flows.filter(|flows| *flows > 0)?;
            Some((generation.generation.to_string(), u64::try_from(flows).unwrap_or(u64::MAX)))
        });
        FlowsDetail {
            address: status.address.to_string(),
            reads: status.reads,
            received: status.received,
            unknown: status.unknown,
            forwarded: status.forwarded,
            dropped: status.dropped,
            by_generation: counted.collect(),
        }
    }
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectionDetail {
    /// What is spoken on it, as in [`GenerationDetail::connections`].
    pub kind: String,
    /// Whether that is over heirloom's own TLS.
    #[serde(default)]
    pub tls: bool,
    /// What it is doing: `fresh`, `idle`, `reading_head`, `busy`, `closing` or `moving`.
    pub state: String,
    /// Who is at the other end, if that is still known.
    pub peer: Option<String>,
    /// How long it has been there.
    pub age_ms: u64,
    /// How long it has been in that state.
    pub in_state_ms: u64,
}

pub(crate) fn millis(duration: Duration) -> f64 {
    // To the microsecond: more is noise.
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

pub(crate) fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
