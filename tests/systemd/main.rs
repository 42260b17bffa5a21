//! Units of a real systemd.
#![cfg(all(feature = "cli", feature = "http", feature = "systemd"))]

mod store;
mod units;
