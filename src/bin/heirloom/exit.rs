//! What the exit status says: one code for each kind of failure, for scripts to tell apart.

use heirloom::control::{ClientError, ErrorCode, FindError};
use heirloom::{Cause, SupervisorError};

use crate::output::plain;

/// Why the command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// One line, and for a lost successor what it wrote.
    pub(crate) message: String,
}

/// Never renumbered. 2 is a wrong command line, as clap has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Other = 1,
    Usage = 2,
    NotRunning = 3,
    NoPermission = 4,
    NoControl = 5,
    Refused = 6,
    Failed = 7,
    TakenBack = 8,
    TimedOut = 9,
    Stopped = 10,
    Protocol = 11,
    Busy = 12,
    Lost = 13,
    Unproven = 14,
}

/// As the help and the man page have it.
pub(crate) const CODES: &str = "\
Exit status:
   0  done; of a restart: the new generation serves
   1  something else went wrong here
   2  wrong command line
   3  no such process, a stale pid file, or a control socket that nobody answers
   4  no permission: it is another user's process, or was not reached by a way that can be trusted
   5  the process has no control socket
   6  refused: it drains, is stopping, or may not restart; the old generation serves on, if any does
   7  the new process did not get ready; the old one serves on
   8  the new process was lost after it was ready; the old one has taken back and serves on
   9  not done within --timeout; it may still come
  10  the service was stopped meanwhile
  11  the other side says what this release does not understand
  12  the process has too many control clients
  13  the process ended before the outcome was known
  14  of prove: the server loses something when it restarts
That of `heirloom run` is its server's; its own help says more.";

/// Likewise, of `heirloom run`: as shells and Docker have it.
pub(crate) const RUN_CODES: &str = "\
Exit status:
  the server's own, or 128 and the number of the signal that ended it; if none ever ran:
   1  something went wrong here: an address is taken, say, or a file cannot be written
   2  wrong command line
 126  the command is there, and cannot be executed
 127  there is no such command";

/// Why there never was a server.
pub(crate) fn never_ran(error: &SupervisorError) -> u8 {
    match error {
        SupervisorError::CannotStart(heirloom::Failure::NotExecutable { .. }) => 126,
        SupervisorError::CannotStart(heirloom::Failure::NotFound { .. }) => 127,
        _ => Code::Other as u8,
    }
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// What a server says of a request that it cannot act on.
    pub(crate) fn told(code: ErrorCode, reason: &str) -> Failure {
        let code = match code {
            ErrorCode::Busy => Code::Busy,
            ErrorCode::Permission => Code::NoPermission,
            ErrorCode::Nothing => Code::Lost,
            _ => Code::Protocol,
        };
        Failure { code, message: plain(reason) }
    }
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Failure {
        let code = match error {
            FindError::NoPermission { .. } | FindError::Shielded { .. } | FindError::Strange { .. } => {
                Code::NoPermission
            }
            FindError::NoControl { .. } => Code::NoControl,
            FindError::PidFile { ref source, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Code::NoPermission
            }
            _ => Code::NotRunning,
        };
        Failure { code, message: plain(&error.with_causes()) }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let code = match error {
            ClientError::Gone { .. } => Code::NotRunning,
            ClientError::NoPermission { .. } | ClientError::Stranger { .. } => Code::NoPermission,
            ClientError::TimedOut { .. } => Code::TimedOut,
            ClientError::Garbage { .. } => Code::Protocol,
            _ => Code::Other,
        };
        Failure { code, message: plain(&error.with_causes()) }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::new(Code::Other, error.to_string())
    }
}
