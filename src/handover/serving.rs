//! The end of a process: from serving to drained, or to the hammer.
//!
//! ```text
//!             handed over                              last connection gone
//!   Serving ─────────────▶ Draining ─────────────────────────────────────────▶ Over
//!      │                    ▲    │ deadline, second stop                        ▲
//!      │ shutdown           │    └──────────────▶ hammer ───────────────────────┘
//!      ▼                    │ the backlog is served
//!   Noticing ─────────▶ Emptying
//!             notice over (at once if there is none)
//! ```

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::after;

/// How long serving what the backlog holds may take before the listeners are closed on what is left.
/// Accepting is microseconds a connection; this only ends it where clients connect faster than that for ever.
pub(crate) const EMPTYING: Duration = Duration::from_secs(2);

/// One process's drain. See the [module's page](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Serving {
    drain_timeout: Duration,
    shutdown_timeout: Duration,
    notice: Duration,
    state: State,
    actions: VecDeque<Action>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Serving,
    Noticing { until: Instant, deadline: Instant },
    Emptying { until: Instant, deadline: Instant },
    Draining { deadline: Instant, reason: Reason },
    Over,
}

/// Why a process drains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A successor is the service now.
    Restart,
    /// The service stops.
    Shutdown,
}

/// What the driver is to do, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Say that this process is not ready for more, and serve on.
    GiveNotice,
    /// Accept until there is nothing to accept, close the listeners, and answer with
    /// [`Serving::emptied_backlog`].
    ServeBacklog,
    /// Close the listeners, whatever is queued.
    CloseListeners,
    /// Drain every connection; answer with [`Serving::drained`] when the last one is gone.
    Drain {
        /// When the hammer falls.
        deadline: Instant,
        /// Whether the service goes on in a successor or stops.
        reason: Reason,
    },
    /// Abort what is left.
    Hammer,
    /// The process may end.
    End(Reason),
}

impl Serving {
    /// A process that serves.
    pub fn new(drain_timeout: Duration, shutdown_timeout: Duration) -> Serving {
        Serving {
            drain_timeout,
            shutdown_timeout,
            notice: Duration::ZERO,
            state: State::Serving,
            actions: VecDeque::new(),
        }
    }

    /// For so long after a stop is asked for, the process serves on and only says that it is not ready any
    /// more.
    pub fn with_notice(self, notice: Duration) -> Serving {
        Serving { notice, ..self }
    }

    /// Whether the drain has begun.
    pub fn is_draining(&self) -> bool {
        self.state != State::Serving
    }

    /// Whether a stop was asked for, or the end has come.
    pub fn is_stopping(&self) -> bool {
        !matches!(self.state, State::Serving | State::Draining { reason: Reason::Restart, .. })
    }

    /// A successor is the service; the listeners are closed.
    pub fn handed_over(&mut self, now: Instant) {
        if self.state == State::Serving {
            self.drain(after(now, self.drain_timeout), Reason::Restart);
        }
    }

    /// Somebody wants this process to stop, within `within` or else the default. The first request begins the
    /// shutdown or hastens the drain after a restart; one more is the hammer.
    pub fn shutdown(&mut self, now: Instant, within: Option<Duration>) {
        let limit = after(now, within.unwrap_or(self.shutdown_timeout));
        match self.state {
            State::Serving => {
                self.actions.push_back(Action::GiveNotice);
                if self.notice.is_zero() {
                    self.empty(now, limit);
                } else {
                    self.state =
                        State::Noticing { until: limit.min(after(now, self.notice)), deadline: limit };
                }
            }
            State::Draining { deadline, reason: Reason::Restart } => {
                self.state = State::Draining { deadline: deadline.min(limit), reason: Reason::Shutdown };
            }
            State::Noticing { .. } | State::Emptying { .. } => self.hammer(Reason::Shutdown),
            State::Draining { reason, .. } => self.hammer(reason),
            State::Over => {}
        }
    }

