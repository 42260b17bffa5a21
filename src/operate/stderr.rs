//! The end of what was written to standard error since a successor was started.
//!
//! Where standard error is a regular file (`2>server.log`, systemd's `StandardError=append:`), what has been
//! written since is read back from the file: the successor is not touched at all. The predecessor's own lines
//! are among them.
//!
//! Anything else is left alone, on purpose. To get at what goes into a pipe, a terminal or the journal's
//! socket, the successor would have to be given something else for its standard error, through this process:
//!
//! * This process ends before the successor does. A pipe that nobody reads kills its writer, or makes
//!   `eprintln!` panic; and a helper that the successor has started keeps that pipe for as long as it lives,
//!   so that no moment comes at which the real one could be put back everywhere.
//! * Programs look at their standard error once, at their start, and go by what it is: colours on a terminal,
//!   the journal's own protocol on its socket (`JOURNAL_STREAM`). After a restart they would log differently
//!   for ever.
//!
//! On a terminal the operator has the text before his eyes, the journal finds it by the process id that the
//! command prints (`journalctl _PID=...`), and a program that panics, or says
//! [`failed`](crate::Restarter::failed) or [`check`](crate::Restarter::check), gives its reason through
//! heirloom itself, which needs no standard error.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::aside::{FILE, FILES};

/// Where standard error ended at some time.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
    at: u64,
}

/// How much of the end is kept: a panic with its backtrace, or the last screenful of a log.
const TAIL: u64 = 4 * 1024;

/// Where standard error goes if it cannot be read back; `pid` is who wrote.
pub(crate) fn destination(pid: u32) -> Option<String> {
    let target = std::fs::read_link("/proc/self/fd/2").ok()?;
    let target = target.to_string_lossy();
    let is_journal = target.starts_with("socket:") && std::env::var_os("JOURNAL_STREAM").is_some();
    match target.split_once(':').map_or(&*target, |(kind, _)| kind) {
        _ if is_journal => Some(format!("the journal (journalctl _PID={pid})")),
        "socket" => Some("a socket".to_owned()),
        "pipe" => Some("a pipe to the process that started the server".to_owned()),
        path if path.starts_with("/dev/") => Some(path.to_owned()),
        _ => None,
    }
}

impl Mark {
    /// The end as it is now; `None` where it cannot be read back.
    pub(crate) fn at_the_end() -> Option<Arc<Mark>> {
        // Lines of our own from before are not to stand behind it.
        crate::aside::say::finish();
        FILES.ask(FILE, Mark::try_at_the_end)?.map(Arc::new)
    }

    fn try_at_the_end() -> Option<Mark> {
        let own = File::from(io::stderr().as_fd().try_clone_to_owned().ok()?);
        let found = own.metadata().ok().filter(|found| found.is_file())?;
        // Anew: this process's own is open for writing alone, and its offset is every writer's.
        let file = File::open("/proc/self/fd/2").ok()?;
        Some(Mark { file, at: found.len() })
    }

    /// What has been written since, or the end of that, from the start of a line.
    pub(crate) fn read(self: &Arc<Self>) -> String {
        let mark = Arc::clone(self);
        FILES.ask(FILE, move || mark.try_read().unwrap_or_default()).unwrap_or_default()
    }

    fn try_read(&self) -> io::Result<String> {
        let length = self.file.metadata()?.len();
        let from = self.at.max(length.saturating_sub(TAIL));
        let mut file = &self.file;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // Unless it begins where the successor began, it begins in the middle of a line.
        let whole = match text.split_once('\n') {
            Some((_, rest)) if from > self.at => rest,
            _ => &text,
        };
        Ok(whole.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn what_was_written_since_is_read_back() {
        let path = std::env::temp_dir().join(format!("heirloom-stderr-{}", std::process::id()));
        let mut file = File::create(&path).unwrap();
        writeln!(file, "before").unwrap();
        let mark = Arc::new(Mark { file: File::open(&path).unwrap(), at: 7 });
        assert_eq!(mark.read(), "");
        writeln!(file, "boom\nbang").unwrap();
        assert_eq!(mark.read(), "boom\nbang");
        for number in 0..1000 {
            writeln!(file, "line {number}").unwrap();
        }
        let tail = mark.read();
        assert!(tail.starts_with("line ") && tail.ends_with("line 999"), "{tail}");
        assert!(tail.len() < 4096);
        std::fs::remove_file(path).unwrap();
    }
}
