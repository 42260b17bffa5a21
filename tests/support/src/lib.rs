//! Real processes under test: started from a directory of their own, watched by events, all killed at the end.
//!
//! Every wait has a deadline ([`PATIENCE`]) far beyond what a busy two-core machine needs: a test that reaches
//! it fails, and shows the log of every process it started.

pub mod beside;
pub mod binary;
mod ended;
pub mod engine;
pub mod gate;
pub mod h2_relay;
pub mod keep;
pub mod load;
pub mod log;
pub mod namespaces;
pub mod operator;
pub mod port;
pub mod proc;
pub mod programs;
pub mod run;
mod server;
pub mod skip;
pub mod slow;
pub mod systemd;
pub mod terminal;

use std::fs::File;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

pub use binary::{Binary, TestDir};
pub use ended::Ended;
pub use nix::sys::signal::Signal;
pub use port::Port;
pub use server::{Server, Setup};
pub use skip::skip;

/// What a test may count on in the examples' output.
pub mod says {
    /// Once for each listener, with the real address, by each generation.
    pub const LISTENING: &str = "listening on ";
    /// Once for each restart that came to nothing, with the reason.
    pub const FAILED: &str = "restart failed";
    /// By a generation that its successor has replaced for good.
    pub const SETTLED: &str = "successor settled";
    /// When a successor died in probation and its predecessor accepts again.
    pub const TOOK_BACK: &str = "taken back";
}

/// Takes the machine for one test: loads beside each other would measure each other. It also keeps a
/// process started by one test from holding open, for writing, a script that another is about to run.
#[must_use = "the machine is free again when this is dropped"]
pub fn alone() -> Flock<File> {
    let path = std::env::temp_dir().join("heirloom-tests.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path).expect("a lock file");
    Flock::lock(file, FlockArg::LockExclusive).expect("a lock among the tests")
}

/// Twice the longest default deadline of the library that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(120);
