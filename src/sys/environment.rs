//! Whether the environment is this process's own, or its caller's.
//!
//! A set-user-id program runs with more rights than its caller, and the environment is the caller's: what it
//! says of descriptors, programs, sockets and directories is a stranger's wish.

use std::ffi::{OsStr, OsString};

/// A variable, unless the user who set it has fewer rights than this process.
pub(crate) fn variable(name: impl AsRef<OsStr>) -> Option<OsString> {
    std::env::var_os(name).filter(|_| is_trusted())
}

/// Whether the user who set the environment has the rights of this process. As of the exec: what the program
/// has done to its credentials since then changes nothing of that.
///
/// File capabilities alone do not count, which the kernel calls secure execution as well. They end with the
/// exec of any other program, so there is nothing in them that the environment could get at; and a server
/// that has them so that it may bind port 80 has to be able to restart.
pub(crate) fn is_trusted() -> bool {
    let differ = |real, effective| auxiliary(real) != auxiliary(effective);
    auxiliary(libc::AT_SECURE) == 0
        || !(differ(libc::AT_UID, libc::AT_EUID) || differ(libc::AT_GID, libc::AT_EGID))
}

fn auxiliary(kind: libc::c_ulong) -> libc::c_ulong {
    // SAFETY: takes a number, and reads what the kernel has left in this process's memory at the exec; 0 for
    // what is not there.
    unsafe { libc::getauxval(kind) }
}
