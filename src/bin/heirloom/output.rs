//! Lines for people: to a terminal, a file or a pipe that its reader may have closed.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::{Code, Failure};

/// To standard output. A reader that has closed it has read enough (`heirloom status | head -1`).
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", tame(line, "\n"));
}

/// To standard error.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "heirloom: {}", tame(line, "\n"));
}

/// To standard error as well, but not for long: a service that has ended is not kept by a log that nobody
/// reads.
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

/// To standard output, for a program: what a terminal would act on is escaped as JSON has it, which changes
/// nothing.
pub(crate) fn say_json(told: &impl Serialize) {
    let mut line = String::new();
    for letter in serde_json::to_string(told).unwrap_or_default().chars() {
        match acts_on_a_terminal(letter) {
            true => {
                letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line += &format!("\\u{unit:04x}"))
            }
            false => line.push(letter),
        }
    }
    let _ = writeln!(io::stdout().lock(), "{line}");
}

/// What another process has said, for people: of bounded length, nothing in it acts on a terminal, and none
/// of its lines looks like one of this command's.
pub(crate) fn plain(text: &str) -> String {
    let text = &without_colours(text);
    let mut plain: String = text.chars().take(LONGEST).collect();
    if plain.len() < text.len() {
        plain += "...";
    }
    tame(&plain, "\n    ")
}

/// The same for every text in it.
pub(crate) fn readable<T: Serialize + DeserializeOwned>(told: &T) -> Result<T, Failure> {
    let read = serde_json::to_value(told).and_then(|value| serde_json::from_value(made_plain(value)));
    read.map_err(|error| Failure::new(Code::Protocol, plain(&error.to_string())))
}

fn made_plain(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(plain(&text)),
        Value::Array(values) => values.into_iter().map(made_plain).collect(),
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| (plain(&name), made_plain(value))).collect()
        }
        other => other,
    }
}

/// Loggers write them to files too (tracing-subscriber by default), and escaped they hide the words.
fn without_colours(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let behind = part.trim_start_matches(|letter: char| letter.is_ascii_digit() || letter == ';');
        match behind.strip_prefix('m') {
            Some(behind) => plain += behind,
            None => plain.extend(["\u{1b}[", part]),
        }
    }
    plain
}

fn tame(text: &str, newline: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' => tame += newline,
            '\t' => tame.push(' '),
            letter if acts_on_a_terminal(letter) => tame.extend(letter.escape_unicode()),
            letter => tame.push(letter),
        }
    }
    tame
}

/// Control characters, and those that turn the direction of what follows.
fn acts_on_a_terminal(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns
}

/// In characters: the end of a log that a reply holds is shorter, and so is every reason that is meant to be
/// read.
const LONGEST: usize = 8 * 1024;

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
    use heirloom::control::Reply;

    #[test]
    fn what_another_process_said_does_nothing_to_a_terminal() {
        let reason = "no\u{1b}]52;c;cm0K\u{7}\u{9b}2J\rok\u{202e}\nheirloom: all is well".to_owned();
        let line = serde_json::json!({ "heirloom": 1, "event": "refused", "reason": reason });
        let told = Reply::decode(line.to_string().as_bytes()).unwrap();
        let Reply::Refused { reason, .. } = readable(&told).unwrap() else { panic!() };
        let expected =
            r"no\u{1b}]52;c;cm0K\u{7}\u{9b}2J\u{d}ok\u{202e}".to_owned() + "\n    heirloom: all is well";
        assert_eq!(reason, expected);
        assert!(plain(&"x".repeat(1_000_000)).len() < 10_000);
        assert_eq!(tame("a\tb\nc", "\n"), "a b\nc");
        let coloured = "\u{1b}[2m12:00\u{1b}[0m \u{1b}[1;31mbad\u{1b}[m \u{1b}[2J \u{1b}[";
        assert_eq!(plain(coloured), r"12:00 bad \u{1b}[2J \u{1b}[");
    }

    #[test]
    fn times_are_short() {
        let shown = [0.62, 9.13, 15.4, 1009.8, 59_999.0, 303_000.0, 190_000_000.0].map(time);
        assert_eq!(shown, ["0.6 ms", "9.1 ms", "15 ms", "1.0 s", "60.0 s", "5m 3s", "2days 4h"]);
    }
}
