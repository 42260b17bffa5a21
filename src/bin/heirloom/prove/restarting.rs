//! One restart, asked for and watched from outside: who listens on the port says how far it has come.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Interrupted;
use super::faults::{Fault, Injected, Injection, Means};
use super::kernel::{self, Process, leaves};
use super::loss::Loss;
use super::trigger::Trigger;

/// What became of it.
#[derive(Debug)]
pub(super) struct Restart {
    pub(super) asked: Instant,
    /// A new process holds the listening socket.
    pub(super) started: Option<Instant>,
    /// No old process holds it any more.
    pub(super) let_go: Option<Instant>,
    /// The old processes are gone.
    pub(super) ended: Option<Instant>,
    /// When the watch was over.
    pub(super) watched_until: Instant,
    /// Those that served before.
    pub(super) old: BTreeSet<Process>,
    pub(super) new: BTreeSet<Process>,
    /// What the service lost, and what is known of it.
    pub(super) fault: Option<(Loss, String)>,
    /// What was done to the server meanwhile.
    pub(super) injected: Option<Injected>,
}

/// How a restart is watched.
#[derive(Debug)]
pub(super) struct Watch<'a> {
    pub(super) address: SocketAddr,
    pub(super) trigger: &'a Trigger,
    /// How long until the old processes are gone.
    pub(super) deadline: Duration,
    pub(super) interrupted: &'a Interrupted,
}

/// A moment of a restart, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Asked for; the old processes alone hold the listening socket.
    Starting,
    /// Old and new ones hold it.
    Both,
    /// The old ones have let go of it.
    Draining,
    /// The old ones are gone.
    Over,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Both => "both",
            Phase::Draining => "draining",
            Phase::Over => "over",
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Phase::Starting => "while the new process started",
            Phase::Both => "while the old and the new process held the listening socket",
            Phase::Draining => "while the old process drained",
            Phase::Over => "after the old process was gone",
        }
    }
}

impl Restart {
    /// Which phase a time falls into; `None` before the restart.
    pub(super) fn phase_at(&self, time: Instant) -> Option<Phase> {
        let reached = |phase: Option<Instant>| phase.is_some_and(|at| at <= time);
        match () {
            () if time < self.asked => None,
            () if reached(self.ended) => Some(Phase::Over),
            () if reached(self.let_go) => Some(Phase::Draining),
            () if reached(self.started) => Some(Phase::Both),
            () => Some(Phase::Starting),
        }
    }

    fn asked_for(old: BTreeSet<Process>) -> Restart {
        let asked = Instant::now();
        Restart {
            asked,
            started: None,
            let_go: None,
            ended: None,
            watched_until: asked,
            old,
            new: BTreeSet::new(),
            fault: None,
            injected: None,
        }
    }

