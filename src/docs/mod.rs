//! The guide: what holds and why, and how to build, run and update a restartable server.
//!
//! | chapter | what it answers |
//! |---|---|
//! | [`around`] | What has an existing program to change? |
//! | [`connections`] | Which connections go on in the new process, and what becomes of the others? |
//! | [`state`] | What does a program hand to its successor, and what could be lost? |
//! | [`server`] | What can a server do with heirloom, besides being restarted? |
//! | [`guarantees`] | What holds, by number, and what does not? |
//! | [`command`] | How is a server restarted, watched and stopped from a shell? |
//! | [`supervisor`] | How does the PID stay the same? |
//! | [`any_server`] | How is a server in another language restarted (`heirloom run`)? |
//! | [`deploy`] | What to use under systemd, in a container, and under Kubernetes? What is counted? |
//! | `frameworks` | Which part of axum, hyper, tonic and others does heirloom take the place of? |
//! | [`fetch`] | How does a server find and install its next version? |
//! | [`measurements`] | What was measured, beside what, and how? |
//! | [`design`] | Why is it built as it is? |

pub mod any_server;
pub mod around;
pub mod command;
pub mod connections;
pub mod deploy;
pub mod design;
pub mod fetch;
#[cfg(feature = "http")]
pub mod frameworks;
pub mod guarantees;
pub mod measurements;
pub mod server;
pub mod state;
pub mod supervisor;
#[cfg(test)]
mod tests;

/// The README's code compiles.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../../README.md")]
struct Readme;
