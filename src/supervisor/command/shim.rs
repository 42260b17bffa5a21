//! The process between the supervisor and a worker's program: what only the child itself can do.
//!
//! `LISTEN_PID` names the process that the sockets are for, and posix_spawn cannot know a pid beforehand. So
//! the supervisor's own binary is started first, in the child; it sets that variable, makes the child the
//! leader of a session and so of a process group, asks for a signal at the supervisor's death, and executes
//! the program. It lives for about a millisecond.
//!
//! It executes the program when the supervisor says so, over a socket, and ends if that is gone. There the
//! supervisor learns whether that worked: its end without a word means that the program runs; an error number
//! is why it does not.

use std::env;
use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;

use super::numbers::LISTEN_FDS;
use super::watcher;
use crate::sys::inherit::adopt;
use crate::sys::signals::ask_at_parents_death;

/// What the shim is told, as its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The socket's number.
    pub(super) report: RawFd,
    /// The supervisor.
    pub(super) parent: u32,
    /// The signal that the worker is sent when the supervisor dies.
    pub(super) at_death: Option<i32>,
    /// The program's file, which is looked up in the PATH unless there is a slash in it.
    pub(super) file: OsString,
    /// The program's arguments, its name first.
    pub(super) command: Vec<OsString>,
}

/// Becomes a worker's program, or watches over the workers, if this process was started for that, and returns
/// otherwise. A program that starts foreign workers calls it first of all in `main`, before there are
/// threads.
///
/// # Errors
///
/// The process was started as a worker's, and the program could not be executed: the supervisor has been told
/// and reports it. Or it has watched over the workers, to the end. Nothing is left but to exit, without a
/// word.
pub fn become_worker() -> io::Result<()> {
    let mut arguments = env::args_os();
    match arguments.next() {
        Some(name) if name == watcher::NAME => return watch_over(arguments),
        Some(name) if name == NAME => {}
        _ => return Ok(()),
    }
    let Some(order) = Order::decode(arguments) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "only a supervisor starts a program by this name",
        ));
    };
    // Close-on-exec from here: the exec itself is what ends it.
    let report: OwnedFd = adopt(order.report).map_err(io::Error::other)?;
    let mut report = UnixStream::from(report);
    let error = order.carry_out(&mut report);
    // Without a supervisor to read it, the exit status says it too.
    let _ = report.write_all(&error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes());
    Err(error)
}

/// An error in any case: `main` is to end with it.
fn watch_over(arguments: impl Iterator<Item = OsString>) -> io::Result<()> {
    let orders = watcher::Orders::decode(arguments).ok_or(io::ErrorKind::InvalidInput)?;
    watcher::watch_over(orders)?;
    Err(io::Error::other("there is nothing left to watch over"))
}

impl Order {
    /// Arguments for the shim's process, its name first.
    pub(super) fn encode(&self) -> Vec<OsString> {
        let numbers =
            [self.report.to_string(), self.parent.to_string(), self.at_death.unwrap_or(0).to_string()];
        let own = [NAME.into()].into_iter().chain(numbers.map(OsString::from));
        own.chain([self.file.clone()]).chain(self.command.iter().cloned()).collect()
    }

    fn decode(mut arguments: impl Iterator<Item = OsString>) -> Option<Order> {
        let mut number = || arguments.next()?.to_str()?.parse::<i32>().ok();
        let (report, parent, at_death) = (number()?, number()?, number()?);
        let file = arguments.next()?;
        let command: Vec<_> = arguments.collect();
        let at_death = (at_death != 0).then_some(at_death);
        (!command.is_empty()).then_some(Order {
            report,
            parent: parent.try_into().ok()?,
            at_death,
            file,
            command,
        })
    }

    /// Returns only when it has failed.
    fn carry_out(&self, report: &mut impl Read) -> io::Error {
        // Leader of a group: what the program starts can be found and killed with it. And of a session,
        // without a terminal: a background group on one would be stopped when it reads there, or writes under
        // `stty tostop`.
        if let Err(errno) = nix::unistd::setsid() {
            return errno.into();
        }
        if let Some(signal) = self.at_death {
            if let Err(error) = ask_at_parents_death(signal) {
                return error;
            }
            // It may have died before it was asked for: then no signal comes any more.
            if parent_id() != self.parent {
                return nix::errno::Errno::ESRCH.into();
            }
        }
        if let Err(error) = wait_to_go(report) {
            return error;
        }
        let mut command = Command::new(&self.file);
        command.arg0(&self.command[0]).args(&self.command[1..]);
        if env::var_os(LISTEN_FDS).is_some() {
            command.env("LISTEN_PID", std::process::id().to_string());
        }
        // This also gives SIGPIPE, which Rust's start ignores, its default back.
        command.exec()
    }
}

/// The end without a word: nobody would end the program.
fn wait_to_go(report: &mut impl Read) -> io::Result<()> {
    report.read_exact(&mut [0; GO.len()]).map_err(|_| nix::errno::Errno::ESRCH.into())
}

/// The word for which the shim waits. A line, so that a shell can read it.
pub(super) const GO: &[u8] = b"\n";

/// The shim's own name, by which it knows itself. Not one that a user would give to a file.
const NAME: &str = "heirloom: a worker is being started";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_arrive_as_they_were_given() {
        for at_death in [None, Some(15)] {
            let command = vec!["sh".into(), "-c".into(), "".into()];
            let order = Order { report: 5, parent: 4711, at_death, file: "/bin/sh".into(), command };
            let arguments = order.encode();
            assert_eq!(arguments[0], NAME);
            assert_eq!(Order::decode(arguments.into_iter().skip(1)), Some(order));
        }
    }

    #[test]
    fn what_is_no_order_is_not_guessed_at() {
        for words in [
            &["5", "4711", "0", "sh"][..],
            &["x", "1", "0", "sh", "sh"],
            &["5"],
            &["5", "-1", "0", "sh", "sh"],
        ] {
            assert_eq!(Order::decode(words.iter().map(OsString::from)), None, "{words:?}");
        }
    }

    #[test]
    fn nothing_is_executed_for_a_supervisor_that_is_gone() {
        wait_to_go(&mut &GO[..]).unwrap();
        let (mut report, supervisor) = UnixStream::pair().unwrap();
        drop(supervisor);
        assert_eq!(wait_to_go(&mut report).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn any_other_process_goes_on() {
        become_worker().unwrap();
    }
}
