//! Whether a file is what it was, without reading it.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// What tells that a file has changed. The inode is for one that was renamed into place within the clock's
/// grain, the time of its inode for one whose modification time was set by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look {
    inode: (u64, u64),
    pub(super) size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    pub(super) fn at(metadata: &Metadata) -> Look {
        Look {
            inode: (metadata.dev(), metadata.ino()),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
