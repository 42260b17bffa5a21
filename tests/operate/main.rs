//! What operators ask and see: the command, its control socket, terminals, metrics.
#![cfg(all(feature = "cli", feature = "http"))]

mod busy;
mod commands;
mod control;
mod frozen;
#[cfg(feature = "metrics")]
mod metrics;
mod states;
mod terminal;
