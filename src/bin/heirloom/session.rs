//! One request to a server, and its replies until the deadline.

use std::path::Path;
use std::time::{Duration, Instant};

use heirloom::control::{Client, ClientError, ErrorCode, Reply, Request};

use crate::exit::{Code, Failure};

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

/// How long the first reply may take. It is given at once by a thread that does nothing else; one that is silent for
/// that long is stopped (SIGSTOP, a debugger).
const FIRST_REPLY: Duration = Duration::from_secs(10);

/// How long a server that has too many clients is asked again: as long as it gives to those that say nothing.
const BUSY: Duration = Duration::from_secs(5);

/// Nothing tells when a place is free.
const AGAIN: Duration = Duration::from_millis(100);

impl Session {
    pub(crate) fn open(path: &Path, request: &Request, deadline: Instant) -> Result<Session, Failure> {
        let began = Instant::now();
        loop {
            let soon = deadline.min(Instant::now() + FIRST_REPLY);
            let mut client = Client::ask(path, request, Some(soon))?;
            match client.next(Some(soon)) {
                Ok(Some(Reply::Error { code: ErrorCode::Busy, reason })) => {
                    if began.elapsed() >= BUSY || Instant::now() >= deadline {
                        return Err(Failure::told(ErrorCode::Busy, reason));
                    }
                    std::thread::sleep(AGAIN);
                }
                Ok(first) => return Ok(Session { client, deadline, first }),
                Err(ClientError::TimedOut { .. }) => {
                    let message = format!(
                        "the server at {path:?} does not answer, so it is not known what it will do: is it stopped, \
                         by a debugger say?"
                    );
                    return Err(Failure::new(Code::TimedOut, message));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next reply; `None` when nothing more comes.
    pub(crate) fn next(&mut self) -> Result<Option<Reply>, ClientError> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.client.next(Some(self.deadline)),
        }
    }
}
