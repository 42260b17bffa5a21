//! Reaping what others leave behind, without taking the status of a child from the code that waits for it.
//!
//! PID 1 of a container becomes the parent of every process whose own parent ends, and has to reap them, or
//! their entries stay for ever. But it has children of its own too, whose statuses somebody waits for, and
//! the kernel does not tell which are which. So the workers are registered, and never touched here; anything
//! else that has ended gets a while in which the code that has started it (a hook, the check of a fetched
//! binary) can collect its status, and is an orphan then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::sys::orphan;
use crate::sys::pidfd::Exit;

/// Which children of this process are the driver's to reap.
#[derive(Debug)]
pub(super) struct Children {
    state: Mutex<State>,
    reaps_orphans: bool,
}

#[derive(Debug, Default)]
struct State {
    own: BTreeSet<i32>,
    /// How many are being started: until its pid is known, one that dies at once looks like an orphan.
    starting: usize,
    /// What has ended and is not ours, with the time when that was seen.
    unclaimed: BTreeMap<i32, Instant>,
}

impl Children {
    /// A register. Only with `reaps_orphans` is anything ever reaped here.
    pub(super) fn new(reaps_orphans: bool) -> Children {
        Children { state: Mutex::default(), reaps_orphans }
    }

    pub(super) fn reaps_orphans(&self) -> bool {
        self.reaps_orphans
    }

    /// Starts a child of our own.
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
    }

    /// Reaps orphans as they come. Within a runtime; never returns.
    pub(super) async fn reap_for_ever(self: Arc<Children>) {
        let Ok(mut ends) = signal(SignalKind::child()) else {
            return say!(error: "cannot wait for orphans: they stay as zombies");
        };
        loop {
            // Once before the first signal: whatever had ended by then.
            let again = self.reap_orphans(Instant::now());
            tokio::select! {
                _ = ends.recv() => {}
                () = tokio::time::sleep(again.unwrap_or(Duration::MAX)) => {}
            }
        }
    }

    /// Reaps what nobody has claimed for a while. Returns how long until there may be more; to be called at
    /// each SIGCHLD as well.
    fn reap_orphans(&self, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        if state.starting > 0 {
            return Some(CLAIM);
        }
        let ended = match orphan::ended() {
            Ok(ended) => ended,
            Err(error) => {
                say!(warn: %error, "cannot look for orphans");
                return Some(CLAIM);
            }
        };
        state.unclaimed.retain(|pid, _| ended.contains(pid));
        for pid in ended {
            if state.own.contains(&pid) {
                continue;
            }
            let seen = *state.unclaimed.entry(pid).or_insert(now);
            if now.saturating_duration_since(seen) >= CLAIM {
                state.unclaimed.remove(&pid);
                report(pid, orphan::reap(pid));
            }
        }
        let oldest = state.unclaimed.values().min()?;
        Some(CLAIM.saturating_sub(now.saturating_duration_since(*oldest)))
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
    }
}

fn report(pid: i32, reaped: std::io::Result<Option<Exit>>) {
    match reaped {
        Ok(Some(exit)) => say!(debug: pid, "an orphan {exit}"),
        Ok(None) => {}
        Err(error) => say!(warn: pid, %error, "cannot reap an orphan"),
    }
}

/// Code that waits for a child collects its status within milliseconds of its end; and a zombie costs nothing
/// but its number.
const CLAIM: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, await_exit};
    use crate::sys::pidfd::Pidfd;
    use std::convert::Infallible;
    use std::io::Read;
    use std::process::{Child, Command, Stdio};

    /// A shell that leaves a grandchild behind when its input ends; that one's pid, and the pipe that ends
    /// with it.
    fn leave_an_orphan() -> (i32, std::process::ChildStdout) {
        let mut shell = Command::new("sh");
        // The pipe's last writer is the orphan: its end is the orphan's.
        shell
            .args(["-c", "exec 3<&0; (read line <&3) & echo $!"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
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
        crate::sys::process::Process::of(pid).is_some_and(|process| process.has_ended())
    }

    #[test]
    fn orphans_are_reaped_and_children_that_somebody_waits_for_are_not() {
        alone(
            "supervisor::orphans::tests::orphans_are_reaped_and_children_that_somebody_waits_for_are_not",
            &[],
            || {
                orphan::become_subreaper().unwrap();
                let (children, now) = (Children::new(true), Instant::now());
                // It has ended before it is registered.
                let start = || {
                    let child = ended("exit 7");
                    assert_eq!(children.reap_orphans(now), Some(CLAIM), "not while one is being started");
                    Ok::<_, Infallible>(child)
                };
                let own = children.start(start, |child| child.id() as i32).unwrap();
                let strangers = ended("exit 5");
                let (orphan, mut output) = leave_an_orphan();
                output.read_to_end(&mut Vec::new()).unwrap();
                if let Ok(pidfd) = Pidfd::open(orphan) {
                    await_exit(&pidfd);
                }
                assert_eq!(children.reap_orphans(now), Some(CLAIM));
                assert_eq!(wait(strangers), Some(5), "it had no time to be waited for");
                assert!(is_zombie(orphan));
                assert_eq!(children.reap_orphans(now + CLAIM), None);
                assert!(!is_zombie(orphan), "the orphan was forgotten");
                let pid = own.id() as i32;
                assert_eq!(wait(own), Some(7), "the own child's status was taken");
                children.reaped(pid);
                assert!(orphan::ended().unwrap().is_empty());
            },
        );
    }

    #[test]
    fn a_death_by_a_real_time_signal_is_reaped_like_any_other() {
        alone(
            "supervisor::orphans::tests::a_death_by_a_real_time_signal_is_reaped_like_any_other",
            &[],
            || {
                let pid = ended("kill -40 $$").id() as i32;
                assert_eq!(orphan::ended().unwrap(), [pid]);
                assert_eq!(orphan::reap(pid).unwrap(), Some(Exit::Signal(40)));
                assert_eq!(orphan::reap(pid).unwrap(), None);
            },
        );
    }

    fn wait(mut child: Child) -> Option<i32> {
        child.wait().unwrap().code()
    }
}
