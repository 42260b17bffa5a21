//! The program file of a server under test: replaced, broken and restored while the server runs.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

pub use super::programs::example_path;
use super::programs::scratch;

/// A directory of one test, removed at its end.
#[derive(Debug)]
pub struct TestDir(PathBuf);

impl TestDir {
    pub fn new() -> TestDir {
        // Beside the programs, so that a hard link to one works.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = scratch().join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        TestDir(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program at a path, exchanged as a deployment does it: by a rename over it, never in place.
#[derive(Clone, Debug)]
pub struct Binary {
    path: PathBuf,
}

impl Binary {
    /// Puts an example or a test server at `path`.
    pub fn install(example: &str, path: &Path) -> Binary {
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory for a program");
        let binary = Binary { path: path.to_owned() };
        binary.become_example(example);
        binary
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Puts another build there.
    pub fn become_example(&self, example: &str) {
        // A link and not a copy: a file that any process has open for writing cannot be executed.
        self.replace(|new| fs::hard_link(example_path(example), new));
    }

    /// Puts a shell script there.
    pub fn become_script(&self, body: &str) {
        self.become_file(format!("#!/bin/sh\n{body}\n").as_bytes(), 0o755);
    }

    /// Puts any bytes there.
    pub fn become_file(&self, bytes: &[u8], mode: u32) {
        // By another process: one that a test beside this starts would hold for writing what this one writes, until its own
        // exec, and what is open for writing cannot be executed.
        self.replace(|new| {
            let mut writer = Command::new("sh")
                .args(["-c", "cat >\"$0\" && chmod \"$1\" \"$0\""])
                .arg(new)
                .arg(format!("{mode:o}"))
                .stdin(Stdio::piped())
                .spawn()?;
            let written = writer.stdin.take().expect("a pipe").write_all(bytes);
            let status = writer.wait()?;
            written?;
            if status.success() { Ok(()) } else { Err(io::Error::other(format!("its writer: {status}"))) }
        });
    }

    /// An ELF program, complete but for another machine.
    pub fn become_foreign(&self, example: &str) {
        let mut bytes = fs::read(example_path(example)).expect("a readable example");
        bytes[ELF_MACHINE..ELF_MACHINE + 2].copy_from_slice(&NO_MACHINE.to_ne_bytes());
        self.become_file(&bytes, 0o755);
    }

    pub fn remove(&self) {
        fs::remove_file(&self.path).expect("a program to remove");
    }

    fn replace(&self, make: impl Fn(&Path) -> std::io::Result<()>) {
        let new = self.path.with_extension("new");
        // What is left from a rename onto another link of the same file, which does nothing.
        let _ = fs::remove_file(&new);
        make(&new).and_then(|()| fs::rename(&new, &self.path)).unwrap_or_else(|error| {
            panic!("cannot replace {}: {error}", self.path.display());
        });
    }
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Offset of `e_machine` in an ELF header.
const ELF_MACHINE: usize = 18;

/// A value of `e_machine` that no kernel runs.
const NO_MACHINE: u16 = 0xFFFE;
