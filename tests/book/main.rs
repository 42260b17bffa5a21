//! The first hour: what a reader pastes runs, and what goes wrong is said.
#![cfg(all(feature = "cli", feature = "http"))]

mod frameworks;
mod programs;
mod silent;
mod window;
