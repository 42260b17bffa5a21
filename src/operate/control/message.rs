//! What is said on a control socket: one JSON object a line, both ways.
//!
//! Every object holds `"heirloom": 1`, the version. It changes only when a reader of the old one could be
//! misled; all else is added: unknown members and unknown replies are to be passed over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::status::{ConnectionDetail, ServiceStatus};

/// The version of what is said here.
pub const VERSION: u32 = 1;
/// Longest request in bytes. The longest that makes sense has a tenth of that.
pub const MAX_REQUEST: usize = 4 * 1024;
/// Longest reply in bytes. A status with its [`OLDEST`](super::status::OLDEST) connections stays far below,
/// whatever reasons are in it.
pub const MAX_REPLY: usize = 128 * 1024;

/// What an operator asks for. One request for each connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Request {
    /// What is going on: answered with [`Reply::Status`].
    Status,
    /// Restart, and tell each step until this process's end. A worker leaves both to its supervisor, which
    /// goes on with the connection.
    Restart,
    /// Tell each step of the restart that a predecessor has passed on to this process.
    Follow,
    /// Stop the service gracefully, and tell how the drain comes along.
    Stop {
        /// When the hammer is to fall, in milliseconds from now; else after the shutdown timeout.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within_ms: Option<u64>,
    },
    /// Abort what is left, now.
    Hammer,
}

/// What a process says. `after_ms` is since the request was acted on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reply {
    /// A successor is being started.
    Starting,
    /// A restart is on its way; this request is acted on after it.
    Remembered,
    /// The successor's process exists.
    #[non_exhaustive]
    Spawned {
        /// The successor's process id, as the server's PID namespace has it.
        pid: u32,
        /// Milliseconds since the request was acted on.
        after_ms: f64,
    },
    /// The successor says that its initialisation is done. It accepts nothing yet.
    #[non_exhaustive]
    Initialised {
        /// The successor's process id, as the server's PID namespace has it.
        pid: u32,
        /// Milliseconds since the request was acted on.
        after_ms: f64,
    },
    /// The successor accepts; its predecessor watches it.
    #[non_exhaustive]
    Ready {
        /// The successor's process id, as the server's PID namespace has it.
        pid: u32,
        /// Milliseconds since the request was acted on.
        after_ms: f64,
    },
    /// The successor is the service.
    #[non_exhaustive]
    Settled {
        /// The successor's process id, as the server's PID namespace has it.
        pid: u32,
        /// Milliseconds since the request was acted on.
        after_ms: f64,
    },
    /// Another restart has settled; its successor restarts once more for this request, and goes on with this
    /// connection. Should it not (its release is older), the connection ends here, and the successor is to be
    /// asked with [`Request::Follow`].
    #[non_exhaustive]
    PassedOn {
        /// The successor.
        pid: u32,
    },
    /// What could move to the successor at once has moved.
    #[non_exhaustive]
    Moved {
        /// How many connections moved.
        connections: u64,
        /// Milliseconds since the request was acted on.
        after_ms: f64,
    },
    /// The successor did not get ready. Nothing has changed.
    Failed(Lost),
    /// The successor was lost after it was ready. The process that was asked accepts again.
    TakenBack(Lost),
    /// It is not done.
    #[non_exhaustive]
    Refused {
        /// The reason, for people.
        reason: String,
    },
    /// The service was stopped before the restart was through.
    Stopped,
    /// The service stops. For `notice_ms` it goes on as before and only says that it is not ready for more.
    #[non_exhaustive]
    Stopping {
        /// For how long.
        notice_ms: f64,
    },
    /// This process begins to drain its connections.
    #[non_exhaustive]
    Draining {
        /// How many there are.
        connections: u64,
        /// When the hammer falls.
        within_ms: f64,
    },
    /// It still does; once a second.
    #[non_exhaustive]
    Progress {
        /// What is left, by kind.
        left: BTreeMap<String, u64>,
        /// The one that has been there for longest.
        #[serde(default)]
        oldest: Option<ConnectionDetail>,
        /// When the hammer falls.
        within_ms: f64,
    },
    /// This process has nothing left to do, and ends.
    #[non_exhaustive]
    Drained {
        /// When; for a stop, since the drain began.
        after_ms: f64,
        /// How many connections have moved.
        moved: u64,
        /// How many the hammer has aborted.
        aborted: u64,
    },
    /// What is going on.
    Status(Box<ServiceStatus>),
    /// The request cannot be acted on.
    #[non_exhaustive]
    Error {
        /// For programs.
        code: ErrorCode,
        /// For people.
        reason: String,
    },
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// A successor that was lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lost {
    /// Its process id, if there was a process.
    #[serde(default)]
    pub pid: Option<u32>,
    /// What happened, in the successor's own words if it had any.
    pub reason: String,
    /// The end of what was written to standard error since it was started, where that can be told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stderr: String,
    /// Where that goes if it cannot: a terminal, a pipe, the journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_goes_to: Option<String>,
    /// Milliseconds since the request was acted on.
    pub after_ms: f64,
}

