//! Whether a process belongs to a worker.

use crate::sys::process::Process;

/// Whether `pid` is the worker, stands in its process group, or descends from it. A process that is gone
/// belongs to nobody: its number says nothing any more.
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

    /// As any name in another alphabet, which the kernel cuts off after 15 bytes.
    #[test]
    fn a_name_that_is_no_text_says_nothing_of_the_family() {
        let _guard = crate::sys::alone::starts_processes();
        let script = r"printf '\320\277\320' >/proc/self/comm; echo; read end";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let belongs = belongs(child.id() as i32, std::process::id() as i32);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(belongs);
    }

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
