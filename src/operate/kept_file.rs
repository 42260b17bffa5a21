//! A small file for others to read: whole at any time, and true again as soon as the file system allows it.
//!
//! It is replaced by rename, on the thread for files: a disk that hangs holds up nobody for longer than a
//! moment. What cannot be written, for want of room say, is tried again until it is written or has been
//! overtaken.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::aside::{FILE, FILES};
use crate::operate::wish::{Wish, Wishes};

/// The file, for as long as this process keeps it: what has not been written by the time this is dropped
/// never will be.
#[derive(Debug)]
pub(crate) struct KeptFile {
    path: PathBuf,
    /// As the log calls it.
    name: &'static str,
    /// Readable for everybody, whatever the umask says.
    is_public: bool,
    wishes: Wishes,
}

/// One thing to be written.
#[derive(Debug)]
struct Writing {
    path: PathBuf,
    name: &'static str,
    text: String,
    is_public: bool,
    wish: Wish,
    /// Tried again until it is written.
    lasts: bool,
}

impl KeptFile {
    /// # Errors
    ///
    /// What is there is no regular file. It would be replaced, and a FIFO or a device is there for something
    /// else.
    pub(crate) fn new(name: &'static str, path: PathBuf, is_public: bool) -> io::Result<KeptFile> {
        match fs::metadata(&path) {
            Ok(found) if !found.is_file() => return Err(not_regular()),
            _ => {}
        }
        Ok(KeptFile { path, name, is_public, wishes: Wishes::default() })
    }

    /// Writes this now; a failure is told.
    #[cfg(feature = "supervisor")]
    pub(crate) fn create(&self, text: String) -> io::Result<()> {
        self.next(text, false).place().map(drop)
    }

    /// Has this written, and waits for it a moment. A failure is logged and changes nothing else: the service
    /// matters more.
    pub(crate) fn write(&self, text: String) {
        self.give(self.next(text, true));
    }

    /// As [`write`](Self::write), for what is somebody else's to make true: it is tried but once.
    pub(crate) fn write_once(&self, text: String) {
        if !self.give(self.next(text, false)) {
            self.wishes.overtake();
        }
    }

    /// Has `remove` done once nothing more can be written, and waits for it a moment.
    pub(crate) fn remove(&self, remove: impl FnOnce(&Path) + Send + 'static) {
        self.wishes.overtake();
        let path = self.path.clone();
        if FILES.ask(FILE, move || remove(&path)).is_none() {
            self.complain();
        }
    }

    fn next(&self, text: String, lasts: bool) -> Writing {
        let KeptFile { ref path, name, is_public, .. } = *self;
        Writing { path: path.clone(), name, text, is_public, wish: self.wishes.overtake(), lasts }
    }

    fn give(&self, writing: Writing) -> bool {
        let is_done = FILES.ask(FILE, move || writing.first()).is_some();
        if !is_done {
            self.complain();
        }
        is_done
    }

    fn complain(&self) {
        say!(warn: path = %self.path.display(), "the file system hangs: going on before the {} is what it should be", self.name);
    }
}

impl Drop for KeptFile {
    fn drop(&mut self) {
        self.wishes.overtake();
    }
}

impl Writing {
    fn first(self) {
        let Err(error) = self.place() else { return };
        let (name, path) = (self.name, self.path.display());
        if self.lasts {
            say!(warn: %error, %path, "cannot write the {name}, trying again until there is a way");
            self.again();
        } else {
            say!(warn: %error, %path, "cannot write the {name}");
        }
    }

    fn again(self) {
        let (wish, name, path) = (self.wish.clone(), self.name, self.path.clone());
        let tell = move || say!(info: path = %path.display(), "the {name} is written after all");
        wish.try_again(move || self.place(), tell);
    }

    /// By rename: a reader finds the old text or the new one, never half of one. Whether it was still wanted.
    fn place(&self) -> io::Result<bool> {
        if !self.wish.stands() {
            return Ok(false);
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(name);
        let written = self.draft(&draft).and_then(|mut file| file.write_all(self.text.as_bytes()));
        // The disk may have hung meanwhile, and somebody else be at it.
        let placed = written.and_then(|()| match self.wish.stands() {
            true => fs::rename(&draft, &self.path).map(|()| true),
            false => fs::remove_file(&draft).map(|()| false),
        });
        if placed.is_err() {
            let _ = fs::remove_file(&draft);
        }
        placed
    }

    fn draft(&self, path: &Path) -> io::Result<File> {
        let _ = fs::remove_file(path);
        let mode = if self.is_public { 0o644 } else { 0o666 };
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        if self.is_public {
            // The mode is subject to the umask of a daemon, often 077.
            file.set_permissions(PermissionsExt::from_mode(mode))?;
        }
        Ok(file)
    }
}

/// The start of a regular file that somebody may have put there: a FIFO is not waited for, and no device read
/// to its end.
pub(crate) fn read_start(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    // O_NONBLOCK: the open of a FIFO waits for a writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(not_regular());
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_regular() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file; name another one")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::{alone, scratch};
    use std::sync::mpsc;
    use std::time::{Duration, Instant};

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Until what is tried again has been.
    fn await_text(path: &Path, wanted: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while text(path) != wanted {
            assert!(Instant::now() < deadline, "{path:?} says {:?}", text(path));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn what_cannot_be_written_is_written_once_it_can() {
        let directory = scratch("kept-file");
        let (path, away) = (directory.join("here/file"), directory.join("away"));
        fs::create_dir(directory.join("here")).unwrap();
        let file = KeptFile::new("file", path.clone(), true).unwrap();
        file.write("one".to_owned());
        assert_eq!(text(&path), "one");
        // As unwritable as a full disk, for root as well.
        fs::rename(directory.join("here"), &away).unwrap();
        file.write("two".to_owned());
        file.write("three".to_owned());
        file.write_once("once".to_owned());
        file.write("four".to_owned());
        fs::rename(&away, directory.join("here")).unwrap();
        await_text(&path, "four");
        assert_eq!(fs::read_dir(directory.join("here")).unwrap().count(), 1, "a draft stays behind");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_disk_that_hangs_is_not_waited_for_and_nothing_old_is_written_when_it_comes_back() {
        // Other tests write files as well.
        alone(
            "operate::kept_file::tests::a_disk_that_hangs_is_not_waited_for_and_nothing_old_is_written_when_it_comes_back",
            &[],
            hang,
        );
    }

    fn hang() {
        let directory = scratch("kept-file-hangs");
        let path = directory.join("file");
        let file = KeptFile::new("file", path.clone(), false).unwrap();
        let (release, hangs) = mpsc::channel::<()>();
        assert!(FILES.give(move || {
            let _ = hangs.recv();
        }));
        let before = Instant::now();
        (1..=20).for_each(|number| file.write(number.to_string()));
        file.write_once("not ours".to_owned());
        // The first one waits for as long as it may, and the rest know.
        assert!(before.elapsed() < 10 * FILE, "{:?}", before.elapsed());
        assert_eq!(text(&path), "");
        file.write("last".to_owned());
        drop(release);
        await_text(&path, "last");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_no_regular_file_is_neither_replaced_nor_read() {
        let directory = scratch("kept-file-fifo");
        let fifo = directory.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [&fifo, Path::new("/dev/zero"), &directory] {
            let refused = KeptFile::new("file", path.to_owned(), true).unwrap_err().to_string();
            assert!(refused.contains("not a regular file"), "{refused}");
            assert_eq!(read_start(path, 64).unwrap_err().to_string(), refused);
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
