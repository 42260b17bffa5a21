//! Reaping what others leave behind, without taking a worker's exit status from whoever waits for it.
//!
//! PID 1 of a container becomes the parent of every process whose own parent ends, and has to reap them, or their
//! entries stay for ever. But it has children of its own too, whose statuses somebody waits for, and the kernel does not
//! tell which are which. So the own ones are registered, and everything else is an orphan.
//!
//! The race is at the start of a child: until its pid is known here, one that dies at once looks like an orphan. So
//! nothing is reaped while a start is on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::signal::unix::{SignalKind, signal};

use crate::sys::orphan;
use crate::sys::pidfd::Exit;

/// Which children of this process somebody waits for.
#[derive(Debug)]
pub(super) struct Children {
    state: Mutex<State>,
    reaps_orphans: bool,
}

#[derive(Debug, Default)]
struct State {
    own: BTreeSet<i32>,
    /// How many starts are on.
    starting: usize,
}

impl Children {
    /// A register. Only with `reaps_orphans` does it ever reap anything.
    pub(super) fn new(reaps_orphans: bool) -> Children {
        Children { state: Mutex::default(), reaps_orphans }
    }

    pub(super) fn reaps_orphans(&self) -> bool {
        self.reaps_orphans
    }

    /// Starts a child of our own. Whoever starts one without this may find its status gone.
    pub(super) fn start<T, E>(
        &self,
        start: impl FnOnce() -> Result<T, E>,
        pid: impl FnOnce(&T) -> i32,
    ) -> Result<T, E> {
        self.hold(|| {
            let started = start();
            if let Ok(started) = &started {
                self.lock().own.insert(pid(started));
            }
            started
        })
    }

    /// Keeps every status that there is for `wait`, which may start children and waits for them.
    pub(super) fn hold<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.lock().starting += 1;
        // It counts down again when `wait` panics.
        let _held = Held(self);
        wait()
    }

    /// The status of a child of our own has been collected. Not sooner: it would be taken for an orphan.
    pub(super) fn reaped(&self, pid: i32) {
        self.lock().own.remove(&pid);
        // It may have stood before others: the kernel shows one child that has ended, not all of them.
        self.reap_orphans();
    }

    /// To be called at each SIGCHLD. Never waits: what stands behind a start, or behind a child of our own that is not
    /// reaped yet, is reaped when that is over.
    pub(super) fn reap_orphans(&self) {
        let state = self.lock();
        if !self.reaps_orphans || state.starting > 0 {
            return;
        }
        loop {
            match orphan::peek() {
                Ok(Some(pid)) if !state.own.contains(&pid) => report(pid, orphan::reap(pid)),
                Ok(_) => return,
                Err(error) => return say!(warn: %error, "cannot look for orphans"),
            }
        }
    }

    /// Reaps orphans as they come. Within a runtime; never returns.
    pub(super) async fn reap_for_ever(self: Arc<Children>) {
        let Ok(mut ends) = signal(SignalKind::child()) else {
            return say!(error: "cannot wait for orphans: they stay as zombies");
        };
        loop {
            // Once before the first signal: whatever had ended by then.
            self.reap_orphans();
            ends.recv().await;
        }
    }

    /// The state is whole at every step.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that is on. Without the lock: it may take seconds, and the driver must not wait for it.
struct Held<'a>(&'a Children);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.lock().starting -= 1;
        // Whatever a SIGCHLD of this time was about.
        self.0.reap_orphans();
    }
}

fn report(pid: i32, reaped: std::io::Result<Option<Exit>>) {
    match reaped {
        Ok(Some(exit)) => say!(debug: pid, "an orphan {exit}"),
        Ok(None) => {}
        Err(error) => say!(warn: pid, %error, "cannot reap an orphan"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, await_exit};
    use crate::sys::pidfd::Pidfd;
    use std::convert::Infallible;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    /// A shell that leaves a grandchild behind when its input ends; that one's pid, and the pipe that ends with it.
    fn leave_an_orphan() -> (i32, std::process::ChildStdout) {
        let mut shell = Command::new("sh");
        // The pipe's last writer is the orphan: its end is the orphan's.
        shell.args(["-c", "(read line <&3) 3<&0 & echo $!"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut output = shell.stdout.take().unwrap();
        let mut line = String::new();
        while !line.ends_with('\n') {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            line.push(char::from(byte[0]));
        }
        let pid = line.trim().parse().unwrap();
        let input = shell.stdin.take();
        shell.wait().unwrap();
        drop(input);
        (pid, output)
    }

    fn ended(script: &str) -> Child {
        let child = Command::new("sh").args(["-c", script]).spawn().unwrap();
        await_exit(&Pidfd::open(child.id() as i32).unwrap());
        child
    }

    fn is_zombie(pid: i32) -> bool {
        std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
    }

    #[test]
    fn orphans_are_reaped_and_the_own_children_are_not() {
        alone("supervisor::orphans::tests::orphans_are_reaped_and_the_own_children_are_not", &[], || {
            orphan::become_subreaper().unwrap();
            let children = Children::new(true);
            let start = || Ok::<_, Infallible>(ended("exit 7"));
            // It has ended before it is registered, and a reap is tried meanwhile.
            let first = children
                .start(
                    || {
                        let child = start();
                        children.reap_orphans();
                        child
                    },
                    |child| child.id() as i32,
                )
                .unwrap();
            let (orphan, mut output) = leave_an_orphan();
            output.read_to_end(&mut Vec::new()).unwrap();
            if let Ok(pidfd) = Pidfd::open(orphan) {
                await_exit(&pidfd);
            }
            children.reap_orphans();
            let first_pid = first.id() as i32;
            assert_eq!(wait(first), Some(7), "the own child's status was taken");
            children.reaped(first_pid);
            assert!(!is_zombie(orphan), "the orphan behind it was forgotten");
            assert_eq!(orphan::peek().unwrap(), None);
        });
    }

    #[test]
    fn a_death_by_a_real_time_signal_is_reaped_like_any_other() {
        alone(
            "supervisor::orphans::tests::a_death_by_a_real_time_signal_is_reaped_like_any_other",
            &[],
            || {
                let pid = ended("kill -40 $$").id() as i32;
                assert_eq!(orphan::peek().unwrap(), Some(pid));
                assert_eq!(orphan::reap(pid).unwrap(), Some(Exit::Signal(40)));
                Children::new(false).reap_orphans();
            },
        );
    }

    #[test]
    fn without_being_asked_nothing_is_reaped() {
        alone("supervisor::orphans::tests::without_being_asked_nothing_is_reaped", &[], || {
            let children = Children::new(false);
            let child = ended("exit 5");
            children.reap_orphans();
            assert_eq!(wait(child), Some(5));
        });
    }

    fn wait(mut child: Child) -> Option<i32> {
        child.wait().unwrap().code()
    }
}