    /// Who holds the listening socket now.
    fn note(&mut self, held: &BTreeSet<Process>, before: &BTreeSet<Process>) {
        let now = Instant::now();
        self.new.extend(held.difference(before));
        if self.new.is_empty() {
            return;
        }
        self.started.get_or_insert(now);
        let is_gone = !self.old.iter().any(|process| process.is_alive());
        if is_gone || !self.old.iter().any(|process| held.contains(process)) {
            self.let_go.get_or_insert(now);
        }
        if is_gone {
            self.ended.get_or_insert(now);
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.ended.is_some()
    }
}

impl Watch<'_> {
    /// Restarts the server, and watches until nothing is left of the old one, or the deadline. With a fault,
    /// until it has come to rest.
    pub(super) fn restart(
        &self,
        earlier: &[Restart],
        fault: Option<(Fault, &mut Means)>,
    ) -> Result<Restart, String> {
        let known: BTreeSet<i32> = kernel::pids().collect();
        let before = self.holding()?;
        let old = serving(&before, self.address.port());
        let replaced = earlier.iter().flat_map(|restart| restart.old.iter().copied()).collect();
        let target = self.trigger.target(&before, &replaced)?;
        let begin =
            |(fault, means)| Injection::begin(fault, means, self.trigger, target, self.address.port());
        let mut injection = fault.map(begin).transpose()?;
        let mut restart = Restart::asked_for(old);
        let mut command = self.trigger.pull(target)?;
        let mut looks = 0;
        let mut away: Option<Instant> = None;
        while restart.asked.elapsed() < self.deadline && !self.interrupted.load(Ordering::Relaxed) {
            let held = self.look(&known, &before, looks % FULL_LOOK == 0).map_err(|error| unseen(&error))?;
            looks += 1;
            restart.note(&held, &before);
            let is_over = match &mut injection {
                Some(injection) => {
                    injection.advance(&restart, &held)?;
                    injection.is_over(&restart, &before)
                }
                None => restart.is_complete() || restart.started.is_none() && command.has_failed(),
            };
            if is_over {
                break;
            }
            away = if held.is_empty() { away.or(Some(Instant::now())) } else { None };
            let may_be_away = injection.as_ref().is_some_and(Injection::ends_the_server);
            if !may_be_away && away.is_some_and(|since| since.elapsed() > LONGEST_AWAY) {
                break;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        restart.watched_until = Instant::now();
        restart.fault = match injection {
            None => self.fault(&restart, away.is_some(), command.failure()),
            Some(injection) => {
                let is_over = injection.is_over(&restart, &before);
                let (injected, loss) = injection.end(&restart, &before)?;
                restart.injected = Some(injected);
                loss.or_else(|| (!is_over).then(|| self.fault(&restart, false, command.failure())).flatten())
            }
        };
        command.end(self.deadline);
        Ok(restart)
    }

    /// The old and the new ones that hold the listening socket.
    fn holding(&self) -> Result<BTreeSet<Process>, String> {
        let listening = kernel::listening(self.address).map_err(|error| unseen(&error))?;
        let holders = kernel::holders(&listening);
        match (listening.is_empty(), holders.is_empty()) {
            (true, _) => Err(format!("nobody listens on {}", self.address)),
            (_, true) => Err(format!(
                "the process that listens on {} is another user's: run this as that user or as root, for the \
                 phases of a restart are seen by who holds the socket",
                self.address
            )),
            _ => Ok(holders),
        }
    }

    fn look(
        &self,
        known: &BTreeSet<i32>,
        before: &BTreeSet<Process>,
        is_full: bool,
    ) -> io::Result<BTreeSet<Process>> {
        let listening = kernel::listening(self.address)?;
        Ok(match is_full {
            true => kernel::holders(&listening),
            false => kernel::holders_but(known, before, &listening),
        })
    }

    /// What the service itself has lost.
    fn fault(&self, restart: &Restart, is_away: bool, command: Option<String>) -> Option<(Loss, String)> {
        let within = humantime::format_duration(self.deadline);
        let pids = |processes: &mut dyn Iterator<Item = &Process>| {
            processes.map(|process| process.pid.to_string()).collect::<Vec<_>>().join(", ")
        };
        if restart.is_complete() || self.interrupted.load(Ordering::Relaxed) {
            return None;
        }
        if is_away {
            return Some((Loss::Gone, format!("nobody listens on {}", self.address)));
        }
        if restart.new.is_empty() {
            let why = command.unwrap_or_else(|| format!("no new process within {within}"));
            return Some((Loss::NoSuccessor, why));
        }
        let left = pids(&mut restart.old.iter().filter(|process| process.is_alive()));
        match restart.let_go.is_none() && self.still_accept(&restart.old) {
            true => Some((Loss::TwoGenerations, format!("process {left} still accepts after {within}"))),
            false => Some((Loss::NeverEnds, format!("process {left} is still there after {within}"))),
        }
    }

    /// Whether one of these gets a connection that was not there before.
    fn still_accept(&self, old: &BTreeSet<Process>) -> bool {
        let port = self.address.port();
        let of_old = |known: &BTreeSet<SocketAddr>| -> BTreeSet<SocketAddr> {
            let sockets = kernel::connections(port).unwrap_or_default();
            let new = sockets.into_iter().filter(|socket| !known.contains(&socket.remote));
            new.filter(|socket| {
                kernel::holders_but(&BTreeSet::new(), old, &[*socket]).iter().any(|one| old.contains(one))
            })
            .map(|socket| socket.remote)
            .collect()
        };
        let known = of_old(&BTreeSet::new());
        let until = Instant::now() + SEEN_TO_ACCEPT;
        while Instant::now() < until {
            if !of_old(&known).is_empty() {
                return true;
            }
            std::thread::sleep(BETWEEN_LOOKS);
        }
        false
    }
}

/// Those that have connections: of a master and its workers, the workers. They are to be replaced.
fn serving(holders: &BTreeSet<Process>, port: u16) -> BTreeSet<Process> {
    let connections = kernel::connections(port).unwrap_or_default();
    let busy: BTreeSet<Process> = kernel::holders(&connections).intersection(holders).copied().collect();
    // A worker may have none at this moment, and a master never has.
    if busy.is_empty() { leaves(holders).collect() } else { busy }
}

fn unseen(error: &io::Error) -> String {
    format!("the kernel does not tell who listens (sock_diag): {error}")
}

/// A phase is known so well.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Most looks are at processes that are new: one that was there before, and gets the socket now, is rare.
const FULL_LOOK: u32 = 10;

/// A server that binds anew is back before.
const LONGEST_AWAY: Duration = Duration::from_secs(5);

/// Clients connect many times in it.
const SEEN_TO_ACCEPT: Duration = Duration::from_secs(1);
