//! Faults in the middle of a restart: what is done to the server, when, and what that alone may cost.
//!
//! A fault has three parts: it is made, it is made good again, and then the server has to come to rest. The
//! restart after it is a good one, which has to work.
//!
//! Hazards: a process that is stopped here must go on again whatever happens, so a fault that is dropped lets
//! it; and the program file that is broken is never the user's (`program`).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kernel::{self, Process};
use super::loss::Loss;
use super::program::Program;
use super::record::FoundClosed;
use super::restarting::Restart;
use super::trigger::Trigger;
use super::wire::{Stage, Symptom, Trouble};

/// In the order in which they are made: the last one ends the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(test, derive(clap::ValueEnum))]
pub(super) enum Fault {
    BrokenBinary,
    Hang,
    Kill,
    Burst,
    Term,
}

/// What faults need.
#[derive(Debug)]
pub(super) struct Means {
    /// What restarts execute, if that may be broken.
    pub(super) program: Option<Program>,
    /// How long a process hangs: clients must have patience with it.
    pub(super) hang: Duration,
}

/// What was done, and what came of it.
#[derive(Debug)]
pub(super) struct Injected {
    pub(super) fault: Fault,
    pub(super) did: Vec<(Instant, String)>,
    /// What the server did then.
    pub(super) outcome: &'static str,
    /// A restart was made with the broken program, without it.
    was_ignored: bool,
    /// From when on, and whose connections: what a killed process held ends with it.
    killed: Option<(Instant, BTreeSet<SocketAddr>)>,
    /// From when on nobody needs to listen: the server was asked to end.
    asked_to_end: Option<Instant>,
}

/// One that is being made.
#[derive(Debug)]
pub(super) struct Injection<'a> {
    means: &'a mut Means,
    trigger: &'a Trigger,
    /// Who was asked to restart.
    target: i32,
    port: u16,
    injected: Injected,
    step: Step,
    /// Who holds the listening socket, and since when.
    rest: (BTreeSet<Process>, Instant),
}

#[derive(Debug)]
enum Step {
    /// Its moment has not come.
    Waiting,
    Broken(Instant),
    Stopped(Stopped, Instant),
    /// What was broken is good again.
    Done,
}

/// Goes on when this is dropped.
#[derive(Debug)]
struct Stopped(Process);

impl Fault {
    pub(super) const ALL: [Fault; 5] =
        [Fault::BrokenBinary, Fault::Hang, Fault::Kill, Fault::Burst, Fault::Term];

    pub(super) fn name(self) -> &'static str {
        self.words().0
    }

    pub(super) fn meaning(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Fault::BrokenBinary => ("broken-binary", "the program file ends at once, and is then put back"),
            Fault::Hang => ("hang", "the new process is stopped for a while (SIGSTOP)"),
            Fault::Kill => ("kill", "the new process is killed (SIGKILL) when it has its first connection"),
            Fault::Burst => ("burst", "fifty restart signals at once"),
            Fault::Term => ("term", "the server is asked to end (SIGTERM) when the new process is there"),
        }
    }
}

impl Injected {
    /// Whether a connection was lost with the process that held it, and by no fault of the server's.
    pub(super) fn took(&self, local: Option<SocketAddr>, opened: Instant, ended: Instant) -> bool {
        let Some((at, held)) = &self.killed else { return false };
        opened <= *at && *at <= ended && local.is_some_and(|local| held.contains(&local))
    }

    /// Whether a connection that nobody used had to be closed: its process was killed, or the server ends.
    pub(super) fn closed(&self, connection: &FoundClosed) -> bool {
        let FoundClosed { local, opened, found, .. } = *connection;
        self.took(local, opened, found) || self.asked_to_end.is_some_and(|at| at <= found)
    }

    /// Whether this is what it means that a server ends: nobody takes what comes after that.
    pub(super) fn ended_with(&self, trouble: &Trouble, ended: Instant) -> bool {
        let is_after = |time: Instant| self.asked_to_end.is_some_and(|at| at <= time);
        match trouble.stage {
            Stage::Connecting => is_after(ended),
            // The kernel may have made it before the listening socket was closed.
            _ => trouble.is_fresh && trouble.symptom == Symptom::Reset && is_after(trouble.opened),
        }
    }
}

