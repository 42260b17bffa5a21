//! A file whose change is a restart: what a developer has just built.
//!
//! The file is looked at, again and again, on a thread that may hang with its file system. (Notifications of
//! the kernel would not come from a network's, and a directory that is made anew would have to be found
//! again.)

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::SupervisorHandle;
use crate::handover::Failure;
use crate::restarter::RestartError;

/// Restarts whenever one of the files has changed. Within the supervisor's runtime.
pub(super) fn watch(handle: SupervisorHandle, paths: Vec<PathBuf>) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watched: Vec<_> = paths.into_iter().map(Watched::new).collect();
    let (failed, failures) = std::sync::mpsc::channel();
    let look_at_all = move || {
        while !changed.is_closed() {
            thread::sleep(LOOK);
            if failures.try_iter().count() > 0 {
                watched.iter_mut().for_each(Watched::try_again);
            }
            for file in &mut watched {
                if file.has_changed(Instant::now(), Look::of(&file.path)) {
                    // If one waits already, that restart finds this change as well.
                    let _ = changed.try_send(file.path.clone());
                }
            }
        }
    };
    if let Err(error) = thread::Builder::new().name("heirloom-watch".to_owned()).spawn(look_at_all) {
        return say!(error: %error, "no thread to watch files: no change of them will be a restart");
    }
    tokio::spawn(async move {
        while let Some(path) = changes.recv().await {
            say!(info: path = %path.display(), "a watched file has changed, restarting");
            // The driver tells how it went.
            if let Err(RestartError::Failed(Failure::NotExecutable { .. })) = handle.restart().await {
                // The thread has ended with the supervisor's runtime, if at all.
                let _ = failed.send(());
            }
        }
    });
}

/// One file, and what became of its last change.
struct Watched {
    path: PathBuf,
    /// As it was when the last restart for it was asked for, or at the start.
    acted_on: Option<Look>,
    /// Something else that was seen since, and since when.
    seen: Option<(Look, Instant)>,
    /// How often more a file that could not be executed is tried.
    tries: u32,
}

impl Watched {
    fn new(path: PathBuf) -> Watched {
        let acted_on = Look::of(&path);
        if acted_on.is_none() {
            say!(warn: path = %path.display(), "there is no such file to watch yet; once there is, the service restarts");
        }
        Watched { path, acted_on, seen: None, tries: TRIES }
    }

    /// Whether what is found now is another file than before, and has been the same for a while.
    fn has_changed(&mut self, now: Instant, found: Option<Look>) -> bool {
        // Gone, or just begun: what comes in its place will be seen.
        let found = found.filter(|look| look.size > 0 && Some(*look) != self.acted_on);
        let Some(look) = found else {
            self.seen = None;
            return false;
        };
        let since = match self.seen {
            Some((seen, since)) if seen == look => since,
            _ => {
                self.tries = TRIES;
                now
            }
        };
        self.seen = Some((look, since));
        // Once more at longer and longer intervals.
        let wait = SETTLED * (1 << (TRIES - self.tries));
        let has_settled = now.saturating_duration_since(since) >= wait;
        if has_settled {
            self.acted_on = Some(look);
        }
        has_settled
    }

    /// What was acted on could not be executed: its writer may still have it open, and nothing about the file
    /// tells when that is over.
    fn try_again(&mut self) {
        if self.tries > 0 && self.seen.is_some() {
            self.tries -= 1;
            self.acted_on = None;
        }
    }
}

/// What tells that a file has changed. Not the time of its inode: that changes with the number of its links,
/// and so whenever cargo begins to build, whether or not something comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    inode: (u64, u64),
    size: u64,
    modified: (i64, i64),
    /// One who has forgotten to make it executable does so in the end.
    mode: u32,
}

impl Look {
    fn of(path: &Path) -> Option<Look> {
        let found = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some(Look {
            inode: (found.dev(), found.ino()),
            size: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            mode: found.mode(),
        })
    }
}

/// A look is a system call.
const LOOK: Duration = Duration::from_millis(100);

/// Linkers and copies write more often than that; and nobody who has waited for a build minds so much more.
const SETTLED: Duration = Duration::from_millis(500);

/// A file that is open for writing is seldom so for longer than it takes to try so often, some seconds.
const TRIES: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_acted_on_once_it_has_settled() {
        let path = std::env::temp_dir().join(format!("heirloom-watch-{}", std::process::id()));
        let look = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Look::of(&path)
        };
        let first = look("one");
        let mut watched = Watched::new(path.clone());
        let start = Instant::now();
        let mut sees = |millis: u64, found| watched.has_changed(start + Duration::from_millis(millis), found);
        assert!(!sees(0, first) && !sees(9000, first), "it is as it was");
        let (empty, half, whole) = (look(""), look("on"), look("one more"));
        assert!(!sees(10_000, empty) && !sees(11_000, empty), "just begun");
        assert!(!sees(12_000, half) && !sees(12_400, half) && !sees(12_600, whole) && !sees(13_000, whole));
        assert!(sees(13_100, whole) && !sees(20_000, whole), "once");
        assert!(!sees(21_000, None) && !sees(22_000, None), "gone");
        assert!(!sees(23_000, whole), "and back as it was");
        std::fs::hard_link(&path, path.with_extension("link")).unwrap();
        std::fs::remove_file(path.with_extension("link")).unwrap();
        assert!(!sees(23_100, Look::of(&path)) && !sees(23_900, Look::of(&path)), "a build that failed");
        let next = look("next");
        assert!(!sees(24_000, next) && !sees(24_100, None) && !sees(24_600, next) && sees(25_100, next));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn one_that_cannot_be_executed_is_tried_some_times() {
        let path = std::env::temp_dir().join(format!("heirloom-busy-{}", std::process::id()));
        let mut watched = Watched::new(path.clone());
        std::fs::write(&path, "busy").unwrap();
        let (busy, start) = (Look::of(&path), Instant::now());
        let mut tries = Vec::new();
        for millis in (0..60_000).step_by(100) {
            if watched.has_changed(start + Duration::from_millis(millis), busy) {
                tries.push(millis);
                watched.try_again();
            }
        }
        assert_eq!(tries, [500, 1000, 2000, 4000]);
        std::fs::remove_file(path).unwrap();
    }
}