/// Why a request cannot be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// It is no request.
    Malformed,
    /// It is of a version that this release must not guess at.
    Version,
    /// This release does not know what to do.
    Unsupported,
    /// It is longer than [`MAX_REQUEST`].
    TooLong,
    /// It did not come in time.
    TooSlow,
    /// There are too many clients; come again.
    Busy,
    /// The client is another user's.
    Permission,
    /// There is no restart to follow.
    Nothing,
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// One line of either kind.
#[derive(Serialize)]
struct Line<'a, T> {
    heirloom: u32,
    #[serde(flatten)]
    content: &'a T,
}

impl Request {
    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// Reads a line.
    pub fn decode(line: &[u8]) -> Result<Request, (ErrorCode, String)> {
        let malformed =
            |error: serde_json::Error| (ErrorCode::Malformed, format!("that is no request: {error}"));
        let value: serde_json::Value = serde_json::from_slice(line).map_err(malformed)?;
        match value.get("heirloom").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            Some(version) => {
                let reason = format!(
                    "the request has version {version}, this release of heirloom reads version {VERSION}"
                );
                return Err((ErrorCode::Version, reason));
            }
            None => {
                let reason = "that is no request: it has no version (\"heirloom\": 1)".to_owned();
                return Err((ErrorCode::Malformed, reason));
            }
        }
        let wanted = value.get("do").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
        match serde_json::from_value(value) {
            Ok(request) => Ok(request),
            Err(_) if !KNOWN.contains(&wanted.as_str()) => {
                let wanted: String = wanted.chars().take(40).collect();
                Err((ErrorCode::Unsupported, format!("this release of heirloom cannot {wanted:?}")))
            }
            Err(error) => Err(malformed(error)),
        }
    }
}

/// Every [`Request`] by its name.
const KNOWN: [&str; 5] = ["status", "restart", "follow", "stop", "hammer"];

impl Reply {
    /// The line, with its end.
    pub fn encode(&self) -> Vec<u8> {
        line(self)
    }

    /// The object of the line.
    pub fn line(&self) -> impl Serialize {
        Line { heirloom: VERSION, content: self }
    }

    /// Reads a line.
    pub fn decode(line: &[u8]) -> Result<Reply, serde_json::Error> {
        let value: serde_json::Value = serde_json::from_slice(line)?;
        match value.get("heirloom").and_then(serde_json::Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => serde_json::from_value(value),
            Some(version) => {
                let reason = format!(
                    "the server speaks version {version} of the control socket, this command reads version {VERSION}"
                );
                Ok(Reply::Error { code: ErrorCode::Version, reason })
            }
            None => Err(serde::de::Error::missing_field("heirloom")),
        }
    }
}

fn line<T: Serialize>(content: &T) -> Vec<u8> {
    // Plain data with names for keys: nothing in it can fail.
    let mut bytes = serde_json::to_vec(&Line { heirloom: VERSION, content }).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