impl<'a> Injection<'a> {
    /// What comes before the restart is asked for.
    pub(super) fn begin(
        fault: Fault,
        means: &'a mut Means,
        trigger: &'a Trigger,
        target: i32,
        port: u16,
    ) -> Result<Injection<'a>, String> {
        let now = Instant::now();
        let injected = Injected {
            fault,
            did: Vec::new(),
            outcome: "",
            was_ignored: false,
            killed: None,
            asked_to_end: None,
        };
        let (step, rest) = (Step::Waiting, (BTreeSet::new(), now));
        let mut injection = Injection { means, trigger, target, port, injected, step, rest };
        if fault == Fault::BrokenBinary {
            let program = injection.means.program.as_mut().ok_or("there is no program to break")?;
            program.break_it()?;
            let what = format!("{} ends at once, with status 1", program.path().display());
            injection.go_on(Step::Broken(now), what);
        }
        Ok(injection)
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, restart: &Restart, held: &BTreeSet<Process>) -> Result<(), String> {
        if self.rest.0 != *held {
            self.rest = (held.clone(), Instant::now());
        }
        let successor = restart.new.iter().copied().rfind(|process| process.is_alive());
        match (&self.step, self.injected.fault, successor) {
            (Step::Broken(since), ..) if restart.is_complete() || since.elapsed() >= BROKEN => {
                self.injected.was_ignored = restart.is_complete();
                self.put_back()
            }
            (Step::Stopped(process, since), ..) if since.elapsed() >= self.means.hang => {
                let what = format!("process {} goes on", process.0.pid);
                self.go_on(Step::Done, what);
                Ok(())
            }
            (Step::Waiting, Fault::Burst, _) => self.burst(),
            (Step::Waiting, Fault::Hang, Some(process)) => {
                let what = format!("process {} stops", process.pid);
                self.go_on(Step::Stopped(Stopped::now(process)?, Instant::now()), what);
                Ok(())
            }
            (Step::Waiting, Fault::Kill, Some(process)) => self.kill_if_it_serves(process),
            (Step::Waiting, Fault::Term, Some(_)) => {
                // Before: a client may see it at once.
                self.injected.asked_to_end = Some(Instant::now());
                send(self.target, Signal::SIGTERM)?;
                self.go_on(Step::Done, format!("SIGTERM to process {}", self.target));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether the server has come to rest after it, in whatever way.
    pub(super) fn is_over(&self, restart: &Restart, before: &BTreeSet<Process>) -> bool {
        let (held, since) = &self.rest;
        let is_left = |process: &Process| process.is_alive();
        let is_alone = !restart.new.iter().any(is_left);
        let is_settled = match held.is_empty() {
            true => self.injected.fault == Fault::Term && is_alone && !before.iter().any(is_left),
            false => {
                let since = restart.ended.map_or(*since, |ended| ended.max(*since));
                (restart.is_complete() || is_alone) && !self.are_too_many(before) && since.elapsed() >= REST
            }
        };
        matches!(self.step, Step::Done) && is_settled
    }

    /// After many signals some more restarts may follow, and end as well.
    fn are_too_many(&self, before: &BTreeSet<Process>) -> bool {
        self.injected.fault == Fault::Burst && self.rest.0.len() > before.len()
    }

    pub(super) fn ends_the_server(&self) -> bool {
        self.injected.asked_to_end.is_some()
    }

    /// What became of it, and what the service lost by it, if that is no loss of other restarts as well.
    pub(super) fn end(
        mut self,
        restart: &Restart,
        before: &BTreeSet<Process>,
    ) -> Result<(Injected, Option<(Loss, String)>), String> {
        let (held, _) = &self.rest;
        let has_new = held.iter().any(|process| restart.new.contains(process));
        let has_old = held.iter().any(|process| before.contains(process));
        self.injected.outcome = match (has_old, has_new) {
            _ if matches!(self.step, Step::Waiting) => "its moment did not come",
            _ if self.injected.was_ignored => "no restart executes this file: a new process serves",
            (true, false) => "the old process serves on",
            (false, true) => "the new process serves",
            (true, true) => "the old and the new process are there",
            (false, false) if held.is_empty() => "nobody listens any more",
            (false, false) => "another process serves",
        };
        let name = self.injected.fault.name();
        let loss = match self.injected.fault {
            Fault::Term => None,
            _ if held.is_empty() => Some((Loss::Gone, format!("nobody listens after {name}"))),
            _ if self.are_too_many(before) => {
                let (now, then) = (held.len(), before.len());
                let why =
                    format!("{now} processes hold the listening socket after {name}, {then} did before");
                Some((Loss::TwoGenerations, why))
            }
            _ => None,
        };
        if matches!(self.step, Step::Broken(_)) {
            self.put_back()?;
        }
        Ok((self.injected, loss))
    }

    fn go_on(&mut self, step: Step, what: String) {
        // What was stopped is let go by this.
        self.step = step;
        self.injected.did.push((Instant::now(), what));
    }

    fn put_back(&mut self) -> Result<(), String> {
        let Some(program) = self.means.program.as_mut() else { return Ok(()) };
        program.put_back()?;
        let what = format!("{} is put back", program.path().display());
        self.go_on(Step::Done, what);
        Ok(())
    }

    fn burst(&mut self) -> Result<(), String> {
        for _ in 1..BURST {
            self.trigger.pull(self.target)?;
        }
        self.go_on(Step::Done, format!("{BURST} signals to process {}", self.target));
        Ok(())
    }

    /// It is stopped first, so that what it holds at its end is known.
    fn kill_if_it_serves(&mut self, process: Process) -> Result<(), String> {
        if kernel::clients_of(process, self.port).is_empty() {
            return Ok(());
        }
        let stopped = Stopped::now(process)?;
        let held = kernel::clients_of(process, self.port);
        // Before: a client may see it at once.
        let at = Instant::now();
        send(process.pid, Signal::SIGKILL)?;
        drop(stopped);
        let connections = crate::output::connections(held.len() as u64);
        self.injected.killed = Some((at, held));
        self.go_on(Step::Done, format!("SIGKILL to process {}, which held {connections}", process.pid));
        Ok(())
    }
}

impl Stopped {
    /// Returns when it runs no more.
    fn now(process: Process) -> Result<Stopped, String> {
        send(process.pid, Signal::SIGSTOP)?;
        let stopped = Stopped(process);
        let until = Instant::now() + STOPS;
        while !process.is_stopped() && process.is_alive() {
            if Instant::now() >= until {
                return Err(format!("process {} does not stop", process.pid));
            }
            std::thread::sleep(AGAIN);
        }
        Ok(stopped)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if self.0.is_alive() {
            let _ = send(self.0.pid, Signal::SIGCONT);
        }
    }
}

fn send(pid: i32, signal: Signal) -> Result<(), String> {
    match kill(Pid::from_raw(pid), signal) {
        // It was quicker.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(format!("cannot send {signal} to process {pid}: {errno}")),
    }
}

/// As many as an impatient script sends.
const BURST: usize = 50;

/// Servers that start workers again and again do so each second.
const BROKEN: Duration = Duration::from_secs(2);

/// A server that starts one more process after another does it sooner.
const REST: Duration = Duration::from_secs(1);

/// A thread in the kernel stops when it comes out of there.
const STOPS: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::super::clients::Kind;
    use super::*;

    #[test]
    fn each_has_a_name_and_a_row_in_the_guide() {
        let guide = include_str!("../../../docs/prove.rs");
        let section = guide.split("//! # Faults").nth(1).unwrap().split("//! # ").next().unwrap();
        assert_eq!(Fault::value_variants(), Fault::ALL);
        for fault in Fault::ALL {
            assert!(section.contains(&format!("//! | `{}` |", fault.name())), "{}", fault.name());
        }
    }

    #[test]
    fn only_what_a_killed_process_held_is_its_end() {
        let (held, other) = (SocketAddr::from(([127, 0, 0, 1], 1)), SocketAddr::from(([127, 0, 0, 1], 2)));
        let at = Instant::now();
        let (before, after) = (at - Duration::from_secs(1), at + Duration::from_secs(1));
        let killed = Some((at, BTreeSet::from([held])));
        let injected = Injected { killed, ..injected(Fault::Kill) };
        assert!(injected.took(Some(held), before, after));
        assert!(!injected.took(Some(other), before, after) && !injected.took(None, before, after));
        assert!(!injected.took(Some(held), after, after), "the port is another connection's now");
        assert!(!injected.took(Some(held), before, before), "it was lost before");
        assert!(injected.closed(&found_closed(held, before, after)));
        assert!(!injected.closed(&found_closed(other, before, after)));
    }

    #[test]
    fn what_comes_after_the_end_is_nobodys_loss() {
        let at = Instant::now();
        let (before, after) = (at - Duration::from_secs(1), at + Duration::from_secs(1));
        let other = injected(Fault::Kill);
        let injected = Injected { asked_to_end: Some(at), ..injected(Fault::Term) };
        let trouble = |stage, symptom, opened| Trouble {
            symptom,
            stage,
            is_fresh: true,
            had_begun: false,
            was_closed: false,
            opened,
            local: None,
            server: None,
        };
        let refused = trouble(Stage::Connecting, Symptom::Refused, after);
        assert!(injected.ended_with(&refused, after) && !injected.ended_with(&refused, before));
        let reset = |opened| trouble(Stage::Sending, Symptom::Reset, opened);
        assert!(injected.ended_with(&reset(after), after));
        assert!(!injected.ended_with(&reset(before), after), "it had to be served");
        assert!(!injected.ended_with(&trouble(Stage::Waiting, Symptom::Closed, after), after));
        assert!(!other.ended_with(&refused, after));
        let local = SocketAddr::from(([127, 0, 0, 1], 1));
        assert!(injected.closed(&found_closed(local, before, after)));
        assert!(
            !injected.closed(&found_closed(local, before, before)),
            "the server had not been asked to end"
        );
        assert!(!other.closed(&found_closed(local, before, after)));
    }

    fn found_closed(local: SocketAddr, opened: Instant, found: Instant) -> FoundClosed {
        FoundClosed { kind: Kind::Early, local: Some(local), opened, found }
    }

    fn injected(fault: Fault) -> Injected {
        Injected { fault, did: Vec::new(), outcome: "", was_ignored: false, killed: None, asked_to_end: None }
    }
}
