//! Clients of every kind while the server restarts.
#![cfg(feature = "http")]

mod browser;
mod load;
mod load_client;
mod proxies;
mod slow;
mod tools;
