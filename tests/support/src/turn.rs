//! Whose turn it is on this machine: tests in one process and in several take turns by locks of files in `TMPDIR`.

use std::fs::File;

use nix::fcntl::{Flock, FlockArg};

use crate::hangup;

/// A test's time on the machine, which ends when this is dropped.
#[derive(Debug)]
pub struct Turn {
    _lock: Flock<File>,
}

/// Takes the machine for one test. For a test that
///
/// - measures: time, load, descriptors, threads, memory, children;
/// - changes what the whole test process has: limits, signals, the environment;
/// - hands down descriptors of the test process, which every process that is started meanwhile would inherit;
/// - writes a file that is then executed: a process that another test starts meanwhile would hold it open for writing
///   (the ones of [`Binary`](super::Binary) are written by a process of their own);
/// - boots systemd or a container, or looks at the processes of the whole machine.
#[must_use = "the machine is free again when this is dropped"]
pub fn alone() -> Turn {
    Turn::take(FlockArg::LockExclusive)
}

/// Shares the machine with other tests that do so: for a test that watches its own processes and nothing else. How many
/// those are, the number of libtest's threads says.
#[must_use = "tests that want to be alone may begin when this is dropped"]
pub fn beside_others() -> Turn {
    Turn::take(FlockArg::LockShared)
}

impl Turn {
    fn take(how: FlockArg) -> Turn {
        hangup::heed();
        // Lock files have no queue: those that share would keep out the one that waits to be alone for as long as any of
        // them runs. It waits with the gate in its hand, so nobody else begins.
        let gate = lock("heirloom-tests.gate", FlockArg::LockExclusive);
        let turn = Turn { _lock: lock("heirloom-tests.lock", how) };
        drop(gate);
        turn
    }
}

fn lock(name: &str, how: FlockArg) -> Flock<File> {
    let path = std::env::temp_dir().join(name);
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("a lock file");
    Flock::lock(file, how).expect("a lock among the tests")
}
