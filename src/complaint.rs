//! Saying what goes on and on, without filling the log.

use std::time::{Duration, Instant};

/// Something that is tried many times a second, and fails each time for the same reason.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    next: Option<Instant>,
    unsaid: u64,
}

/// Often enough for whoever looks at the log to see that it still is so.
const PERIOD: Duration = Duration::from_secs(10);

impl Complaint {
    /// Whether to say it now, and how often it was not said since the last time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + PERIOD);
        Some(std::mem::take(&mut self.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_counted() {
        let (mut complaint, began) = (Complaint::default(), Instant::now());
        assert_eq!(complaint.due(began), Some(0));
        assert_eq!((complaint.due(began), complaint.due(began + PERIOD / 2)), (None, None));
        assert_eq!(complaint.due(began + PERIOD), Some(2));
        assert_eq!(complaint.due(began + 3 * PERIOD), Some(0));
    }
}
