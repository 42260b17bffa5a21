//! Memory that another process may map without trusting us: a memfd, sealed against every change.
//!
//! Hazard: a mapping of a file that somebody can shrink is a SIGBUS at their pleasure, and of one that
//! somebody can write to it is undefined behaviour. So a descriptor from another process is mapped only once
//! *its own* seals have been looked at: they can be added and never removed.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};
use std::slice;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// Sealed memory, mapped to be read; unmapped on drop. The descriptor is not needed for it.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// Dangling if the length is zero, which no mapping has.
    start: NonNull<u8>,
    length: usize,
}

/// Why a descriptor is not mapped.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "fd {fd} is not a sealed memfd (it has {found:?}); what another process can change is not mapped"
    )]
    Unsealed { fd: RawFd, found: SealFlag },
    #[error("fd {fd} holds {found} bytes, and {announced} were announced")]
    Length { fd: RawFd, found: u64, announced: u64 },
}

/// An empty one, to be written and then sealed. `name` shows in /proc/PID/fd.
pub(crate) fn create(name: &str) -> io::Result<File> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    Ok(fd.into())
}

/// Nobody changes its size or contents any more, this process included.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_ADD_SEALS(SEALS))?;
    Ok(())
}

impl Mapped {
    /// Maps what another process has filled; it must be sealed, and as long as was announced.
    pub(crate) fn sealed(fd: OwnedFd, announced: u64) -> io::Result<Mapped> {
        let number = fd.as_raw_fd();
        let found = match fcntl(&fd, FcntlArg::F_GET_SEALS) {
            Ok(bits) => SealFlag::from_bits_retain(bits),
            // What it gives for anything but a memfd.
            Err(Errno::EINVAL) => SealFlag::empty(),
            Err(errno) => return Err(errno.into()),
        };
        if !found.contains(SEALS) {
            return Err(refuse(Refused::Unsealed { fd: number, found }));
        }
        let file = File::from(fd);
        // After the seals: before them it may still change.
        let found = file.metadata()?.len();
        let length = usize::try_from(found).ok().filter(|_| found == announced);
        let length = length.ok_or_else(|| refuse(Refused::Length { fd: number, found, announced }))?;
        if length == 0 {
            return Ok(Mapped { start: NonNull::dangling(), length });
        }
        // Private, although nobody writes: before Linux 6.7 a write seal forbids shared mappings of any kind.
        // SAFETY: the address is the kernel's choice, so no memory of ours is touched; the descriptor is
        // open.
        let start = unsafe {
            libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapped { start, length })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are mapped for reading for as long as `self` lives (or there
        // are none and `start` is aligned and not null). The seals keep every process from writing to them
        // and from taking them away, and `sealed` has checked that they are no more than the file holds.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: the mapping is ours, made in `sealed` with this length, and borrowed by nobody any
            // more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
        }
    }
}

// SAFETY: the mapping belongs to the process and not to a thread, and nobody writes to it.
unsafe impl Send for Mapped {}
// SAFETY: as above; there is only reading.
unsafe impl Sync for Mapped {}

/// All that can be given: size, contents, and that no seal is added later.
const SEALS: SealFlag = SealFlag::F_SEAL_SHRINK
    .union(SealFlag::F_SEAL_GROW)
    .union(SealFlag::F_SEAL_WRITE)
    .union(SealFlag::F_SEAL_SEAL);

fn refuse(why: Refused) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn filled(bytes: &[u8]) -> File {
        let mut file = create("test").unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_was_written_is_mapped_and_nobody_changes_it() {
        let file = filled(b"sessions");
        seal(&file).unwrap();
        let mapped = Mapped::sealed(file.try_clone().unwrap().into(), 8).unwrap();
        assert_eq!(*mapped, *b"sessions");
        assert!((&file).write_all(b"x").is_err());
        assert!(file.set_len(0).is_err() && file.set_len(4096).is_err());
        drop(file);
        assert_eq!(*mapped, *b"sessions", "the mapping needs no descriptor");
    }

    #[test]
    fn nothing_is_something() {
        let file = filled(b"");
        seal(&file).unwrap();
        assert!(Mapped::sealed(file.into(), 0).unwrap().is_empty());
    }

    #[test]
    fn what_can_still_change_is_refused() {
        let refused = |fd: OwnedFd| Mapped::sealed(fd, 8).unwrap_err().to_string();
        assert!(refused(filled(b"sessions").into()).contains("not a sealed memfd"));
        for missing in SEALS.iter() {
            let file = filled(b"sessions");
            fcntl(&file, FcntlArg::F_ADD_SEALS(SEALS - missing)).unwrap();
            assert!(refused(file.into()).contains("not a sealed memfd"), "without {missing:?}");
        }
        let pipe = io::pipe().unwrap().0;
        assert!(refused(pipe.into()).contains("not a sealed memfd"));
        assert!(refused(File::open("/proc/self/exe").unwrap().into()).contains("not a sealed memfd"));
    }

    #[test]
    fn another_length_than_announced_is_refused() {
        for announced in [0, 7, 9, u64::MAX] {
            let file = filled(b"sessions");
            seal(&file).unwrap();
            let error = Mapped::sealed(file.into(), announced).unwrap_err().to_string();
            assert!(error.contains("holds 8 bytes"), "{error}");
        }
    }

    #[test]
    fn a_mapping_goes_with_its_owner() {
        let mappings = || {
            let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().filter(|line| line.contains("memfd:goes-with-its-owner")).count()
        };
        let mut file = create("goes-with-its-owner").unwrap();
        file.write_all(b"x").unwrap();
        seal(&file).unwrap();
        let mapped = Mapped::sealed(file.into(), 1).unwrap();
        assert_eq!(mappings(), 1);
        drop(mapped);
        assert_eq!(mappings(), 0);
    }
}
