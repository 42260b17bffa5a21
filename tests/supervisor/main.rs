//! A parent that replaces its workers.
#![cfg(all(feature = "cli", feature = "http", feature = "supervisor"))]

mod control;
mod faults;
#[path = "../forged/mod.rs"]
mod forged;
mod workers;
