//! Warnings and errors of a program without a log: they go to standard error, one line each.
//!
//! Without a `tracing` subscriber nobody would learn that a restart has failed. A subscriber that comes later
//! takes over from its first line on. One that leaves lines out has been told to.

use std::error::Error;
use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::Level;
use tracing::field::DisplayValue;

use crate::error::told;

/// A process says so once, at its start; nothing else is published through it. (Unit tests are many programs
/// in one process, and none of them has a log.)
static IS_ON: AtomicBool = AtomicBool::new(!cfg!(test));

pub(crate) fn turn(on: bool) {
    IS_ON.store(on, Ordering::Relaxed);
}

/// Whether a line that reaches no subscriber goes to standard error.
pub(super) fn wants(level: Level) -> bool {
    level <= Level::WARN && IS_ON.load(Ordering::Relaxed) && !is_logged()
}

/// Whether tracing passes such lines on to a logger of the `log` crate.
fn is_logged() -> bool {
    #[cfg(feature = "log")]
    return log::max_level() != log::LevelFilter::Off;
    #[cfg(not(feature = "log"))]
    false
}

/// A line on its way to standard error.
#[derive(Clone)]
pub(crate) struct Plain(String);

impl Plain {
    pub(crate) fn new(level: Level, text: &str) -> Plain {
        let grade = if level == Level::ERROR { "error" } else { "warning" };
        let mut line = format!("heirloom[{}]: {grade}: ", std::process::id());
        add(&mut line, text);
        Plain(line)
    }

    /// With one more field.
    pub(crate) fn field(&mut self, name: &str, value: &impl Show) {
        if let Some(value) = value.show() {
            let _ = write!(self.0, " {name}=");
            add(&mut self.0, &value);
        }
    }

    /// In one go, so that nothing of others comes between; without std's lock, which a writer that hangs
    /// would keep from the program. If it cannot be written there is nobody to tell.
    pub(super) fn write(mut self) {
        self.0.push('\n');
        let _ = nix::unistd::write(io::stderr(), self.0.as_bytes());
    }
}

/// What others have written must not make more lines of it, nor speak to the terminal.
fn add(line: &mut String, text: &str) {
    for letter in text.chars() {
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
}

/// A field's value, if there is one.
pub(crate) trait Show {
    fn show(&self) -> Option<String>;
}

impl Show for String {
    fn show(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Show for DisplayValue<String> {
    fn show(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Show for Box<dyn Error + Send + 'static> {
    fn show(&self) -> Option<String> {
        Some(told(&**self))
    }
}

macro_rules! shown_plainly {
    ($($kind:ty)*) => {
        $(impl Show for $kind {
            fn show(&self) -> Option<String> {
                Some(self.to_string())
            }
        })*
    };
}

shown_plainly!(bool u16 u32 u64 usize i32);
#[cfg(feature = "fetch")]
shown_plainly!(f64);

#[cfg(feature = "fetch")]
impl<T: Show> Show for Option<T> {
    fn show(&self) -> Option<String> {
        self.as_ref().and_then(Show::show)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let mut line = Plain::new(Level::WARN, "it went\nwrong \u{1b}[2J");
        line.field("name", &"x y".to_owned());
        line.field("count", &3_u64);
        line.field("why", &tracing::field::display("a\tb".to_owned()));
        let deep = crate::ListenError::Bind {
            address: crate::Address::Unnamed,
            source: io::ErrorKind::NotConnected.into(),
        };
        let error: Box<dyn Error + Send> = Box::new(deep);
        line.field("error", &error);
        let start = format!("heirloom[{}]: warning: it went\\nwrong \\u{{1b}}[2J ", std::process::id());
        let rest = line.0.strip_prefix(&start).unwrap();
        assert!(rest.starts_with("name=\"x y\" count=3 why=a\\tb error=cannot "), "{rest}");
        assert!(rest.ends_with(": not connected"), "{rest}");
    }
}
