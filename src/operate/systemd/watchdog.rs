//! The watchdog: whether systemd waits for pings of this process, and whether the program is well enough for
//! one.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

/// Whether the program is well, asked before each ping of the watchdog.
pub(crate) type Health = Arc<dyn Fn() -> bool + Send + Sync>;

/// Asks for the program's health on a thread of its own: one that hangs must hold up the pings and nothing
/// else.
pub(super) fn check(health: Health, is_well: impl Fn() + Send + 'static) -> io::Result<mpsc::SyncSender<()>> {
    let (ask, asked) = mpsc::sync_channel(1);
    thread::Builder::new().name("heirloom-health".to_owned()).spawn(move || {
        while asked.recv().is_ok() {
            if matches!(catch_unwind(AssertUnwindSafe(|| health())), Ok(true)) {
                is_well();
            }
        }
    })?;
    Ok(ask)
}

/// How long the watchdog waits for a ping, if one is to be heard from this process.
pub(super) fn limit(variable: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    // A successor finds no WATCHDOG_PID: its id was not known when its environment was made.
    let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    (is_meant && limit > 0).then(|| Duration::from_micros(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_or_a_successors() {
        let variables = |usec: &'static str, pid: Option<&'static str>| {
            let get = move |name: &str| match name {
                "WATCHDOG_USEC" => Some(usec.to_owned()),
                _ => pid.map(str::to_owned),
            };
            limit(get, 7)
        };
        let two = Some(Duration::from_secs(2));
        assert_eq!(variables("2000000", Some("7")), two);
        assert_eq!(variables("2000000", None), two);
        assert_eq!(variables("2000000", Some("8")), None);
        assert_eq!(variables("0", None), None);
        assert_eq!(variables("soon", None), None);
    }
}
