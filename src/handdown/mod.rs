//! What a process hands down to its successor, and what it was handed itself.
//!
//! [`inherited`] is what this process was started with, by a predecessor or by `activation`; [`program`]
//! which program its successor runs. [`recipe`] makes the successor, and [`peer`] is the process at the other
//! end of the channel. [`descriptors`] and [`state`] are the program's own on their way.

mod activation;
pub(crate) mod descriptors;
pub(crate) mod inherited;
pub(crate) mod peer;
pub(crate) mod program;
pub(crate) mod recipe;
pub(crate) mod state;
