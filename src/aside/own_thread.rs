//! Work that may block, on a thread that exists for it alone.
//!
//! Not tokio's `spawn_blocking`: where no thread can be made (RLIMIT_NPROC, the `pids.max` of a cgroup) that
//! panics in its caller, and nobody hears why.

use std::io;
use std::thread;

use tokio::sync::oneshot;

/// What `work` comes to. No answer means that it panicked.
///
/// # Errors
///
/// No thread can be made; `work` has not begun.
pub(crate) fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, NoThread> {
    let (told, result) = oneshot::channel();
    let thread = thread::Builder::new().name(name.to_owned());
    // If nobody waits any more, nobody wants the answer.
    thread.spawn(move || drop(told.send(work()))).map_err(NoThread)?;
    Ok(result)
}

/// As [`on_own_thread`], where no thread is a result like any other.
pub(crate) fn on_own_thread_or<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
    otherwise: impl FnOnce(&NoThread) -> T,
) -> oneshot::Receiver<T> {
    on_own_thread(name, work).unwrap_or_else(|error| {
        let (told, result) = oneshot::channel();
        let _ = told.send(otherwise(&error));
        result
    })
}

/// No thread can be made now.
#[derive(Debug, thiserror::Error)]
#[error("no thread can be made: {0}; look at RLIMIT_NPROC (ulimit -u) and the cgroup's pids.max")]
pub(crate) struct NoThread(pub(crate) io::Error);
