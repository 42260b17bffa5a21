//! Restarts by the clock: an interval, spread so that many hosts do not restart at one instant.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

/// How long to wait until the next timed restart: `every`, and up to a tenth of it more or less.
pub(crate) fn wait(every: Duration) -> Duration {
    spread(every, RandomState::new().hash_one(()))
}

/// `random` is evenly drawn.
fn spread(every: Duration, random: u64) -> Duration {
    let fraction = random as f64 / u64::MAX as f64;
    // No sooner than a second, whatever was asked for: a restart takes its time.
    Duration::try_from_secs_f64(every.as_secs_f64() * (1.0 - JITTER + 2.0 * JITTER * fraction))
        .unwrap_or(Duration::MAX)
        .max(FLOOR)
}

/// Enough to pull hosts that were started together apart within a few rounds; of a day, two hours.
const JITTER: f64 = 0.1;

const FLOOR: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_lie_within_a_tenth() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), Duration::from_secs(3240));
        assert_eq!(spread(hour, u64::MAX), Duration::from_secs(3960));
        assert_eq!(spread(Duration::ZERO, 7), FLOOR);
        assert!(wait(hour) != wait(hour), "two draws of 64 bits");
        spread(Duration::MAX, u64::MAX);
    }
}
