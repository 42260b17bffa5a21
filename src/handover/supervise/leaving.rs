//! The workers on their way out: those that were replaced or given up, and all of them when the service
//! stops. Each has until its deadline; then it is killed, and if even that does not end it, given up.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::words::Worker;
use crate::handover::after;

/// How long a killed worker may take to be gone before it is given up: as in
/// [`launch`](crate::handover::launch).
pub(super) const DIE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Leavers {
    workers: BTreeMap<Worker, Leaving>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Leaving {
    deadline: Instant,
    killed: bool,
}

/// What is to be done about one that is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Late {
    Kill(Worker),
    Abandon(Worker),
}

impl Leavers {
    pub(super) fn add(&mut self, worker: Worker, deadline: Instant) {
        self.workers.insert(worker, Leaving { deadline, killed: false });
    }

    /// One that is killed now.
    pub(super) fn add_killed(&mut self, worker: Worker, now: Instant) {
        self.workers.insert(worker, Leaving { deadline: after(now, DIE), killed: true });
    }

    /// It is gone. Whether it was one of these.
    pub(super) fn remove(&mut self, worker: Worker) -> bool {
        self.workers.remove(&worker).is_some()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// A deadline that is later stays, and so does one that was acted on. Whether it is a later one now.
    pub(super) fn extend(&mut self, worker: Worker, until: Instant) -> bool {
        let Some(leaving) = self.workers.get_mut(&worker).filter(|leaving| !leaving.killed) else {
            return false;
        };
        let before = leaving.deadline;
        leaving.deadline = until.max(before);
        leaving.deadline > before
    }

    /// None has longer than until `limit` now. Returns those that have yet to be killed.
    pub(super) fn hurry(&mut self, limit: Instant) -> Vec<Worker> {
        let waited_for = self.workers.iter_mut().filter(|(_, leaving)| !leaving.killed);
        let hurried = waited_for.map(|(worker, leaving)| {
            leaving.deadline = leaving.deadline.min(limit);
            *worker
        });
        hurried.collect()
    }

    /// As [`hurry`](Self::hurry), for those who wait no more.
    pub(super) fn hammer(&mut self, now: Instant) -> Vec<Worker> {
        self.hurry(after(now, DIE))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.workers.values().map(|leaving| leaving.deadline).min()
    }

    /// Those whose time is over.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Late> {
        let late = self.workers.iter_mut().filter(|(_, leaving)| now >= leaving.deadline);
        let late: Vec<Late> = late
            .map(|(worker, leaving)| {
                leaving.deadline = after(now, DIE);
                match std::mem::replace(&mut leaving.killed, true) {
                    false => Late::Kill(*worker),
                    true => Late::Abandon(*worker),
                }
            })
            .collect();
        self.workers.retain(|worker, _| !late.contains(&Late::Abandon(*worker)));
        late
    }

    #[cfg(test)]
    pub(super) fn forget_time(&mut self, due: Instant) {
        self.workers.values_mut().for_each(|leaving| leaving.deadline = due);
    }
}
