//! Whether a worker still lives at the end of its probation: one that was stopped meanwhile (SIGSTOP, a
//! debugger), or that does not answer any more, is not settled on.
//!
//! A program that is not heirloom's cannot be asked in general. What it can be asked is what showed that it
//! was ready, if that was a check from outside; and it is seen whether it is stopped.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::readiness::{Check, Complaint, Heard};
use crate::supervisor::making::{Ask, Readiness, Words};
use crate::sys::process::Process;

/// Asks one worker.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) pid: i32,
    pub(super) heard: Option<Arc<Heard>>,
    /// What it was asked when it became ready.
    pub(super) check: Option<Check>,
}

/// A question that waits for its answer.
struct Question {
    pid: i32,
    complaint: Complaint,
    is_answered: bool,
}

impl Ask for Asker {
    fn ask(&self) -> Readiness {
        let (pid, heard, check) = (self.pid, self.heard.clone(), self.check.clone());
        Box::pin(async move {
            while is_stopped(pid) || main_of(heard.as_deref()).is_some_and(is_stopped) {
                tokio::time::sleep(LOOK).await;
            }
            if let Some(check) = check {
                let mut question = Question { pid, complaint: Complaint::default(), is_answered: false };
                check.until_passed(&question.complaint).await;
                question.is_answered = true;
            }
            Ok(())
        })
    }
}

fn is_stopped(pid: i32) -> bool {
    Process::of(pid).is_some_and(Process::is_stopped)
}

fn main_of(heard: Option<&Heard>) -> Option<i32> {
    Some(heard?.main()?.pid)
}

impl Drop for Question {
    fn drop(&mut self) {
        // It was given up: that it was silent is said elsewhere, this is what it said.
        let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(complaint) = complaint.filter(|_| !self.is_answered) {
            say!(warn: pid = self.pid, complaint, "the last check at the end of a worker's probation failed");
        }
    }
}

/// Between two looks at a worker that is stopped. Its own end of that is told to one who listens, and that is
/// another.
const LOOK: Duration = Duration::from_millis(50);
