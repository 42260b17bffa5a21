//! The guide: from a first server to what holds and why. It can be read from front to back.
//!
//! | chapter | what it answers |
//! |---|---|
//! | [`first_server`] | From nothing to a restart: what do I write, what do I see? |
//! | [`around`] | What has an existing program to change? |
//! | [`frameworks`] | Which part of axum, hyper, tonic and others does heirloom take the place of? |
//! | [`restart`] | What happens in a restart, step by step? |
//! | [`deadlines`] | How long may each thing take, and when should that be changed? |
//! | [`connections`] | Which connections go on in the new process, and what becomes of the others? |
//! | [`state`] | What does a program hand to its successor, and what could be lost? |
//! | [`tls`] | How does HTTPS outlive a restart? |
//! | [`udp`] | How do conversations over datagrams outlive a restart? |
//! | [`command`] | How is a server restarted, watched and stopped from a shell? |
//! | [`supervisor`] | How does the PID stay the same? |
//! | [`any_server`] | How is a server in another language restarted (`heirloom run`)? And while I write it? |
//! | [`systemd`] | What does a unit look like, and what to use elsewhere? |
//! | [`containers`] | What to use in a container, and under Kubernetes? |
//! | [`fetch`] | How does a server find and install its next version? |
//! | [`observing`] | Where is it told what happens? What is counted? |
//! | [`testing`] | How do I test my own server? |
//! | [`prove`] | Does a server, whatever it is written in, lose anything when it restarts (`heirloom prove`)? |
//! | [`troubleshooting`] | Something is wrong: where to look? |
//! | [`messages`] | What does this message mean? |
//! | [`coming_from`] | I know endless, grace, overseer, tableflip, listenfd, axum-server, Server::Starter, unicorn or nginx: what is it called here? |
//! | [`guarantees`] | What holds, by number, and what does not? |
//! | [`measurements`] | What was measured, beside what, and how? |
//! | [`design`] | Why is it built as it is? |

pub mod any_server;
pub mod around;
pub mod coming_from;
pub mod command;
pub mod connections;
pub mod containers;
pub mod deadlines;
pub mod design;
pub mod fetch;
pub mod first_server;
pub mod frameworks;
pub mod guarantees;
pub mod measurements;
pub mod messages;
pub mod observing;
pub mod prove;
pub mod restart;
pub mod state;
pub mod supervisor;
pub mod systemd;
pub mod testing;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod troubleshooting;
pub mod udp;

/// The README's code compiles.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../../README.md")]
struct Readme;
