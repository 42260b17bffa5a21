//! What happens, told once to everybody who wants to know: the log, the program ([`Event`]), the service
//! manager, the metrics, the generations to come, and operators.

use std::collections::BTreeMap;

use super::Driver;
use crate::operate::event::Event;
use crate::operate::terminal;

impl Driver {
    pub(super) fn tell(&mut self, happening: Event) {
        // First: our own line is not to stand at the end of what a lost successor wrote.
        self.operating.remember(&happening);
        log(&happening);
        if let Event::Settled { pid, .. } = &happening {
            self.tell_the_terminal(*pid);
        }
        self.shared.report(happening.clone());
        self.tell_operators(&happening);
    }

    /// A shell that waited for this process shows its prompt soon, as if the server had ended.
    fn tell_the_terminal(&self, successor: u32) {
        if self.shared.supervisor.is_none() && terminal::is_in_foreground() {
            say!(warn:
                "this process was in the foreground of its terminal, and its successor {successor} is not: the prompt comes \
                 back, and the server goes on (kill {successor} stops it); `heirloom run` stays in the foreground"
            );
        }
    }

    /// What became of those that could go to the successor, if there were any.
    pub(super) fn tell_moved(&mut self) {
        let (by_kind, unmoved) = (self.operating.moved_by_kind().clone(), self.shared.tracker.unmoved());
        if !by_kind.is_empty() || !unmoved.is_empty() {
            self.tell(Event::Moved { by_kind, unmoved });
        }
    }
}

fn log(happening: &Event) {
    match happening {
        Event::Accepting { generation } => say!(info: generation = *generation, "accepting"),
        Event::Starting => say!(info: "restart: starting a successor"),
        Event::Remembered => say!(info: "restart: one is on its way, another one follows it"),
        Event::Refused(refusal) => say!(warn: %refusal, "restart refused"),
        Event::Spawned { pid, after } => say!(info: pid = *pid, ?after, "successor started"),
        Event::Ready { pid, after } => say!(info: pid = *pid, ?after, "successor ready"),
        Event::Settled { pid, after } => say!(info: pid = *pid, ?after, "successor settled"),
        Event::Failed(failure) => say!(error: %failure, "restart failed, serving on"),
        Event::TakenBack(failure) => say!(error: %failure, "restart taken back, accepting again"),
        Event::Stopping { notice } => say!(info: ?notice, "stopping"),
        Event::Draining { connections, within } => {
            say!(info: connections = *connections, ?within, "draining")
        }
        Event::Progress { left, oldest, within } => {
            if let Some(oldest) = oldest {
                let left: usize = left.iter().map(|(_, count)| count).sum();
                say!(info: left, %oldest, ?within, "still draining");
            }
        }
        Event::Hammered { aborted } => say!(warn: aborted = *aborted, "the hammer fell"),
        Event::Moved { by_kind, unmoved } => {
            say!(info: moved = %counted(by_kind), not_moved = %counted(unmoved), "connections moved")
        }
        Event::FlowsGone { address, generation, forwarded, dropped } => {
            say!(info: %address, generation = *generation, forwarded = *forwarded, dropped = *dropped, "an older generation's conversations have ended")
        }
        Event::Ended { reason } => say!(info: ?reason, "ended"),
    }
}

/// `3 http1, 1 websocket`
fn counted(counts: &BTreeMap<&'static str, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let parts = counts.iter().map(|(what, count)| format!("{count} {what}"));
    parts.collect::<Vec<_>>().join(", ")
}
