//! What all processes of a server said, line by line, as it comes.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The lines of every process that shares the pipes.
#[derive(Debug)]
pub struct Log {
    started: Instant,
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// Pipes not yet at their end.
    open: usize,
    /// Nobody reads them from the line on that contains this.
    unread_from: Option<&'static str>,
    is_unread: bool,
}

#[derive(Debug)]
struct Line {
    at: Duration,
    from: &'static str,
    text: String,
}

impl Log {
    pub fn new() -> Arc<Log> {
        Arc::new(Log { started: Instant::now(), state: Mutex::default(), more: Condvar::new() })
    }

    /// Collects a pipe until its last writer is gone.
    pub fn follow(self: &Arc<Log>, from: &'static str, pipe: impl Read + Send + 'static) {
        self.state.lock().unwrap().open += 1;
        let log = Arc::clone(self);
        std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
                log.add(from, String::from_utf8_lossy(&bytes).trim_end());
                bytes.clear();
                log.wait_until_read();
            }
            log.state.lock().unwrap().open -= 1;
            log.more.notify_all();
        });
    }

    /// Once a line with this has come, no pipe is read any further than to the end of its next line.
    pub fn stop_reading_at(&self, pattern: &'static str) {
        self.state.lock().unwrap().unread_from = Some(pattern);
    }

    pub fn read_on(&self) {
        let mut state = self.state.lock().unwrap();
        (state.unread_from, state.is_unread) = (None, false);
        self.more.notify_all();
    }

    fn wait_until_read(&self) {
        let state = self.state.lock().unwrap();
        drop(self.more.wait_while(state, |state| state.is_unread).unwrap());
    }

    pub fn add(&self, from: &'static str, text: &str) {
        let line = Line { at: self.started.elapsed(), from, text: text.to_owned() };
        let mut state = self.state.lock().unwrap();
        state.is_unread |= state.unread_from.is_some_and(|pattern| text.contains(pattern));
        state.lines.push(line);
        self.more.notify_all();
    }

    /// How many lines there are: where a later search begins.
    pub fn len(&self) -> usize {
        self.state.lock().unwrap().lines.len()
    }

    /// All lines from `from` on that contain `pattern`.
    pub fn find(&self, from: usize, pattern: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        state.lines[from..]
            .iter()
            .filter(|line| line.text.contains(pattern))
            .map(|line| line.text.clone())
            .collect()
    }

    /// How many lines there are between `from` and the first that contains `pattern`.
    pub fn position(&self, from: usize, pattern: &str) -> Option<usize> {
        let state = self.state.lock().unwrap();
        state.lines[from..].iter().position(|line| line.text.contains(pattern))
    }

    /// Waits for `count` lines from `from` on that contain one of `patterns`; `None` when the time is over.
    pub fn wait_for(
        &self,
        from: usize,
        patterns: &[&str],
        count: usize,
        patience: Duration,
    ) -> Option<Vec<String>> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock().unwrap();
        loop {
            let fits = |line: &&Line| patterns.iter().any(|pattern| line.text.contains(pattern));
            let found: Vec<_> =
                state.lines[from..].iter().filter(fits).map(|line| line.text.clone()).collect();
            let left = deadline.saturating_duration_since(Instant::now());
            if found.len() >= count {
                return Some(found);
            } else if left.is_zero() || state.open == 0 {
                return None;
            }
            state = self.more.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Waits until the last writer is gone, so that a dump is complete.
    pub fn wait_for_end(&self, patience: Duration) {
        let state = self.state.lock().unwrap();
        drop(self.more.wait_timeout_while(state, patience, |state| state.open > 0).unwrap());
    }

    /// Everything, as a person reads it.
    pub fn dump(&self) -> String {
        let state = self.state.lock().unwrap();
        let lines = state
            .lines
            .iter()
            .map(|line| format!("{:9.4} {:<7} {}\n", line.at.as_secs_f64(), line.from, line.text));
        lines.collect()
    }
}
