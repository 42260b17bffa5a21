//! The status file: which generations there are, one `generation:pid` line for each, as Server::Starter
//! writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use crate::operate::kept_file::KeptFile;

/// A file that lists the workers; removed when this is dropped.
#[derive(Debug)]
pub(crate) struct StatusFile {
    file: KeptFile,
    workers: BTreeMap<u64, i32>,
}

impl StatusFile {
    /// Writes an empty one, so that a path which cannot be written is found out before there is a worker.
    pub(crate) fn create(path: &Path) -> io::Result<StatusFile> {
        // Absolute, since the process may change its directory.
        let file = KeptFile::new("status file", std::path::absolute(path)?, false)?;
        file.create(String::new())?;
        Ok(StatusFile { file, workers: BTreeMap::new() })
    }

    /// A worker has been started.
    pub(crate) fn add(&mut self, generation: u64, pid: i32) {
        self.workers.insert(generation, pid);
        self.rewrite();
    }

    /// A worker is gone.
    pub(crate) fn remove(&mut self, generation: u64) {
        if self.workers.remove(&generation).is_some() {
            self.rewrite();
        }
    }

    fn rewrite(&self) {
        let mut text = String::new();
        for (generation, pid) in &self.workers {
            writeln!(text, "{generation}:{pid}").expect("a string takes everything");
        }
        self.file.write(text);
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        self.file.remove(|path| drop(std::fs::remove_file(path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::scratch;
    use std::fs;

    #[test]
    fn it_lists_the_generations_in_order_and_goes_at_the_end() {
        let directory = scratch("status-file");
        let path = directory.join("status");
        let read = || fs::read_to_string(&path).unwrap();
        let mut file = StatusFile::create(&path).unwrap();
        assert_eq!(read(), "");
        file.add(9, 90);
        file.add(10, 100);
        assert_eq!(read(), "9:90\n10:100\n");
        file.remove(9);
        file.remove(9);
        assert_eq!(read(), "10:100\n");
        drop(file);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0, "something stayed behind");
        fs::remove_dir(directory).unwrap();
    }

    #[test]
    fn a_place_that_cannot_be_written_is_found_out_at_once() {
        StatusFile::create(Path::new("/nowhere/status")).unwrap_err();
    }
}
