//! The command, as an operator or a script runs it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::programs;

/// What a run of the command came to.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// The codes that the command documents.
pub mod code {
    pub const DONE: i32 = 0;
    pub const USAGE: i32 = 2;
    pub const NOT_RUNNING: i32 = 3;
    pub const NO_PERMISSION: i32 = 4;
    pub const NO_CONTROL: i32 = 5;
    pub const REFUSED: i32 = 6;
    pub const FAILED: i32 = 7;
    pub const TAKEN_BACK: i32 = 8;
    pub const TIMED_OUT: i32 = 9;
    pub const STOPPED: i32 = 10;
    pub const UNPROVEN: i32 = 14;
}

pub fn program() -> &'static Path {
    programs::heirloom()
}

/// Runs it to its end, which its own timeouts bound.
pub fn heirloom<A: AsRef<str>>(arguments: &[A]) -> Said {
    finish(Command::new(program()).args(arguments.iter().map(AsRef::as_ref)))
}

pub fn finish(command: &mut Command) -> Said {
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the command runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        code: output.status.code().expect("it is not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
        took: began.elapsed(),
    }
}

/// The same, while the test goes on.
pub fn beside(arguments: &[&str]) -> JoinHandle<Said> {
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    std::thread::spawn(move || heirloom(&arguments))
}

/// A command that is heard line by line.
pub struct Asking {
    child: Child,
    lines: BufReader<ChildStdout>,
    heard: String,
    began: Instant,
}

impl Asking {
    pub fn begin(arguments: &[&str]) -> Asking {
        let began = Instant::now();
        let mut command = Command::new(program());
        let command =
            command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Asking { child, lines, heard: String::new(), began }
    }

    /// Waits until it says so, or ends.
    #[track_caller]
    pub fn wait_for(mut self, word: &str) -> Asking {
        while !self.heard.contains(word) {
            let count = self.lines.read_line(&mut self.heard).expect("text");
            assert!(count > 0, "{word:?} is not in {:?}", self.heard);
        }
        self
    }

    pub fn end(mut self) -> Said {
        self.lines.read_to_string(&mut self.heard).expect("text");
        let output = self.child.wait_with_output().expect("a child to wait for");
        Said {
            code: output.status.code().expect("it is not killed"),
            stdout: self.heard,
            stderr: String::from_utf8(output.stderr).expect("text"),
            took: self.began.elapsed(),
        }
    }
}

impl Said {
    #[track_caller]
    pub fn is(self, code: i32, words: &[&str]) -> Said {
        let all = format!("{}{}", self.stdout, self.stderr);
        assert!(
            self.code == code && words.iter().all(|word| all.contains(word)),
            "{code} {words:?}: {self:#?}"
        );
        if code != code::DONE {
            assert!(self.stderr.starts_with("heirloom: ") || code == code::USAGE, "{self:#?}");
        }
        self
    }

    /// The time that stands in the line of a step.
    pub fn step(&self, name: &str) -> Duration {
        let line = self.stdout.lines().find(|line| line.starts_with(name));
        let words: Vec<&str> =
            line.unwrap_or_else(|| panic!("no {name}: {self:#?}")).split_whitespace().collect();
        let number: f64 = words[1].parse().expect("a number");
        match words[2] {
            "ms" => Duration::from_secs_f64(number / 1e3),
            "s" => Duration::from_secs_f64(number),
            unit => panic!("{unit}: {self:#?}"),
        }
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
