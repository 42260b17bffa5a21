//! One process hands over to the next: how it starts, what it hands down, how it fails and recovers.
#![cfg(all(feature = "cli", feature = "http"))]

mod axum;
mod bad_input;
mod blocking;
mod closed_stderr;
mod deaths;
mod exhausted;
mod faults;
#[path = "../forged/mod.rs"]
mod forged;
mod framework;
mod hostile;
mod identity;
mod leaks;
mod listeners;
mod missing;
mod shutdown;
mod signals;
mod state;
mod udp;
