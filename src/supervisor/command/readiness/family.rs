//! Whether a process belongs to a worker.

use crate::sys::process::Process;

/// Whether `pid` is the worker, stands in its process group, or descends from it. A process that is gone belongs to nobody:
/// its number says nothing any more.
pub(super) fn belongs(pid: i32, worker: i32) -> bool {
    let mut ancestor = pid;
    // A chain longer than that is nobody's server; and a process that dies on the way can make any chain.
    for _ in 0..GENERATIONS {
        if ancestor == worker {
            return true;
        }
        match Process::of(ancestor) {
            Some(Process { group, .. }) if group == worker => return true,
            Some(Process { parent, .. }) if parent > 1 => ancestor = parent,
            _ => return false,
        }
    }
    false
}

const GENERATIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_child_belongs_and_a_parent_does_not() {
        let _guard = crate::sys::alone::starts_processes();
        let own = std::process::id() as i32;
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let pid = child.id() as i32;
        assert!(belongs(own, own) && belongs(pid, own));
        assert!(!belongs(1, own) && !belongs(own, pid));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!belongs(pid, own), "it is gone");
    }
}
