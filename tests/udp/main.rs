//! Datagrams with conversations, through restarts: real processes, and clients that number what they send.
#![cfg(all(feature = "udp", feature = "supervisor"))]

mod clients;
mod conversations;
mod deaths;
mod names;
