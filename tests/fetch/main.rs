//! New versions by themselves.
#![cfg(all(feature = "fetch", feature = "http"))]

mod faults;
mod fetch_support;
mod files;
mod github;
mod restart;
mod sources;
