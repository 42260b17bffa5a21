//! One request to a server, and its replies until the deadline.

use std::time::{Duration, Instant};

use heirloom::control::{Client, ClientError, ErrorCode, Expected, Peer, Reply, Request, halted};

use crate::exit::{Code, Failure};
use crate::output::complain;
use crate::target::Aim;

/// A request that has been asked.
#[derive(Debug)]
pub(crate) struct Session {
    client: Client,
    deadline: Instant,
    /// A reply that was read already.
    first: Option<Reply>,
}

/// So far from now; a time that the clock cannot hold is as good as for ever.
pub(crate) fn deadline_in(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or(now + FOR_EVER)
}

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long the first reply may take before the operator is told why there is none. It is given at once by a
/// thread that does nothing else; so much is a stopped process, or a machine with far too much to do.
const FIRST_REPLY: Duration = Duration::from_millis(1500);

/// How long a process that is not stopped is waited for all the same: a machine may have that much to do.
const SLOW: Duration = Duration::from_secs(10);

/// How long a server that has too many clients is asked again: as long as it gives to those that say nothing.
const BUSY: Duration = Duration::from_secs(5);

/// Nothing tells when a place is free.
const AGAIN: Duration = Duration::from_millis(100);

impl Session {
    pub(crate) fn open(aim: &Aim, request: &Request, deadline: Instant) -> Result<Session, Failure> {
        let began = Instant::now();
        loop {
            let (client, first) = first_reply(aim, request, deadline)?;
            match first {
                Some(Reply::Error { code: ErrorCode::Busy, reason, .. }) => {
                    if began.elapsed() >= BUSY || Instant::now() >= deadline {
                        return Err(Failure::told(ErrorCode::Busy, &reason));
                    }
                    std::thread::sleep(AGAIN);
                }
                first => return Ok(Session { client, deadline, first }),
            }
        }
    }

    /// Who answers.
    pub(crate) fn peer(&self) -> Peer {
        self.client.peer()
    }

    /// The next reply; `None` when nothing more comes.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, ClientError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.client.next(Some(self.deadline)),
        }
    }
}

fn first_reply(aim: &Aim, request: &Request, deadline: Instant) -> Result<(Client, Option<Reply>), Failure> {
    let now = Instant::now();
    let soon = deadline.min(now + FIRST_REPLY);
    let late = deadline.min(now + SLOW);
    let mut client = match Client::ask_only(aim.expected, &aim.socket, request, Some(soon)) {
        Err(ClientError::TimedOut { .. }) => {
            let known = match aim.expected {
                Expected::Process(pid) => Some(pid),
                _ => None,
            };
            patience(aim, known, late)?;
            Client::ask_only(aim.expected, &aim.socket, request, Some(late))?
        }
        asked => asked?,
    };
    match client.next(Some(soon)) {
        Err(ClientError::TimedOut { .. }) => {
            patience(aim, client.peer().process, late)?;
            let first = client.next(Some(late)).map_err(|error| match error {
                ClientError::TimedOut { .. } => silent(aim, "it is not known why"),
                error => error.into(),
            })?;
            Ok((client, first))
        }
        first => Ok((client, first?)),
    }
}

/// Whether there is a point in waiting for a process that has not answered; the user is told.
fn patience(aim: &Aim, process: Option<u32>, until: Instant) -> Result<(), Failure> {
    if let Some(why) = process.and_then(halted) {
        return Err(silent(aim, why));
    }
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(silent(aim, "it is not known why"));
    }
    complain(&format!(
        "the server at {:?} has not answered yet, though it is not stopped; waiting for another {} s",
        aim.socket,
        left.as_secs()
    ));
    Ok(())
}

/// The connection is closed with this, and a request that was not read by then is void.
fn silent(aim: &Aim, why: &str) -> Failure {
    let socket = &aim.socket;
    let message = format!("the server at {socket:?} does not answer: {why}; the request is withdrawn");
    Failure::new(Code::TimedOut, message)
}
