//! Whom the path of a Unix socket admits.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Who may connect to the path of a Unix socket; `None` is as the umask and the process have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(super) mode: Option<u32>,
    pub(super) owner: Option<u32>,
    pub(super) group: Option<u32>,
}

impl Access {
    /// Makes it so at `path`, where this process has just bound a socket. What lies there is held and looked
    /// at first: in a directory of another user it may be something else by now, which is not to change its
    /// owner.
    pub(crate) fn grant(&self, path: &Path) -> io::Result<()> {
        if *self == Access::default() {
            return Ok(());
        }
        let mut options = OpenOptions::new();
        let held = options.read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW).open(path)?;
        let found = held.metadata()?;
        if !found.file_type().is_socket() || found.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "something else has been put in its place",
            ));
        }
        // A descriptor of this kind has no calls of its own for this; its name under /proc is the file
        // itself.
        let held_path = format!("/proc/self/fd/{}", held.as_raw_fd());
        if self.owner.is_some() || self.group.is_some() {
            std::os::unix::fs::chown(&held_path, self.owner, self.group)?;
        }
        match self.mode {
            Some(mode) => fs::set_permissions(&held_path, Permissions::from_mode(mode)),
            None => Ok(()),
        }
    }
}
