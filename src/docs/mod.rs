//! The guide: what holds and why, and how to run what is built with it.

pub mod deploy;
pub mod design;
pub mod guarantees;
