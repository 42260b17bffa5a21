//! What a file or a link is to be: the last wish counts, and it is tried again until there is a way.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::aside::FILES;

/// Counts what was wished, so that nothing older overtakes it.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    latest: Arc<AtomicU64>,
}

/// One of them, which stands until it is overtaken.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    number: u64,
    latest: Arc<AtomicU64>,
}

impl Wishes {
    /// A next one, which overtakes all before. Nothing else is published through the number.
    pub(super) fn overtake(&self) -> Wish {
        let number = self.latest.fetch_add(1, Ordering::Relaxed) + 1;
        Wish { number, latest: Arc::clone(&self.latest) }
    }
}

impl Wish {
    pub(super) fn stands(&self) -> bool {
        self.latest.load(Ordering::Relaxed) == self.number
    }

    /// Tries what has failed again on the thread for files, until it is done or overtaken. `attempt` answers
    /// whether it did what was wished, or there is no more to do; `tell` is called once it did.
    pub(super) fn try_again(
        self,
        attempt: impl Fn() -> io::Result<bool> + Send + 'static,
        tell: impl FnOnce() + Send + 'static,
    ) {
        if !self.stands() {
            return;
        }
        FILES.give_later(Instant::now() + AGAIN, move || match attempt() {
            Ok(true) => tell(),
            Ok(false) => {}
            Err(_) => self.try_again(attempt, tell),
        });
    }
}

/// How soon what could not be written is tried again: sooner than an operator who has made room looks.
const AGAIN: Duration = Duration::from_secs(1);
