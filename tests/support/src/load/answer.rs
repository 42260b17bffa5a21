//! One request, and its answer.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use super::Target;
use super::wire::{self, Symptom, Trouble};

/// A complete answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The server announced that it closes after this answer.
    pub closes: bool,
}

impl From<wire::Answer> for Answer {
    fn from(answer: wire::Answer) -> Answer {
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        Answer { status: answer.status, body, closes: answer.closes }
    }
}

/// The request that every client here sends.
pub fn request(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// Asks once on a fresh connection; the whole of it ends within `patience`.
pub fn fetch(target: &Target, path: &str, patience: Duration) -> io::Result<Answer> {
    let asked = || {
        let mut wire = target.connect(Instant::now() + patience)?;
        wire.send(&request(path))?;
        wire.answer().map(Answer::from)
    };
    asked().map_err(|trouble: Trouble| io::Error::new(kind(&trouble.symptom), trouble.to_string()))
}

fn kind(symptom: &Symptom) -> ErrorKind {
    match symptom {
        Symptom::Refused => ErrorKind::ConnectionRefused,
        Symptom::Reset => ErrorKind::ConnectionReset,
        Symptom::Closed => ErrorKind::UnexpectedEof,
        Symptom::Silent => ErrorKind::TimedOut,
        _ => ErrorKind::Other,
    }
}
