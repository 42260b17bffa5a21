//! A program that ends by itself, and what it said.

use std::io::Read;
use std::process::{Command, ExitStatus};
use std::thread::JoinHandle;
use std::time::Duration;

use super::proc;

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Runs a command whose output is piped.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn of(command: &mut Command) -> Ended {
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = collect(child.stdout.take().expect("a pipe"));
        let stderr = collect(child.stderr.take().expect("a pipe"));
        let ended = proc::wait_for_exit(i32::try_from(child.id()).expect("a pid"), BOUND);
        if !ended {
            child.kill().expect("a child to kill");
        }
        let status = child.wait().expect("a child to wait for");
        let ended_by_itself = Ended {
            status,
            stdout: stdout.join().expect("a reader"),
            stderr: stderr.join().expect("a reader"),
        };
        assert!(ended, "it did not end in {BOUND:?}: {ended_by_itself:#?}");
        ended_by_itself
    }

    /// Checks that it gave up before it listened, with one line that holds all of `words`; returns the line.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) -> &str {
        assert!(!self.stdout.contains("listening on"), "it listened: {self:#?}");
        self.gave_up(words)
    }

    /// Checks that it gave up with one line that holds all of `words`; returns the line.
    #[track_caller]
    pub fn gave_up(&self, words: &[&str]) -> &str {
        assert!(self.status.code().is_some_and(|code| code != 0), "no status of failure: {self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "not one line: {self:#?}");
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {self:#?}");
        }
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        println!("{}", self.stderr.trim_end());
        self.stderr.trim_end()
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a readable pipe");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Far above the start deadline of a few seconds that these tests set, on any machine.
const BOUND: Duration = Duration::from_secs(60);
