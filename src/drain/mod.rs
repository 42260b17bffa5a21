//! Every live connection, and how the process ends them.
//!
//! A [`Tracker`] knows each connection from the moment it is wrapped in a [`Connection`] until that
//! is dropped. Tracking is at the level of the I/O object, not of the request: a WebSocket is counted
//! until the holder of its socket lets go. The tracker has three phases, in this order and never back:
//!
//! ```text
//! Serving --begin()--> Draining --hammer()--> Hammered
//! ```
//!
//! - *Serving*: only the limits of each connection apply (see below).
//! - *Draining*: nothing is cut. Who speaks for a connection (the HTTP layer, or your accept loop
//!   through [`Connection::draining`]) finishes what is in flight and closes.
//! - *Hammered*: every read and write gives [`ConnectionAborted`](std::io::ErrorKind::ConnectionAborted),
//!   and every task that waits in one is woken to find out.
//!
//! [`Tracker::emptied`] resolves when the last connection and the last [`Hold`] are gone.
//!
//! # What it costs
//!
//! A connection has one entry in a slab. The slab's lock is taken when a connection comes, goes, or the phase
//! changes; a read or write that makes progress costs two relaxed atomic operations. No clock is read on that
//! path: one sweeper task a tracker, on a thread that all trackers share, publishes a coarse clock and finds
//! connections that overstayed a limit. Its period is an eighth of the shortest limit, between 10 ms and 250
//! ms. A limit never fires early, and at most two periods late.
//!
//! # Hazards
//!
//! - A task that holds a [`Connection`] but never polls it does not notice the hammer. The tracker
//!   counts it until it does, or until the process ends.
//! - Limits go by the system's clock, also where a test has paused tokio's.

// Without HTTP nobody tells the entries what is spoken.
#![cfg_attr(not(feature = "http"), allow(dead_code))]

mod connection;
pub(crate) mod departure;
mod entry;
mod lending;
mod limits;
mod move_on;
mod presence;
mod registry;
mod signal;
mod status;
pub mod stream;
mod sweeper;
mod told;
mod tracker;

#[cfg(all(test, feature = "http"))]
mod tests;

pub use connection::Connection;
pub(crate) use connection::Registration;
pub use signal::DrainSignal;
pub use status::{ConnectionState, ConnectionStatus, Kind, Phase};
pub use tracker::{Hold, Tracker};

#[cfg(feature = "http")]
pub(crate) use entry::{Base, Entry, Stage};
#[cfg(feature = "http")]
pub(crate) use lending::Lending;
#[cfg(feature = "http")]
pub(crate) use limits::Limits;
#[cfg(feature = "http")]
pub(crate) use move_on::TOO_MUCH;
