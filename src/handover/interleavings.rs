//! TODO prose

mod driver;
mod invariants;
mod walk;
mod world;
