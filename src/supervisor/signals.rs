//! The supervisor's signals: some it acts on, the others go to the worker that serves.

use std::io;
use std::pin::Pin;

use futures_core::Stream;
use signal_hook_tokio::Signals;

use crate::signals::{Reaction, Signal, SignalMap};
use crate::sys;

/// Signals as they come.
pub(super) struct Heard {
    signals: Signals,
    pub(super) map: SignalMap,
    forwarded: Vec<Signal>,
}

/// What to do about one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Reaction(Reaction),
    Forward,
}

/// What is passed on unless the map names it: signals that programs give a meaning of their own (reopen logs, dump
/// threads, more or fewer children). Not those of a terminal's job control, which reach the workers anyway.
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
        let signals = Signals::new(&numbers)?;
        // A parent that is a supervisor itself may have started this process with some of them blocked.
        sys::signals::unblock_here(&numbers)?;
        Ok(Heard { signals, map, forwarded })
    }

    /// The next one. Cancel safe.
    pub(super) async fn next(&mut self) -> (Signal, Meaning) {
        loop {
            let number = std::future::poll_fn(|cx| Pin::new(&mut self.signals).poll_next(cx)).await;
            let Some(number) = number else { return std::future::pending().await };
            let signal = Signal::from_number(number);
            if let Some(reaction) = self.map.reaction(signal) {
                return (signal, Meaning::Reaction(reaction));
            }
            if self.forwarded.contains(&signal) {
                return (signal, Meaning::Forward);
            }
        }
    }
}
