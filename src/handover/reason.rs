//! Why a restart was refused, and why one failed: plain data, so that machines can hold and tests compare it.

use std::time::Duration;

use thiserror::Error;

/// Why a restart was refused before anything was started.
#[derive(Clone, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// This process is past settling: its successor is the one to ask.
    #[error("this process has handed over and drains; ask its successor for a restart")]
    Settled,
    /// The service is being stopped.
    #[error("the service is stopping")]
    Stopping,
    /// Process 1 of a PID namespace ends it when it exits.
    #[error(
        "this process is PID 1, and its exit would end the container: run it under a parent with a stable PID \
         (`heirloom run`), which restarts it without giving up PID 1"
    )]
    Init,
    /// systemd would take the exit of its main process for the service's end.
    #[error(
        "this process is the main process of a systemd unit that cannot be told of a new one: use Type=notify \
         and the feature `systemd`, or a pid file with PIDFile=, or run it under `heirloom run`"
    )]
    Systemd,
    /// The process is set-user-id. Its successor would be too, and believes nothing that comes in
    /// the environment of such a process.
    #[error(
        "this process is set-user-id, and a successor would not believe its announcement: have it started with the \
         rights that it needs (by a service manager, or with file capabilities)"
    )]
    SetUserId,
    /// The program's own hook refused.
    #[error("vetoed: {reason}")]
    // Without `non_exhaustive`, as `Reported` and `Died`: an implementation of `fetch::Restart` may say so.
    Vetoed {
        /// The error of the hook.
        reason: String,
    },
    /// It was started with restarts off.
    #[error("restarts are turned off; stop it and start it anew, or turn them on")]
    Disabled,
}

/// Why a successor failed.
#[derive(Clone, Debug, Error, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Failure {
    /// There is no such program.
    #[error("{reason}")]
    #[non_exhaustive]
    NotFound {
        /// What the system said, and of which program.
        reason: String,
    },
    /// The program is there, and cannot be executed.
    #[error("{reason}")]
    #[non_exhaustive]
    NotExecutable {
        /// What is wrong with the program, and with which one.
        reason: String,
    },
    /// The program could not be started for another reason.
    #[error("{reason}")]
    #[non_exhaustive]
    Spawn {
        /// What the system said, and of which program.
        reason: String,
    },
    /// The successor gave its reason.
    #[error("the successor gave up: {}", shown(reason))]
    Reported {
        /// What the successor gave as its reason.
        reason: String,
    },
    /// The successor's process ended without a word.
    #[error("the successor {}", shown(how))]
    Died {
        /// How it ended.
        how: String,
    },
    /// The successor was not ready in time and was killed.
    #[error("the successor was not ready after {after:?} and was killed")]
    #[non_exhaustive]
    TimedOut {
        /// The start deadline.
        after: Duration,
    },
    /// The successor was ready and was told to accept, and then said no more: it was stopped, or its machine
    /// hangs.
    #[error(
        "the successor did not answer for {after:?} after it was ready, and was ended; what has stopped it?"
    )]
    #[non_exhaustive]
    Silent {
        /// How long it was waited for.
        after: Duration,
    },
    /// The successor said what it must not say.
    #[error("the successor broke the protocol: {}", shown(said))]
    #[non_exhaustive]
    Protocol {
        /// What it said.
        said: String,
    },
}

/// What another process said, for a log that somebody reads on a terminal: nothing in it is a control
/// character.
fn shown(said: &str) -> String {
    let mut shown = String::with_capacity(said.len());
    for letter in said.chars() {
        match letter {
            '\n' | '\t' => shown.push(letter),
            letter if letter.is_control() => shown.extend(letter.escape_unicode()),
            letter => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_successor_said_does_nothing_to_a_terminal() {
        let reason = "no\u{1b}[2J\u{7}\u{9b}1A\r config:\n\tline 3".to_owned();
        let expected = "no\\u{1b}[2J\\u{7}\\u{9b}1A\\u{d} config:\n\tline 3";
        let told = [
            Failure::Reported { reason: reason.clone() },
            Failure::Died { how: reason.clone() },
            Failure::Protocol { said: reason },
        ];
        for failure in told {
            assert!(failure.to_string().ends_with(expected), "{failure}");
        }
    }
}
