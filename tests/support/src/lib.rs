//! Real processes under test: started from a directory of their own, watched by events, all killed at the end.
//!
//! Every wait has a deadline ([`PATIENCE`]) far beyond what a busy two-core machine needs: a test that reaches
//! it fails, and shows the log of every process it started.

pub mod beside;
pub mod binary;
pub mod book;
pub mod chromium;
mod ended;
pub mod engine;
pub mod gate;
pub mod h2_relay;
mod hangup;
pub mod keep;
pub mod load;
pub mod log;
pub mod namespaces;
pub mod operator;
pub mod port;
pub mod proc;
pub mod programs;
pub mod python;
mod request;
pub mod run;
mod server;
pub mod skip;
pub mod slow;
pub mod systemd;
pub mod terminal;
mod turn;

use std::time::Duration;

pub use binary::{Binary, TestDir};
pub use ended::Ended;
pub use nix::sys::signal::Signal;
pub use port::Port;
pub use request::Request;
pub use server::{Server, Setup};
pub use skip::skip;
pub use turn::{Turn, alone, beside_others};

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

/// Twice the longest default deadline of the library that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(120);
