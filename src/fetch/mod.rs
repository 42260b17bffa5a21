//! New binaries by themselves: fetched, checked, put in place, restarted into, and put back if they fail.
//!
//! ```no_run
//! # async fn serve(restarter: &heirloom::Restarter) {}
//! use heirloom::Restarter;
//! use heirloom::fetch::{Checks, GitHub, Updater, answer_sanity_check};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     // A fetched binary is run once before it is used: it answers, and that is all.
//!     if answer_sanity_check() {
//!         return Ok(());
//!     }
//!     tokio::runtime::Runtime::new()?.block_on(async {
//!         let restarter = Restarter::new()?;
//!         serve(&restarter).await;
//!         let source = GitHub::new("someone/server", "server-*-x86_64-linux.gz")?;
//!         let key = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
//!         let checks = Checks::new().minisign_key(key)?;
//!         let mut updater = Updater::new(source, restarter.program(), restarter.clone()).checks(checks);
//!         tokio::spawn(async move { updater.run().await });
//!         restarter.run().await?;
//!         Ok(())
//!     })
//! }
//! ```
//!
//! # Where from
//!
//! A [`File`], a URL ([`Http`]), a repository's releases ([`GitHub`]), an object store ([`S3`]), or your own
//! [`Fetcher`]. A [`Source`] is any of the first four, by its name. Each brings a version once, and again
//! only when the source says that it has changed. A gzip file (by its first bytes, not its name) is unpacked;
//! a tar archive is refused, packed or not.
//!
//! # What must hold before a binary is used
//!
//! In this order, each with an error of its own ([`CheckError`]): it is all there, and within bounds; its
//! SHA-256 digest is the published one; it is signed, if a minisign key is set; it unpacks within bounds; it
//! is a whole ELF program for this machine; the user's own check; and it runs and answers within a deadline
//! ([`SanityCheck`]). A published digest protects against accidents: somebody who can replace the binary can
//! replace its digest as well. Only a signature protects against that. And a signature says who made a
//! binary, not that it is the newest: the server of the files can serve an older one that was signed once.
//!
//! Publish digests: by that of a plain binary, a process that has just been started sees that it is what is
//! published, and downloads nothing. (A packed one it must unpack to see it.)
//!
//! # How it gets into place
//!
//! Everything is written beside the present binary, under names that begin with `.NAME.heirloom-fetch`, since
//! only within one file system is a rename atomic. So the directory must be writable, with room for two more
//! binaries (three while one is unpacked). The new one gets the mode (and as root the owner) of the present
//! one, which stays as `NAME.previous`. File capabilities do not survive: listeners that are handed down need
//! none.
//!
//! When the restart fails, or is taken back in probation, the previous one is reinstated. A restart that was
//! *refused* (a process that cannot give up its PID, say) leaves the new one in place and is tried again at
//! the next poll. A process that is killed between the installation and the end of the restart leaves the new
//! one in place as well: An operator can undo that with [`Place::roll_back`].
//!
//! What was downloaded in part is removed; what a killed process leaves, the next updater removes. One
//! process at a time works on a binary, by a lock: the predecessor and its successor do not fetch twice.
//!
//! # Many hosts
//!
//! [`Updater::interval`] with [`Updater::jitter`] spreads the polls, [`Updater::stagger`] the restarts. If a
//! server says "too many requests", the updater waits as long as the server asks.

mod check_error;
mod checks;
mod client;
mod digest;
mod download;
mod elf;
mod error;
mod event;
mod fetcher;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod github;
mod glob;
mod http;
mod look;
mod place;
mod polled;
mod restart;
mod s3;
mod sanity;
mod schedule;
mod source;
mod unpack;
mod updater;

pub use check_error::{CheckError, SignatureError};
pub use checks::Checks;
pub use digest::{Digest, NotADigest};
pub use download::Download;
pub use error::FetchError;
pub use event::FetchEvent;
pub use fetcher::{Fetcher, Found, Published};
pub use file::File;
pub use github::GitHub;
pub use http::Http;
pub use place::{InstallError, Place};
pub use polled::{IntervalTooShort, Polled, UpdateError};
pub use restart::Restart;
pub use s3::S3;
pub use sanity::{SanityCheck, SanityError, answer_sanity_check};
pub use source::Source;
pub use updater::Updater;
