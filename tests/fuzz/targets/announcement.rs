//! Any value of the environment variable: it is read without a panic, and what was understood is written as it was
//! read, unless it is too long when written out.
//!
//! How to run it stands in `message.rs`; put `announcement` for `message`.
#![no_main]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use heirloom::handover::announcement::{Announcement, AnnouncementError};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(announcement) = Announcement::decode(OsStr::from_bytes(bytes)) else { return };
    match announcement.encode() {
        Ok(text) => assert_eq!(Announcement::decode(&text), Ok(announcement)),
        // Escaping makes text longer.
        Err(AnnouncementError::TooLong { .. }) => {}
        Err(other) => panic!("{announcement:?} cannot be written: {other}"),
    }
});
