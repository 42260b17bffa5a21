//! TODO prose

mod driver;
mod invariants;
mod schedules;
mod walk;
mod world;
