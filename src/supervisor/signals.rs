//! The supervisor's signals: some it acts on, the others go to the worker that serves.

use std::io;

use crate::restarter::signals::{Inbox, Reaction, Signal, SignalMap};
use crate::sys::arrivals::Arrival;

/// Signals as they come.
pub(super) struct Heard {
    signals: Inbox,
    pub(super) map: SignalMap,
    forwarded: Vec<Signal>,
}

/// What to do about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Reaction(Reaction),
    Forward,
}

/// What is passed on unless the map names it: signals that programs give a meaning of their own (reopen logs,
/// dump threads, more or fewer children). Not those of a terminal's job control, which reach the workers
/// anyway.
pub(super) fn forwarded() -> Vec<Signal> {
    let named = [Signal::USR1, Signal::QUIT, Signal::WINCH, Signal::TTIN, Signal::TTOU, Signal::ALRM];
    named.into_iter().chain(Signal::real_time()).collect()
}

impl Heard {
    /// Must be called on the runtime. The map goes before.
    pub(super) fn new(map: SignalMap, forwarded: &[Signal]) -> io::Result<Heard> {
        let forwarded: Vec<Signal> =
            forwarded.iter().copied().filter(|signal| map.reaction(*signal).is_none()).collect();
        let mut numbers = map.signals();
        numbers.extend(forwarded.iter().map(|signal| signal.number()));
        Ok(Heard { signals: Inbox::new(&numbers)?, map, forwarded })
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> (Arrival, Meaning) {
        loop {
            let arrival = self.signals.next().await;
            if let Some(reaction) = self.signals.reaction(&self.map, &arrival) {
                return (arrival, Meaning::Reaction(reaction));
            }
            let signal = Signal::of(&arrival);
            // That the terminal's size has changed is news for this process, if for any: to some servers it
            // is an order.
            let is_resize = signal == Signal::WINCH && arrival.is_from_kernel();
            if self.forwarded.contains(&signal) && !is_resize {
                return (arrival, Meaning::Forward);
            }
        }
    }
}
