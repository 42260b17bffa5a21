//! `heirloom run` and `heirloom prove`, with programs that know nothing of the library.
#![cfg(feature = "cli")]

mod faults;
mod init;
mod loads;
mod notify;
mod prove;
mod run;
mod stuck_reader;
mod watch;
