//! What happens to the workers, told once to everybody who wants to know: operators, the log, the service
//! manager, and the program that follows the supervisor.

use std::time::Duration;

use super::Driver;
use crate::handover::supervise::Report;
use crate::operate::event::Event;

impl Driver {
    pub(super) fn tell(&mut self, happening: &Report) {
        self.tell_service(happening);
        // Before the log: our own line is not to stand at the end of what a lost worker wrote.
        self.tell_operators(happening);
        self.log(happening);
        // It fails where nobody listens.
        let _ = self.handle.events.send(happening.clone());
    }

    fn log(&self, happening: &Report) {
        match happening {
            Report::Starting { worker } => say!(info: worker, "starting a worker"),
            Report::Remembered => say!(info: "restart: one is on its way, another one follows it"),
            Report::Ready { worker } => say!(info: worker, "worker ready"),
            Report::Settled { worker } => say!(info: worker, "worker settled"),
            Report::Failed { worker, why } => match self.machine.serving() {
                Some(_) => say!(error: worker, %why, "restart failed, the old worker serves on"),
                None => say!(error: worker, %why, "restart failed, and nobody serves"),
            },
            Report::TakenBack { worker, why } => match self.machine.serving() {
                Some(_) => say!(error: worker, %why, "restart taken back, the old worker accepts again"),
                None => say!(error: worker, %why, "restart taken back, and nobody serves"),
            },
            Report::Died { worker, how } => say!(error: worker, how, "the worker that served has died"),
            Report::Respawning { within, crashes, at_ceiling } => {
                say!(warn: ?within, crashes, at_ceiling, "nobody serves, replacing the worker");
            }
            Report::RolledBack { crashes } => {
                say!(error: crashes, "the program keeps dying, going back to the last good one");
            }
            Report::Stopping { within } => say!(info: ?within, "stopping"),
            Report::Killed { worker } => say!(warn: worker, "a worker did not go in time and is killed"),
            #[expect(unreachable_patterns, reason = "open for additions to others, complete here")]
            _ => {}
        }
    }

    /// What a service manager is to know of it, which watches this process and none of the workers.
    fn tell_service(&self, happening: &Report) {
        let pid = |worker| self.workers.get(worker).map(|process| process.pid).unwrap_or_default();
        match happening {
            Report::Starting { .. } if self.machine.serving().is_some() => {
                self.service.worker_observed(&Event::Starting)
            }
            Report::Ready { worker } if self.operating.is_restart() => {
                self.service.worker_observed(&Event::Ready { pid: pid(worker), after: Duration::ZERO });
            }
            Report::Settled { worker } => self.service.worker_settled(*worker, &self.store.kept()),
            Report::Failed { why, .. } => self.service.worker_observed(&Event::Failed(why.clone())),
            Report::TakenBack { why, .. } => self.service.worker_observed(&Event::TakenBack(why.clone())),
            Report::Stopping { within } => self.service.worker_observed(&Event::Stopping { notice: *within }),
            _ => {}
        }
    }
}
