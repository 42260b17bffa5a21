//! The handover protocol as pure state machines: no descriptor, no clock, no runtime, no environment.
//!
//! Each machine takes events with the time as an argument (`request`, `message`, `died`, `timeout`, ...) and
//! queues actions that the driver takes out with `poll_action` and carries out in order. Nothing else goes in
//! or out, which is what lets a test walk every order of events and kill either side at every step.
//!
//! A process goes through [`succeed`] (with no predecessor, if it is the first generation), then [`launch`],
//! with [`serving`] beside them for its end:
//!
//! ```text
//!  predecessor P                                successor S
//!    trigger, spawn ─────────────────────────▶   adopts the sockets, initialises
//!                   ◀──────────────── READY ─    accepts nothing yet
//!    stops accepting, keeps the sockets
//!                   ─ COMMIT ────────────────▶   accepts
//!                   ◀──────────── ACCEPTING ─
//!    probation: watches S, takes back if it dies
//!                   ─ PROBE ─────────────────▶
//!                   ◀──────────── ACCEPTING ─    is still there
//!    tells the service manager and the pid file
//!                   ─ SETTLED ───────────────▶   is the service
//!    closes the sockets, drains, exits
//! ```
//!
//! What the machines hold, depending on who dies and when (the numbers are those of the crate's
//! [guarantees](crate::guarantees)):
//!
//! | dies | while | then |
//! |---|---|---|
//! | S | before READY | P never stopped accepting (G3) |
//! | S | READY to SETTLED | P takes back: it kept the sockets, the queue waited in the kernel (G1, G3) |
//! | S | READY to SETTLED, frozen | P kills it, and takes back when it is dead (G3) |
//! | S | after SETTLED | the service is down, as with any crash; a supervisor replaces it |
//! | P | before READY | S accepts as soon as it is ready |
//! | P | after READY | S accepts, and does what P had not done yet |
//!
//! At most one process starts while one serves (G4): a [`Launch`] has one successor, and a process is not a
//! [`Launch`] before it is settled itself.
//!
//! # What the driver owes the machines
//!
//! The walk over every order of events (`interleavings`) takes all of these for granted; without the first it
//! finds a way to lose the service within ten steps.
//!
//! * Before it gives a machine a death, a `timeout` or an `announced`, it has read that peer's channel to its
//!   end and has asked the peer's pidfd, and given on what it found. Else a predecessor settles on a
//!   successor that is known to be dead, and a successor gives up beside a COMMIT that waits to be read.
//! * It calls [`Launch::spawned`] before it gives on what that successor said.
//! * It does not let the process end while a spawn is on: nobody could kill the child, and that takes over
//!   from its dead predecessor although the service was stopped. What is spawned after
//!   [`launch::Action::Abandon`] it kills by itself.
//! * [`launch::Action::AnnounceOwn`] and the end of a try put an announcement that is on its way off: it is
//!   neither carried out later nor answered with [`Launch::announced`].

pub mod announcement;
pub(crate) mod fields;
pub mod history;
#[cfg(test)]
mod interleavings;
pub mod launch;
pub mod message;
pub mod moves;
pub mod moving;
pub(crate) mod percent;
pub mod reason;
pub mod serving;
pub mod state_reply;
pub mod succeed;
pub mod supervise;
pub mod supervised;

pub use launch::Launch;
pub use reason::{Failure, Refusal};
pub use serving::Serving;
pub use succeed::Succeed;
pub use supervise::Supervise;
pub use supervised::Supervised;

use std::time::{Duration, Instant};

/// `now + wait`, for waits that a user sets: one that the clock cannot hold (`Duration::MAX`) is as good as
/// for ever.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(FOR_EVER)).unwrap_or(now)
}

/// Longer than any process lives, and short enough for every clock.
const FOR_EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
