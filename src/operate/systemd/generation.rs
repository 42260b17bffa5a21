//! What one generation of a service tells the service manager, and when.
//!
//! Everything that the manager must know comes from the process that it takes for the main one at that
//! moment, so `NotifyAccess=main` is enough for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::notifier::Notifier;
use crate::operate::event::Event;
use crate::operate::service::Kept;

/// A generation, as the service manager is to see it.
#[derive(Debug)]
pub(crate) struct Generation {
    notifier: Notifier,
    number: u64,
    /// How long a successor may take until it is settled.
    patience: Duration,
    stores: bool,
    /// What the store holds for nobody, to be told once this process may.
    unwanted: Vec<String>,
    /// Whether the manager takes this process for the main one.
    is_main: bool,
    /// Whether it has ever said so itself.
    is_ready: bool,
    /// Why the last restart failed.
    failure: Option<String>,
    is_draining: bool,
    /// When to tell of a drain that is not the main process's.
    next_progress: Option<Instant>,
}

impl Generation {
    /// `patience`: how long a start may take.
    pub(super) fn new(notifier: Notifier, number: u64, patience: Duration, stores: bool) -> Generation {
        // The first generation is the main process from its start, and the manager waits for it.
        let is_main = number == 1;
        if is_main {
            notifier.status("starting");
            notifier.extend(Instant::now().checked_add(patience));
        }
        Generation {
            notifier,
            number,
            patience,
            stores,
            unwanted: Vec::new(),
            is_main,
            is_ready: false,
            failure: None,
            is_draining: false,
            next_progress: None,
        }
    }

    /// This process is the service, whatever was said before. If `is_known`, the predecessor has said so.
    pub(crate) fn announce_own(&mut self, listeners: &[Kept], is_known: bool) {
        if std::mem::replace(&mut self.is_main, true) && is_known && self.is_ready {
            return;
        }
        let is_first = !std::mem::replace(&mut self.is_ready, true) && self.number == 1;
        // Before READY: who waits for that may kill this process at once, and lose nothing.
        listeners.iter().for_each(|listener| self.opened(listener));
        self.discard_unwanted();
        if is_first {
            // Whose main process it is the manager knows: it started it. In a shell that a unit has left its
            // NOTIFY_SOCKET to, this process must not become that unit's.
            self.notifier.ready(&self.serving());
        } else {
            // The predecessor may have told already how it drains.
            let status = (!is_known).then(|| self.serving());
            drop(self.notifier.main_pid(std::process::id(), status.as_deref()));
        }
        self.notifier.extend(None);
        self.notifier.watch(true);
    }

    /// In a supervisor, which stays the main process: this worker is the service now.
    #[cfg(feature = "supervisor")]
    pub(crate) fn worker_settled(&mut self, number: u64, listeners: &[Kept]) {
        let is_first = !self.is_ready;
        if is_first {
            self.announce_own(listeners, false);
        }
        if (self.number, is_first) != (number, true) {
            (self.number, self.failure) = (number, None);
            self.notifier.ready(&self.serving());
            self.notifier.extend(None);
        }
    }

    /// The successor is the service, and has not been given `late`. Resolves when the manager knows.
    pub(crate) fn announce_successor(&mut self, pid: u32, late: &[Kept]) -> oneshot::Receiver<()> {
        // Taken back, it is stored again.
        late.iter().for_each(|listener| self.closed(listener));
        self.is_main = false;
        self.notifier.extend(None);
        self.notifier.watch(false);
        self.notifier.main_pid(pid, Some(&format!("serving, generation {}", self.number + 1)))
    }

    /// A listener of this process. Kept by the manager once this process is the service: what a successor
    /// opens on its own that then fails must not be kept for ever.
    pub(crate) fn opened(&mut self, listener: &Kept) {
        if self.stores && self.is_main {
            self.notifier.store(listener.name.clone(), Arc::clone(&listener.fd));
        }
    }

    /// No generation accepts from this one any more.
    pub(crate) fn closed(&mut self, listener: &Kept) {
        if self.stores && self.is_main {
            self.notifier.discard(listener.name.clone(), Duration::ZERO);
        }
    }

    /// This process accepts no more from this one, which may be because it ends: what comes next would then
    /// find it in the store.
    pub(crate) fn dropped(&mut self, listener: &Kept) {
        if self.stores && self.is_main {
            self.notifier.discard(listener.name.clone(), CRASH);
        }
    }

    /// What the manager keeps by this name is wanted by nobody.
    pub(crate) fn unwanted(&mut self, name: String) {
        self.unwanted.push(name);
        if self.is_main {
            self.discard_unwanted();
        }
    }

    /// The process that became the service died, and this one has handed over to it.
    pub(crate) fn successor_crashed(&mut self, how: &str) {
        if self.is_main {
            return;
        }
        // Nobody else tells the manager for as long as this process drains: it is the dead one's parent.
        self.notifier.give_up(&format!("generation {} {how}, and nobody serves", self.number + 1));
    }

