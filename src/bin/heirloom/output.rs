//! Lines for people: to a terminal, a file or a pipe that its reader may have closed.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// To standard output. Whoever has closed it has read enough (`heirloom status | head -1`).
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// To standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "heirloom: {line}");
}

/// To standard error as well, but not for long: a service that has ended is not kept by a log that nobody reads.
pub(crate) fn last_words(line: String) {
    let (said, heard) = mpsc::sync_channel(1);
    // Where nobody reads it, or no thread can be had, the exit status says it.
    let speaker = thread::Builder::new().spawn(move || {
        complain(&line);
        let _ = said.send(());
    });
    if speaker.is_ok() {
        let _ = heard.recv_timeout(LAST_WORDS);
    }
}

/// A write takes microseconds, on a busy machine milliseconds.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// `9.1 ms`, `1.01 s`, `5m 3s`, `2d 4h`: three digits are enough.
pub(crate) fn time(millis: f64) -> String {
    let seconds = millis / 1000.0;
    if millis < 10.0 {
        return format!("{millis:.1} ms");
    } else if seconds < 1.0 {
        return format!("{millis:.0} ms");
    } else if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    // The two largest units.
    let whole = humantime::format_duration(Duration::from_secs(seconds as u64)).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

pub(crate) fn whole_time(millis: u64) -> String {
    time(millis as f64)
}

/// `1 connection`, `2 connections`.
pub(crate) fn connections(count: u64) -> String {
    let noun = if count == 1 { "connection" } else { "connections" };
    format!("{count} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0.62, 9.13, 15.4, 1009.8, 59_999.0, 303_000.0, 190_000_000.0].map(time);
        assert_eq!(shown, ["0.6 ms", "9.1 ms", "15 ms", "1.0 s", "60.0 s", "5m 3s", "2days 4h"]);
    }
}
