//! Which programs have been run, told apart by what lies on the disk, and kept open as long as they may be
//! run again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::aside::{FILE, FILES};

/// Programs by number.
#[derive(Debug, Default)]
pub(super) struct Binaries {
    known: BTreeMap<u64, Kept>,
    last: u64,
}

#[derive(Debug)]
struct Kept {
    file: File,
    identity: Identity,
}

/// What a file that was replaced, or written into, does not share with what was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    place: (u64, u64),
    size: u64,
    modified: (i64, i64),
}

impl Binaries {
    /// The number of what lies at `path` now. A script has none: it cannot be run by descriptor, since its
    /// interpreter opens it anew.
    pub(super) fn number(&mut self, path: &Path) -> Option<u64> {
        let wanted = path.to_owned();
        // A file system that hangs has no number for it, and the thread that starts workers waits for it.
        let (file, identity) = FILES.ask(FILE, move || open(&wanted).ok().flatten())??;
        let known = self.known.iter().find(|(_, kept)| kept.identity == identity);
        Some(known.map(|(number, _)| *number).unwrap_or_else(|| {
            self.last += 1;
            self.known.insert(self.last, Kept { file, identity });
            self.last
        }))
    }

    /// Where the program of this number can be run from, whatever has become of its file.
    pub(super) fn path(&self, number: u64) -> Option<PathBuf> {
        let kept = self.known.get(&number)?;
        // Not /proc/self: in the new process that descriptor is closed, or another.
        Some(format!("/proc/{}/fd/{}", std::process::id(), kept.file.as_raw_fd()).into())
    }

    /// Closes all but these.
    pub(super) fn keep_only(&mut self, needed: &[u64]) {
        self.known.retain(|number, _| needed.contains(number));
    }
}

fn open(path: &Path) -> io::Result<Option<(File, Identity)>> {
    let mut file = File::open(path)?;
    let mut start = [0; 2];
    if file.read_exact(&mut start).is_err() || start == *b"#!" {
        return Ok(None);
    }
    let facts = file.metadata()?;
    let identity = Identity {
        place: (facts.dev(), facts.ino()),
        size: facts.size(),
        modified: (facts.mtime(), facts.mtime_nsec()),
    };
    Ok(Some((file, identity)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_has_one_number_and_can_be_run_when_its_file_is_gone() {
        // A program that somebody has open for writing cannot be run.
        let _guard = crate::sys::alone::drops_at_once();
        let directory = std::env::temp_dir().join(format!("heirloom-binaries-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("true");
        std::fs::copy("/bin/true", &path).unwrap();
        let mut binaries = Binaries::default();
        let first = binaries.number(&path).unwrap();
        assert_eq!(binaries.number(&path), Some(first));
        std::fs::remove_file(&path).unwrap();
        std::fs::copy("/bin/false", &path).unwrap();
        let second = binaries.number(&path).unwrap();
        assert_ne!(first, second);
        let run =
            |number| std::process::Command::new(binaries.path(number).unwrap()).status().unwrap().success();
        assert!(run(first) && !run(second));
        binaries.keep_only(&[second]);
        assert!(binaries.path(first).is_none() && binaries.path(second).is_some());
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert_eq!(binaries.number(&path), None, "a script");
        assert_eq!(binaries.number(&directory.join("missing")), None);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
