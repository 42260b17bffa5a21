//! Whether a process belongs to a worker.

use crate::sys::process::{Process, environment};

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

/// Whether `pid` was left behind by the worker of this generation: it is this process's child by now, as an
/// orphan is, and its environment is that worker's. Then neither group nor descent tell, if it has a session
/// of its own and the worker that named it has ended before it was heard.
pub(super) fn was_left_by(pid: i32, generation: u64) -> bool {
    let is_adopted = Process::of(pid).is_some_and(|process| process.parent == std::process::id() as i32);
    let mark = format!("SERVER_STARTER_GENERATION={generation}");
    is_adopted && environment(pid).iter().any(|line| line == mark.as_bytes())
}

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
    fn an_orphan_is_known_by_its_workers_environment() {
        let _guard = crate::sys::alone::starts_processes();
        let mut command = Command::new("sh");
        command.args(["-c", "echo; read end"]).env("SERVER_STARTER_GENERATION", "7");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // A process that has only just begun its program may show no environment yet.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let pid = child.id() as i32;
        assert!(was_left_by(pid, 7));
        assert!(!was_left_by(pid, 77) && !was_left_by(std::process::id() as i32, 7));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!was_left_by(pid, 7), "it is gone");
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
