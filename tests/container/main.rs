//! A real container engine, and the manifests that we ship.
#![cfg(all(feature = "cli", feature = "http", feature = "systemd"))]

mod engine;
mod manifests;
