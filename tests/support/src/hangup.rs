//! SIGHUP asks the servers under test to restart. Whoever started the tests may have it ignored (nohup), and what is ignored is
//! inherited by every process.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

/// Has the processes that are started from now on hear it.
pub(crate) fn heed() {
    static HEEDED: Once = Once::new();
    HEEDED.call_once(|| {
        if is_ignored() {
            // A handler is not inherited: what is executed has the default again.
            let handled =
                signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::new(AtomicBool::new(false)));
            handled.expect("a handler");
        }
    });
}

fn is_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").expect("of this process");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("in every status");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a mask");
    ignored & 1 << (signal_hook::consts::SIGHUP - 1) != 0
}
