//! A panic of a successor that nobody else would tell the predecessor of.
//!
//! A program that panics before it is ready, or right after, ends with status 101 and a text on its standard
//! error, which may be a pipe, a terminal or the journal: no place to read it back from. So while there is a
//! predecessor that watches, panics are told to it as well, and stand in the reason of the restart that
//! failed. The hook that was there is called as ever, and one that the program sets later takes this one's
//! place.

use std::panic::{self, PanicHookInfo};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use super::shared::{Command, Shared};
use crate::handover::message::{MAX_WORDS, cut};

/// How many panics are told: one that ends a process is among the first, and a task that panics for each
/// request must not flood the predecessor.
const TOLD: usize = 8;

/// How long a panic waits until it has been told. heirloom's thread does that at once; a process that is
/// about to abort is not to linger for it.
const PATIENCE: Duration = Duration::from_millis(100);

/// Tells the predecessor of panics, until this process has settled.
pub(super) fn tell_of_panics(shared: &Arc<Shared>) {
    let shared = Arc::downgrade(shared);
    let told = AtomicUsize::new(0);
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if let Some(shared) = shared.upgrade()
            && shared.is_watched.load(Ordering::Relaxed)
            && told.fetch_add(1, Ordering::Relaxed) < TOLD
        {
            tell(&shared, info);
        }
        previous(info);
    }));
}

fn tell(shared: &Shared, info: &PanicHookInfo<'_>) {
    // It is the one that tells.
    if thread::current().name() == Some(super::driver::THREAD) {
        return;
    }
    let text = cut(&info.to_string().replace('\n', " "), MAX_WORDS).to_owned();
    let (said, heard) = mpsc::sync_channel(1);
    shared.send(Command::Words { text, said });
    let _ = heard.recv_timeout(PATIENCE);
}
