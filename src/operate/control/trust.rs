//! Where a path may lead that another user could have bent.
//!
//! Root who is given a path in a directory of somebody else must not be sent to root's own server by it: the
//! owner of a directory, or a link, on the way decides where it leads. So those users are noted, and the
//! process at the end has to be theirs. It does not matter that they change it after the look: what they
//! change lies in a directory of theirs.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The users, but root and this process's own, that decide where a path leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Guides(BTreeSet<u32>);

impl Guides {
    /// Looks at every directory and link on the way, and at the end itself.
    pub(crate) fn on(path: &Path) -> io::Result<Guides> {
        let mut guides = Guides::default();
        let mut left: VecDeque<OsString> = parts(&std::path::absolute(path)?);
        let mut at = PathBuf::from("/");
        guides.add(fs::symlink_metadata(&at)?.uid());
        let mut links = 0;
        while let Some(part) = left.pop_front() {
            let next = at.join(&part);
            let found = fs::symlink_metadata(&next)?;
            guides.add(found.uid());
            // The kernel's own links lead to what they are about, and not by their text.
            if !found.is_symlink() || next.starts_with("/proc") {
                at = if part == OsStr::new("..") { at.parent().unwrap_or(&at).to_owned() } else { next };
                continue;
            }
            links += 1;
            if links > LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for part in parts(&target).into_iter().rev() {
                left.push_front(part);
            }
        }
        Ok(guides)
    }

    pub(crate) fn add(&mut self, user: u32) {
        if user != 0 && user != nix::unistd::geteuid().as_raw() {
            self.0.insert(user);
        }
    }

    /// One who could have led here on purpose to what a process of `user` has.
    pub(crate) fn stranger_to(&self, user: u32) -> Option<u32> {
        self.0.iter().copied().find(|guide| *guide != user)
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let is_step = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
    path.components().filter(is_step).map(|part| part.as_os_str().to_owned()).collect()
}

/// As many as the kernel follows.
const LINKS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{chown, symlink};

    #[test]
    fn who_owns_a_directory_or_a_link_on_the_way_is_noted() {
        if !nix::unistd::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "this test needs root");
            eprintln!("\n*** SKIPPED: only root can give files away ***\n");
            return;
        }
        let directory = crate::sys::alone::scratch("guides");
        let inside = directory.join("theirs");
        fs::create_dir(&inside).unwrap();
        fs::write(inside.join("file"), "").unwrap();
        symlink("theirs/file", directory.join("link")).unwrap();
        symlink(directory.join("ours"), inside.join("away")).unwrap();
        fs::write(directory.join("ours"), "").unwrap();
        let on = |path: &str| Guides::on(&directory.join(path)).unwrap();
        assert_eq!(on("link"), Guides::default(), "all of it is root's");
        chown(&inside, Some(4711), None).unwrap();
        for path in ["theirs/file", "link", "theirs/away", "theirs/../theirs/./file"] {
            assert_eq!(on(path).stranger_to(0), Some(4711), "{path}");
            assert_eq!(on(path).stranger_to(4711), None, "{path}");
        }
        assert_eq!(on("ours").stranger_to(0), None);
        symlink("loop", directory.join("loop")).unwrap();
        assert!(Guides::on(&directory.join("loop")).is_err() && Guides::on(&inside.join("none")).is_err());
        std::os::unix::fs::lchown(directory.join("loop"), Some(4712), None).unwrap();
        fs::remove_dir_all(directory).unwrap();
    }
}
