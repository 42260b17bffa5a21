//! What a supervisor and its workers tell each other beside the handover itself.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

use super::{MAX_REASON, cut};
use crate::handover::reason::{Failure, Refusal};

/// What became of a restart, as a supervisor tells the worker that serves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Told {
    /// It was not even tried.
    Refused(Refusal),
    /// The new worker did not get ready.
    Failed(Failure),
    /// The new worker was lost after it was ready; this one accepts again.
    TakenBack(Failure),
    /// The service was stopped on the way.
    Stopped,
}

/// A listening socket that a worker has bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeptSocket {
    /// `tcp`, `unix` or `udp`.
    pub kind: String,
    /// The name that the user gave it; empty without one.
    pub name: String,
    /// The address that was asked for.
    pub requested: OsString,
}

impl Told {
    /// A byte for the result, one for its reason, and the reason's text.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (result, (reason, text)) = match self {
            Told::Refused(refusal) => (1, encode_refusal(refusal)),
            Told::Failed(failure) => (2, encode_failure(failure)),
            Told::TakenBack(failure) => (3, encode_failure(failure)),
            Told::Stopped => (4, (0, String::new())),
        };
        let mut value = vec![result, reason];
        value.extend_from_slice(cut(&text, MAX_REASON).as_bytes());
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<Told> {
        let [result, reason, text @ ..] = value else { return None };
        let text = cut(&String::from_utf8_lossy(text), MAX_REASON).to_owned();
        match result {
            1 => Some(Told::Refused(decode_refusal(*reason, text))),
            2 => Some(Told::Failed(decode_failure(*reason, text))),
            3 => Some(Told::TakenBack(decode_failure(*reason, text))),
            4 => Some(Told::Stopped),
            _ => None,
        }
    }
}

impl KeptSocket {
    /// Each text with its length before it, in two bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let texts = [self.kind.as_bytes(), self.name.as_bytes(), self.requested.as_bytes()];
        let mut value = Vec::new();
        for text in texts {
            let text = &text[..text.len().min(LONGEST)];
            value.extend_from_slice(&u16::try_from(text.len()).unwrap_or_default().to_le_bytes());
            value.extend_from_slice(text);
        }
        value
    }

    pub(super) fn decode(value: &[u8]) -> Option<KeptSocket> {
        let mut rest = value;
        let mut text = || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (text, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = after;
            (text.len() <= LONGEST).then(|| text.to_vec())
        };
        let socket = KeptSocket {
            kind: String::from_utf8(text()?).ok()?,
            name: String::from_utf8(text()?).ok()?,
            requested: OsString::from_vec(text()?),
        };
        rest.is_empty().then_some(socket)
    }
}

/// Longest text of a socket in bytes: as long as a path may be.
const LONGEST: usize = 4096;

fn encode_failure(failure: &Failure) -> (u8, String) {
    match failure {
        Failure::Spawn { reason } => (1, reason.clone()),
        Failure::Reported { reason } => (2, reason.clone()),
        Failure::Died { how } => (3, how.clone()),
        Failure::TimedOut { after } => (4, after.as_millis().to_string()),
        Failure::Protocol { said } => (5, said.clone()),
        Failure::NotFound { reason } => (6, reason.clone()),
        Failure::NotExecutable { reason } => (7, reason.clone()),
        Failure::Silent { after } => (8, after.as_millis().to_string()),
    }
}

fn decode_failure(reason: u8, text: String) -> Failure {
    match (reason, text.parse()) {
        (2, _) => Failure::Reported { reason: text },
        (3, _) => Failure::Died { how: text },
        (4, Ok(millis)) => Failure::TimedOut { after: Duration::from_millis(millis) },
        (5, _) => Failure::Protocol { said: text },
        (6, _) => Failure::NotFound { reason: text },
        (7, _) => Failure::NotExecutable { reason: text },
        (8, Ok(millis)) => Failure::Silent { after: Duration::from_millis(millis) },
        // A newer release's: its words still tell.
        _ => Failure::Spawn { reason: text },
    }
}

fn encode_refusal(refusal: &Refusal) -> (u8, String) {
    match refusal {
        Refusal::Settled => (1, String::new()),
        Refusal::Stopping => (2, String::new()),
        Refusal::Init => (3, String::new()),
        Refusal::Systemd => (4, String::new()),
        Refusal::Vetoed { reason } => (5, reason.clone()),
        Refusal::Disabled => (6, String::new()),
        Refusal::SetUserId => (7, String::new()),
    }
}

fn decode_refusal(reason: u8, text: String) -> Refusal {
    match reason {
        1 => Refusal::Settled,
        2 => Refusal::Stopping,
        3 => Refusal::Init,
        4 => Refusal::Systemd,
        6 => Refusal::Disabled,
        7 => Refusal::SetUserId,
        _ => Refusal::Vetoed { reason: text },
    }
}
