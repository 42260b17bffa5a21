//! For [fuzzers](crate::fuzzing): what is downloaded.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::{elf, github};

/// A file that is to be executed.
pub fn elf(bytes: &[u8]) {
    let mut file = File::from(memfd_create(c"fuzz", MFdFlags::MFD_CLOEXEC).expect("memory"));
    file.write_all(bytes).expect("memory");
    let _ = elf::check(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())));
}

/// What a server says of its latest release.
pub fn releases(bytes: &[u8]) {
    github::read_release(bytes);
}
