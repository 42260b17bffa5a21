//! When to look, and when to restart: never all hosts at one instant.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use super::Digest;

/// The time between two polls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) interval: Duration,
    pub(super) jitter: f64,
}

impl Schedule {
    /// Before the first poll: a part of the interval, so that hosts that were started together part ways.
    pub(super) fn first(&self) -> Duration {
        self.interval.mul_f64(self.jitter * fraction())
    }

    /// From one poll to the next. It only ever grows beyond the interval: the floor is the source's.
    pub(super) fn next(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.interval.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX).max(1));
        let backed_off = doubled.min(LONGEST_BACKOFF.max(self.interval));
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        let wait = backed_off.max(asked);
        wait + self.interval.min(wait).mul_f64(self.jitter * fraction())
    }
}

/// This host's place in the window: always the same, and evenly spread over hosts.
pub(super) fn stagger(host: &str, window: Duration) -> Duration {
    let digest = Digest::of(host.as_bytes());
    let number =
        u32::from_be_bytes([digest.bytes()[0], digest.bytes()[1], digest.bytes()[2], digest.bytes()[3]]);
    window.mul_f64(f64::from(number) / (f64::from(u32::MAX) + 1.0))
}

/// As the kernel knows it; containers of one service have different ones.
pub(super) fn host_name() -> String {
    let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
    String::from_utf8_lossy(&name).trim().to_owned()
}

/// From 0 to 1, by the keys that every [`RandomState`] draws anew.
fn fraction() -> f64 {
    f64::from(RandomState::new().hash_one(0) as u32) / f64::from(u32::MAX)
}

/// A source that fails for days is still asked once an hour, so that its recovery is noticed within one.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);

/// GitHub asks for up to an hour; somebody whose clock is wrong may ask for years.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(6 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_poll_comes_never_before_the_interval_and_little_after() {
        let schedule = Schedule { interval: MINUTE, jitter: 0.1 };
        let waits: Vec<_> = (0..1000).map(|_| schedule.next(0, None)).collect();
        assert!(waits.iter().all(|wait| (MINUTE..=MINUTE.mul_f64(1.1)).contains(wait)));
        let spread = *waits.iter().max().unwrap() - *waits.iter().min().unwrap();
        assert!(spread > Duration::from_secs(4), "{spread:?}");
        assert!((0..1000).all(|_| schedule.first() <= MINUTE.mul_f64(0.1)));
        assert_eq!(Schedule { interval: MINUTE, jitter: 0.0 }.next(0, None), MINUTE);
    }

    #[test]
    fn failures_and_servers_that_ask_for_it_make_it_longer() {
        let schedule = Schedule { interval: MINUTE, jitter: 0.0 };
        assert_eq!(schedule.next(1, None), 2 * MINUTE);
        assert_eq!(schedule.next(3, None), 8 * MINUTE);
        for failures in [10, 31, 32, 33, u32::MAX] {
            assert_eq!(schedule.next(failures, None), LONGEST_BACKOFF);
        }
        assert_eq!(schedule.next(1, Some(5 * MINUTE)), 5 * MINUTE);
        assert_eq!(schedule.next(0, Some(Duration::MAX)), LONGEST_RETRY_AFTER);
        let day = Schedule { interval: MINUTE * 60 * 24, jitter: 0.0 };
        assert_eq!(day.next(5, None), day.interval);
    }

    #[test]
    fn hosts_are_spread_over_the_window() {
        let offsets: Vec<_> = (0..1000).map(|n| stagger(&format!("web-{n}"), 10 * MINUTE)).collect();
        assert!(offsets.iter().all(|offset| *offset < 10 * MINUTE));
        for minute in 0..10 {
            let within = |offset: &&Duration| offset.as_secs() / 60 == minute;
            let count = offsets.iter().filter(within).count();
            assert!((60..140).contains(&count), "{count} of 1000 in minute {minute}");
        }
        assert_eq!(stagger("web-1", 10 * MINUTE), offsets[1]);
        assert_eq!(stagger("web-1", Duration::ZERO), Duration::ZERO);
    }
}