    /// To wait until the manager has let go of what is unwanted.
    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    pub(crate) fn observe(&mut self, event: &Event) {
        match event {
            Event::Starting => {
                let status = format!("restarting: generation {} initialises", self.number + 1);
                self.notifier.reloading(&status);
                self.notifier.extend(Instant::now().checked_add(self.patience));
            }
            Event::Ready { pid, .. } => {
                let status = format!("restarting: process {pid} is ready, and watched for a while");
                self.notifier.status(&status);
            }
            Event::Failed(failure) => self.carry_on(&format!("the last restart failed: {failure}")),
            Event::TakenBack(failure) => {
                self.carry_on(&format!("the last restart was taken back: {failure}"))
            }
            Event::Stopping { notice } if self.is_main => {
                self.notifier.stopping("stopping");
                self.notifier.extend(Instant::now().checked_add(*notice));
            }
            Event::Draining { connections, within } => {
                self.is_draining = true;
                if self.is_main {
                    self.notifier.extend(Instant::now().checked_add(*within));
                }
                self.tell_drain(*connections, *within);
            }
            Event::Progress { left, within, .. } => {
                let is_due = self.next_progress.is_none_or(|due| Instant::now() >= due);
                if self.is_main || is_due {
                    self.tell_drain(left.iter().map(|(_, count)| count).sum(), *within);
                }
            }
            Event::Ended { .. } if self.is_draining && !self.is_main => {
                let (number, next) = (self.number, self.number + 1);
                self.notifier.status(&format!("serving, generation {next}; generation {number} has drained"));
            }
            _ => {}
        }
    }

    fn discard_unwanted(&mut self) {
        for name in self.unwanted.drain(..) {
            self.notifier.discard(name, Duration::ZERO);
        }
    }

    fn carry_on(&mut self, failure: &str) {
        self.failure = Some(failure.to_owned());
        self.notifier.extend(None);
        // Where another process was announced already, AnnounceOwn has been said by now.
        self.notifier.ready(&self.serving());
    }

    fn tell_drain(&mut self, connections: usize, within: Duration) {
        let (number, seconds) = (self.number, within.as_secs_f64().ceil());
        let left = match connections {
            1 => "1 connection left".to_owned(),
            count => format!("{count} connections left"),
        };
        if self.is_main {
            self.notifier.status(&format!("stopping: {left}, for at most {seconds} s"));
        } else {
            self.next_progress = Some(Instant::now() + PROGRESS);
            let next = number + 1;
            let drain = format!("generation {number} drains: {left}, for at most {seconds} s");
            self.notifier.status(&format!("serving, generation {next}; {drain}"));
        }
    }

    fn serving(&self) -> String {
        match &self.failure {
            Some(failure) => format!("serving, generation {}; {failure}", self.number),
            None => format!("serving, generation {}", self.number),
        }
    }
}

/// How long a listener that was dropped stays in the store. A program that ends by an error drops its
/// listeners on the way out, milliseconds before its end, and what waits in them is for the next start; one
/// that goes on does not want clients to wait for nobody.
const CRASH: Duration = Duration::from_secs(1);

/// How often a process that is not the main one tells of its drain: under `NotifyAccess=main` the manager
/// refuses it, with a line in its log each time.
const PROGRESS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handover::Failure;
    use crate::handover::serving::Reason;
    use crate::operate::systemd::notifier::tests::{heard, manager};

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_first_generation_is_ready_and_carries_on_after_a_failure() {
        let (socket, notifier) = manager("first");
        let mut generation = Generation::new(notifier, 1, PATIENCE, true);
        assert_eq!(heard(&socket), "STATUS=starting");
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=10000000");
        generation.announce_own(&[], false);
        // Said again when it is the service, which is the same thing for a first one.
        generation.announce_own(&[], true);
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving, generation 1");
        generation.observe(&Event::Starting);
        let reloading = heard(&socket);
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC=") && reloading.ends_with("2 initialises")
        );
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=10000000");
        let failure = Failure::Spawn { reason: "no such file".to_owned() };
        generation.observe(&Event::Failed(failure));
        let status = "serving, generation 1; the last restart failed: no such file";
        assert_eq!(heard(&socket), format!("READY=1\nSTATUS={status}"));
    }

    #[test]
    fn a_predecessor_never_says_that_the_service_stops() {
        let (socket, notifier) = manager("predecessor");
        let mut generation = Generation::new(notifier, 2, PATIENCE, true);
        generation.announce_own(&[], true);
        let own = std::process::id();
        assert_eq!(heard(&socket), format!("MAINPID={own}\nREADY=1\nWATCHDOG=1"));
        assert_eq!(heard(&socket), "BARRIER=1");
        let known = generation.announce_successor(4711, &[]);
        let serving = "STATUS=serving, generation 3";
        assert_eq!(heard(&socket), format!("MAINPID=4711\nREADY=1\nWATCHDOG=1\n{serving}"));
        assert_eq!(heard(&socket), "BARRIER=1");
        known.blocking_recv().unwrap();
        generation.observe(&Event::Draining { connections: 1, within: PATIENCE });
        let drains = format!("{serving}; generation 2 drains: 1 connection left, for at most 60 s");
        assert_eq!(heard(&socket), drains);
        // A stop that hastens its drain, and the end.
        generation.observe(&Event::Stopping { notice: Duration::ZERO });
        generation.observe(&Event::Ended { reason: Reason::Restart });
        assert_eq!(heard(&socket), format!("{serving}; generation 2 has drained"));
        // Only its parent can tell.
        generation.successor_crashed("was killed");
        assert_eq!(heard(&socket), "STATUS=generation 3 was killed, and nobody serves\nWATCHDOG=trigger");
    }

    #[test]
    fn a_service_that_stops_says_so() {
        let (socket, notifier) = manager("stops");
        let mut generation = Generation::new(notifier, 2, PATIENCE, false);
        generation.announce_own(&[], false);
        let own = std::process::id();
        let serving = "STATUS=serving, generation 2";
        assert_eq!(heard(&socket), format!("MAINPID={own}\nREADY=1\nWATCHDOG=1\n{serving}"));
        assert_eq!(heard(&socket), "BARRIER=1");
        generation.observe(&Event::Stopping { notice: PATIENCE });
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=stopping");
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=10000000");
    }
}
