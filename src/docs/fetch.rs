//! New binaries by themselves (feature `fetch`): a server looks for its next version, and restarts into it.
//!
//! `examples/fetch.rs` is the whole program:
//!
#![cfg_attr(feature = "fetch", doc = "```no_run")]
#![cfg_attr(not(feature = "fetch"), doc = "```ignore")]
//! use axum::{Router, routing::get};
//! use heirloom::fetch::{Checks, File, Updater};
//! use heirloom::Restarter;
//!
//! #[tokio::main]
//! async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
//!     // First: a fetched binary is tried before it is used.
//!     if heirloom::fetch::answer_sanity_check() {
//!         return Ok(std::process::ExitCode::SUCCESS);
//!     }
//!     let restarter = Restarter::new()?;
//!     let listener = restarter.listen("127.0.0.1:8080")?;
//!     heirloom::http::serve(listener, Router::new().route("/", get(|| async { "Hello World" })));
//!     // Or Http, GitHub, S3, or a Fetcher of your own.
//!     let source = File::new("/srv/incoming/server");
//!     let checks = Checks::new().minisign_key("RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")?;
//!     let mut updater = Updater::new(source, restarter.program(), restarter.clone()).checks(checks);
//!     tokio::spawn(async move { updater.run().await });
//!     Ok(restarter.run().await?.into())
//! }
//! ```
//!
//! * **A poll** is a conditional request, every 5 minutes with jitter. `stagger` spreads the restarts of many
//!   hosts over a window.
//! * **Checks:** before it is used, a binary must be whole and within bounds, have the published SHA-256
//!   digest, be signed (if a minisign key is set), be an ELF program for this machine, and answer a trial
//!   run. gzip is unpacked; tar archives are not.
//! * **The swap:** the binary replaces the old one by a rename, with the old one's mode. The old one stays as
//!   `NAME.previous`. If the restart fails or is taken back, the previous one is reinstated, and those bytes
//!   are not tried again while the process lives.
//! * **What goes wrong** (a cut or stuck download, a full disk, "too many requests", another architecture, a
//!   crash) is an error that names the source and the reason, in the log and as an event. The running version
//!   serves on.
//!
//! # Limits
//!
//! A signature says who made a binary, not that it is the newest. The directory must be writable by the
//! server. File capabilities are not kept. A process that is killed in the middle of such a restart leaves
//! the new binary in place.
//!
//! The module `heirloom::fetch` has each source, check and setting.
//!
//! ---
//!
//! Before: [`containers`](super::containers). Next: [`observing`](super::observing).