    /// The end is to come within `within`, if that is sooner; unlike a second [`shutdown`](Self::shutdown),
    /// this is no hammer.
    pub fn hasten(&mut self, now: Instant, within: Duration) {
        let limit = after(now, within);
        if let State::Noticing { deadline, .. }
        | State::Emptying { deadline, .. }
        | State::Draining { deadline, .. } = &mut self.state
        {
            *deadline = limit.min(*deadline);
        }
    }

    /// No more waiting: what is left is aborted.
    pub fn hammer_now(&mut self) {
        match self.state {
            State::Serving | State::Noticing { .. } | State::Emptying { .. } => self.hammer(Reason::Shutdown),
            State::Draining { reason, .. } => self.hammer(reason),
            State::Over => {}
        }
    }

    /// The backlog is served and the listeners are closed.
    pub fn emptied_backlog(&mut self) {
        if let State::Emptying { deadline, .. } = self.state {
            self.drain(deadline, Reason::Shutdown);
        }
    }

    /// The last connection is gone.
    pub fn drained(&mut self) {
        if let State::Draining { reason, .. } = self.state {
            self.state = State::Over;
            self.actions.push_back(Action::End(reason));
        }
    }

    /// When [`timeout`](Self::timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            // A deadline that was hastened may come before the end of the notice.
            State::Noticing { until, deadline } | State::Emptying { until, deadline } => {
                Some(until.min(deadline))
            }
            State::Draining { deadline, .. } => Some(deadline),
            State::Serving | State::Over => None,
        }
    }

    /// The clock says `now`.
    pub fn timeout(&mut self, now: Instant) {
        match self.state {
            State::Noticing { until, deadline } if now >= until.min(deadline) => self.empty(now, deadline),
            State::Emptying { until, deadline } if now >= until.min(deadline) => {
                self.actions.push_back(Action::CloseListeners);
                self.drain(deadline, Reason::Shutdown);
            }
            State::Draining { deadline, reason } if now >= deadline => self.hammer(reason),
            _ => {}
        }
    }

    /// Puts the deadlines to `due`, so that states which differ in time alone are equal.
    #[cfg(test)]
    pub(super) fn forget_time(&mut self, due: Instant) {
        match &mut self.state {
            State::Noticing { until, deadline } | State::Emptying { until, deadline } => {
                (*until, *deadline) = (due, due);
            }
            State::Draining { deadline, .. } => *deadline = due,
            State::Serving | State::Over => {}
        }
    }

    /// What to do next; call until `None` after every other call.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn empty(&mut self, now: Instant, deadline: Instant) {
        self.state = State::Emptying { until: deadline.min(now + EMPTYING), deadline };
        self.actions.push_back(Action::ServeBacklog);
    }

    fn drain(&mut self, deadline: Instant, reason: Reason) {
        self.state = State::Draining { deadline, reason };
        self.actions.push_back(Action::Drain { deadline, reason });
    }

    fn hammer(&mut self, reason: Reason) {
        if matches!(self.state, State::Serving | State::Noticing { .. } | State::Emptying { .. }) {
            self.actions.push_back(Action::CloseListeners);
        }
        self.state = State::Over;
        self.actions.extend([Action::Hammer, Action::End(reason)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAIN: Duration = Duration::from_secs(60);
    const SHUTDOWN: Duration = Duration::from_secs(9);
    const SECOND: Duration = Duration::from_secs(1);

    fn actions(serving: &mut Serving) -> Vec<Action> {
        std::iter::from_fn(|| serving.poll_action()).collect()
    }

    #[test]
    fn a_drain_after_a_restart_ends_with_the_last_connection() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.handed_over(now);
        let deadline = now + DRAIN;
        assert_eq!(actions(&mut serving), [Action::Drain { deadline, reason: Reason::Restart }]);
        assert_eq!(serving.deadline(), Some(deadline));
        serving.drained();
        assert_eq!(actions(&mut serving), [Action::End(Reason::Restart)]);
        assert_eq!(serving.deadline(), None);
    }

    #[test]
    fn g5_the_hammer_falls_at_the_deadline_and_not_before() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.handed_over(now);
        actions(&mut serving);
        serving.timeout(now + DRAIN - SECOND);
        assert_eq!(actions(&mut serving), []);
        serving.timeout(now + DRAIN);
        assert_eq!(actions(&mut serving), [Action::Hammer, Action::End(Reason::Restart)]);
        serving.drained();
        serving.shutdown(now, None);
        assert_eq!(actions(&mut serving), [], "what is over stays over");
    }

    #[test]
    fn g5_a_stop_hastens_the_drain_and_a_second_one_ends_it() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.handed_over(now);
        actions(&mut serving);
        serving.shutdown(now + SECOND, None);
        assert_eq!(serving.deadline(), Some(now + SECOND + SHUTDOWN));
        assert_eq!(actions(&mut serving), []);
        serving.shutdown(now + SECOND, None);
        assert_eq!(actions(&mut serving), [Action::Hammer, Action::End(Reason::Shutdown)]);
    }

    #[test]
    fn g1_a_shutdown_serves_the_backlog_first() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.shutdown(now, None);
        assert_eq!(actions(&mut serving), [Action::GiveNotice, Action::ServeBacklog]);
        serving.emptied_backlog();
        let deadline = now + SHUTDOWN;
        assert_eq!(actions(&mut serving), [Action::Drain { deadline, reason: Reason::Shutdown }]);
    }

    #[test]
    fn a_notice_comes_before_everything_else_and_within_the_same_deadline() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN).with_notice(SECOND);
        serving.shutdown(now, None);
        assert_eq!(actions(&mut serving), [Action::GiveNotice]);
        serving.timeout(now + SECOND / 2);
        assert_eq!(actions(&mut serving), []);
        serving.timeout(now + SECOND);
        assert_eq!(actions(&mut serving), [Action::ServeBacklog]);
        serving.emptied_backlog();
        let deadline = now + SHUTDOWN;
        assert_eq!(actions(&mut serving), [Action::Drain { deadline, reason: Reason::Shutdown }]);
    }

    #[test]
    fn g5_a_second_stop_during_the_notice_is_the_hammer() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN).with_notice(SECOND);
        serving.shutdown(now, None);
        actions(&mut serving);
        serving.shutdown(now, None);
        assert_eq!(
            actions(&mut serving),
            [Action::CloseListeners, Action::Hammer, Action::End(Reason::Shutdown)]
        );
    }

    #[test]
    fn g5_a_backlog_that_never_ends_does_not_hold_the_shutdown() {
        let now = Instant::now();
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.shutdown(now, Some(SECOND));
        actions(&mut serving);
        serving.timeout(now + SECOND);
        assert_eq!(
            actions(&mut serving),
            [Action::CloseListeners, Action::Drain { deadline: now + SECOND, reason: Reason::Shutdown }]
        );
        serving.timeout(now + SECOND);
        assert_eq!(actions(&mut serving), [Action::Hammer, Action::End(Reason::Shutdown)]);
    }

    #[test]
    fn no_limit_is_a_limit_that_the_clock_cannot_hold() {
        let now = Instant::now();
        let mut serving = Serving::new(Duration::MAX, Duration::MAX);
        serving.handed_over(now);
        serving.timeout(now + DRAIN);
        serving.shutdown(now, None);
        assert!(serving.deadline().is_some_and(|deadline| deadline > now + DRAIN));
    }

    #[test]
    fn the_hammer_closes_what_is_open() {
        let mut serving = Serving::new(DRAIN, SHUTDOWN);
        serving.hammer_now();
        assert_eq!(
            actions(&mut serving),
            [Action::CloseListeners, Action::Hammer, Action::End(Reason::Shutdown)]
        );
    }
}
