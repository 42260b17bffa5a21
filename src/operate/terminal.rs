//! The terminal that a server was started on, whose shell waits for the first generation alone.

use std::io;

use nix::unistd::{getpgrp, tcgetpgrp};

/// Whether this process is in the foreground of its terminal: when it ends, the shell's prompt comes back.
pub(crate) fn is_in_foreground() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|group| group == getpgrp())
}
