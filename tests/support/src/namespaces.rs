//! A process in namespaces of its own, which end with the process that made them.

use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use super::{PATIENCE, skip};

/// Whether a mount of one's own can be had; [skips](super::skip()) the test where it cannot.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare").args(["--mount", "true"]).output();
    let may = tried.is_ok_and(|tried| tried.status.success());
    if !may {
        skip("mounts of one's own are for root alone");
    }
    may
}

/// Starts what `program` adds as PID 1 of new namespaces, the usual ones and `more`, from a thread that lives as long as this
/// process: with that thread it is killed, and with it everything in there. `booted` waits until it is as far as it has
/// to be. Returns the process above it.
pub fn boot(
    more: &[&str],
    program: impl FnOnce(&mut Command),
    booted: impl FnOnce(&mut Child) + Send + 'static,
) -> i32 {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child"]);
    command.args(["--mount", "--mount-proc", "--uts", "--ipc", "--cgroup"]).args(more);
    command.stdin(Stdio::null());
    program(&mut command);
    let (started, nanny) = mpsc::channel();
    std::thread::spawn(move || {
        let mut child = command.spawn().expect("setpriv and unshare, of every Debian");
        booted(&mut child);
        started.send(i32::try_from(child.id()).expect("a pid")).expect("somebody who waits");
        // For as long as there is something to be killed.
        let _ = child.wait();
    });
    nanny.recv_timeout(PATIENCE).expect("namespaces that boot")
}
