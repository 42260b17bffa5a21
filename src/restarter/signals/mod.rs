//! Which signal does what, and hooks around each.

mod inbox;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::aside::{Aside, STAY, WAITING};

pub(crate) use self::inbox::Inbox;
use crate::sys::arrivals::Arrival;
use crate::sys::signals::is_ignored;

/// A signal, by its name. `SIGKILL` and `SIGSTOP` cannot be caught and are not here.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Signal(i32);

impl Signal {
    /// SIGHUP: by default, restart; at the end of the terminal, [stop](SignalMap#the-terminal).
    pub const HUP: Signal = Signal(libc::SIGHUP);
    /// SIGINT, Ctrl-C: by default, stop.
    pub const INT: Signal = Signal(libc::SIGINT);
    /// SIGQUIT.
    pub const QUIT: Signal = Signal(libc::SIGQUIT);
    /// SIGUSR1.
    pub const USR1: Signal = Signal(libc::SIGUSR1);
    /// SIGUSR2: by default, restart.
    pub const USR2: Signal = Signal(libc::SIGUSR2);
    /// SIGALRM.
    pub const ALRM: Signal = Signal(libc::SIGALRM);
    /// SIGTERM: by default, stop.
    pub const TERM: Signal = Signal(libc::SIGTERM);
    /// SIGTSTP.
    pub const TSTP: Signal = Signal(libc::SIGTSTP);
    /// SIGTTIN.
    pub const TTIN: Signal = Signal(libc::SIGTTIN);
    /// SIGTTOU.
    pub const TTOU: Signal = Signal(libc::SIGTTOU);
    /// SIGWINCH.
    pub const WINCH: Signal = Signal(libc::SIGWINCH);

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }

    /// SIGRTMIN to SIGRTMAX: without those that the C library keeps for itself.
    pub fn real_time() -> impl Iterator<Item = Signal> {
        (libc::SIGRTMIN()..=libc::SIGRTMAX()).map(Signal)
    }

    pub(crate) fn of(arrival: &Arrival) -> Signal {
        Signal(arrival.signal())
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match nix::sys::signal::Signal::try_from(self.0) {
            Ok(signal) => f.write_str(signal.as_str()),
            Err(_) if self.0 == libc::SIGRTMIN() => f.write_str("SIGRTMIN"),
            Err(_) if self.0 > libc::SIGRTMIN() => write!(f, "SIGRTMIN+{}", self.0 - libc::SIGRTMIN()),
            Err(_) => write!(f, "signal {}", self.0),
        }
    }
}

/// Why a string names no signal that can be sent and handled.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no signal; write a name such as TERM, SIGTERM or RTMIN+1, or a number")]
pub struct SignalParseError {
    text: String,
}

impl std::str::FromStr for Signal {
    type Err = SignalParseError;

    /// A name, with or without `SIG` before it, or a number.
    fn from_str(text: &str) -> Result<Signal, SignalParseError> {
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = match real_time(name) {
            Some(number) => Some(number),
            None => name.parse().ok().or_else(|| {
                format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
            }),
        };
        let can_be_handled = |number: &i32| {
            let unchangeable = [libc::SIGKILL, libc::SIGSTOP, 32, 33];
            (1..=libc::SIGRTMAX()).contains(number) && !unchangeable.contains(number)
        };
        let known = number.filter(can_be_handled);
        known.map(Signal).ok_or_else(|| SignalParseError { text: text.to_owned() })
    }
}

/// RTMIN, RTMIN+n, RTMAX-n or RTMAX.
fn real_time(name: &str) -> Option<i32> {
    let distance = |text: &str, sign: char| match text.strip_prefix(sign) {
        // Digits alone: a number's parser takes a sign as well.
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            number.parse::<u8>().ok().map(i32::from)
        }
        Some(_) => None,
        None => text.is_empty().then_some(0),
    };
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let from_first = name.strip_prefix("RTMIN").and_then(|rest| Some(first + distance(rest, '+')?));
    let number = from_first
        .or_else(|| name.strip_prefix("RTMAX").and_then(|rest| Some(last - distance(rest, '-')?)))?;
    (first..=last).contains(&number).then_some(number)
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a signal makes heirloom do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reaction {
    /// Start a successor and hand over.
    Restart,
    /// Stop gracefully, within the shutdown timeout; a second one stops at once.
    Stop,
    /// Abort what is left and stop at once.
    Hammer,
    /// Nothing but the hooks.
    Hooks,
}

/// Which signal does what.
///
/// The default map: HUP and USR2 restart, TERM and INT stop. `SignalMap::none()` is the empty one; a signal
/// that no map names keeps what it had before.
///
/// # The terminal
///
/// A SIGHUP that reports the end of the terminal (from the kernel, or from the shell that loses it) stops the
/// service gracefully, even if the map says [`Reaction::Restart`]: nobody has asked for a restart, and the
/// successor could not write to the terminal. It never makes a stop immediate. A SIGHUP that is ignored when
/// the process starts, as `nohup` has it, stays ignored, no matter who sends it and whatever the map says:
/// USR2 and `heirloom restart` restart such a server.
///
/// # Hooks
///
/// Hooks run on a thread for hooks, one signal at a time. *Before* hooks run before heirloom reacts, *after*
/// hooks once it has begun to (a restart takes its time; its outcome is an [`Event`](crate::Event)).
///
/// A hook that hangs must not make the process unstoppable: heirloom waits 5 s for the hooks before a
/// reaction, then says so and reacts, and the hooks go on beside it. A signal that comes while they run ends
/// that wait at once (the second TERM of an operator), and is reacted to without one of its own; its hooks
/// run when their turn comes.
///
/// ```
/// use heirloom::{Reaction, Signal, SignalMap};
///
/// let map = SignalMap::default()
///     .on(Signal::QUIT, Reaction::Hammer)
///     .on(Signal::USR1, Reaction::Hooks)
///     .after(Signal::USR1, || println!("reopen the logs here"));
/// ```
#[must_use = "for Builder::signals"]
pub struct SignalMap {
    entries: Vec<Entry>,
}

struct Entry {
    signal: Signal,
    reaction: Reaction,
    before: Hooks,
    after: Hooks,
}

type Hooks = Arc<Mutex<Vec<Box<dyn FnMut() + Send>>>>;

impl Default for SignalMap {
    fn default() -> SignalMap {
        SignalMap::none()
            .on(Signal::HUP, Reaction::Restart)
            .on(Signal::USR2, Reaction::Restart)
            .on(Signal::TERM, Reaction::Stop)
            .on(Signal::INT, Reaction::Stop)
    }
}

impl SignalMap {
    /// A map without signals: restart and stop through the API.
    pub fn none() -> SignalMap {
        SignalMap { entries: Vec::new() }
    }

    /// The map of Go's `endless`: HUP restarts, TERM and INT stop, USR2 is the hammer, USR1 and TSTP run
    /// hooks.
    pub fn endless() -> SignalMap {
        SignalMap::default()
            .on(Signal::USR2, Reaction::Hammer)
            .on(Signal::USR1, Reaction::Hooks)
            .on(Signal::TSTP, Reaction::Hooks)
    }

    /// Makes `signal` do `reaction`; its hooks stay.
    pub fn on(mut self, signal: Signal, reaction: Reaction) -> SignalMap {
        self.entry(signal).reaction = reaction;
        self
    }

    /// Does not handle `signal`, and drops its hooks.
    pub fn off(mut self, signal: Signal) -> SignalMap {
        self.entries.retain(|entry| entry.signal != signal);
        self
    }

    /// Runs `hook` before the reaction to `signal`, after the hooks added before. A signal without a reaction
    /// gets [`Reaction::Hooks`].
    pub fn before(mut self, signal: Signal, hook: impl FnMut() + Send + 'static) -> SignalMap {
        self.entry(signal).before.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
        self
    }

    /// Runs `hook` after the reaction to `signal`, after the hooks added before. A signal without a reaction
    /// gets [`Reaction::Hooks`].
    pub fn after(mut self, signal: Signal, hook: impl FnMut() + Send + 'static) -> SignalMap {
        self.entry(signal).after.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(hook));
        self
    }

    /// What `signal` does, if the map names it.
    pub fn reaction(&self, signal: Signal) -> Option<Reaction> {
        self.entries.iter().find(|entry| entry.signal == signal).map(|entry| entry.reaction)
    }

    /// What is handled: all but a SIGHUP that is ignored. To be asked before that is.
    pub(crate) fn signals(&self) -> Vec<i32> {
        self.entries.iter().map(|entry| entry.signal.0).filter(|signal| !stays_ignored(*signal)).collect()
    }

    /// What a successor must not lose or die of before it has handlers of its own.
    pub(crate) fn blocked_at_start(&self) -> Vec<i32> {
        let waits = |entry: &&Entry| matches!(entry.reaction, Reaction::Restart | Reaction::Hooks);
        let waiting = self.entries.iter().filter(waits).map(|entry| entry.signal.0);
        waiting.filter(|signal| !stays_ignored(*signal)).collect()
    }

    /// Has the hooks run that come before the reaction; `None` if there is nothing to wait for. Within a
    /// runtime only, which the hooks run in as well.
    pub(crate) fn begin(&self, signal: Signal, reaction: Reaction) -> Option<Hooking> {
        let hung = HOOKS.hangs_for(HOOK);
        let over = run(&self.hooks(signal)?.before)?;
        (!hung).then(|| Hooking { signal, reaction, over, until: Instant::now() + HOOK })
    }

    /// Has the hooks run that come after it.
    pub(crate) fn go_on(&self, signal: Signal) {
        if let Some(entry) = self.hooks(signal) {
            run(&entry.after);
        }
    }

    fn hooks(&self, signal: Signal) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.signal == signal)
    }

    fn entry(&mut self, signal: Signal) -> &mut Entry {
        let at = self.entries.iter().position(|entry| entry.signal == signal).unwrap_or_else(|| {
            let (before, after) = (Hooks::default(), Hooks::default());
            self.entries.push(Entry { signal, reaction: Reaction::Hooks, before, after });
            self.entries.len() - 1
        });
        &mut self.entries[at]
    }
}

/// A signal whose hooks run before anything is done about it.
#[derive(Debug)]
pub(crate) struct Hooking {
    pub(crate) signal: Signal,
    pub(crate) reaction: Reaction,
    over: oneshot::Receiver<()>,
    until: Instant,
}

impl Hooking {
    /// Until they have run, or are not waited for any longer; never, if there are none. Cancel safe.
    pub(crate) async fn over(hooking: &mut Option<Hooking>) {
        let Some(Hooking { signal, over, until, .. }) = hooking else { return std::future::pending().await };
        // An error means that they are over as well: one of them has panicked, say.
        if tokio::time::timeout_at((*until).into(), over).await.is_err() {
            say!(warn: %signal, within = ?HOOK, "a hook hangs: going on without it");
        }
    }
}

/// Has them run after those of the signals before; `None` if there are none.
fn run(hooks: &Hooks) -> Option<oneshot::Receiver<()>> {
    // Hooks may hold this lock for ever.
    let is_empty = hooks.try_lock().is_ok_and(|hooks| hooks.is_empty());
    if is_empty {
        return None;
    }
    let (hooks, runtime) = (Arc::clone(hooks), Handle::current());
    let (done, over) = oneshot::channel();
    let given = HOOKS.give(move || {
        let _within = runtime.enter();
        let mut hooks = hooks.lock().unwrap_or_else(PoisonError::into_inner);
        hooks.iter_mut().for_each(|hook| hook());
        let _ = done.send(());
    });
    if !given {
        say_seldom!(error: "the hooks of a signal are left out: an earlier one hangs");
    }
    Some(over)
}

/// The program's own code, which may do as it pleases.
pub(crate) static HOOKS: Aside = Aside::new("heirloom-hooks", WAITING, Some(STAY));

/// How long a reaction waits for hooks. Taking a host out of a load balancer is a request or two; an operator
/// who stops a server does not want to wait for more, and the default shutdown timeout, which runs meanwhile,
/// is 9 s.
pub(crate) const HOOK: Duration = Duration::from_secs(5);

/// How long an end waits for the hooks that run. Seldom at all: a drain is longer than most of them.
const AT_THE_END: Duration = Duration::from_secs(1);

/// Before a process ends: lets the hooks that run come to their end, but not for long.
pub(crate) fn finish_hooks() {
    HOOKS.finish(AT_THE_END);
}

/// What `nohup` has promised to its user, for this process and its successors.
pub(crate) fn stays_ignored(signal: i32) -> bool {
    signal == libc::SIGHUP && is_ignored(signal)
}

impl fmt::Debug for SignalMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.entries.iter().map(|entry| (entry.signal, entry.reaction))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maps_are_as_documented() {
        let map = SignalMap::default();
        assert_eq!(map.reaction(Signal::HUP), Some(Reaction::Restart));
        assert_eq!(map.reaction(Signal::USR2), Some(Reaction::Restart));
        assert_eq!(map.reaction(Signal::TERM), Some(Reaction::Stop));
        assert_eq!(map.reaction(Signal::INT), Some(Reaction::Stop));
        assert_eq!(map.reaction(Signal::USR1), None);
        let map = SignalMap::endless();
        assert_eq!(map.reaction(Signal::USR2), Some(Reaction::Hammer));
        assert_eq!(map.reaction(Signal::TSTP), Some(Reaction::Hooks));
        assert_eq!(map.blocked_at_start(), [libc::SIGHUP, libc::SIGUSR1, libc::SIGTSTP]);
        assert_eq!(SignalMap::default().off(Signal::HUP).reaction(Signal::HUP), None);
        assert_eq!(Signal::HUP.to_string(), "SIGHUP");
    }

    #[test]
    fn signals_are_read_by_name_or_number() {
        let named = [("TERM", 15), ("SIGUSR2", 12), ("quit", 3), ("15", 15)];
        let real_time = [("RTMIN", 34), ("RTMIN+1", 35), ("SIGRTMAX-2", 62), ("RTMAX", 64)];
        for (text, number) in named.into_iter().chain(real_time) {
            assert_eq!(text.parse::<Signal>().unwrap().number(), number, "{text}");
        }
        for signal in Signal::real_time() {
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
        for text in [
            "",
            "SIG",
            "KILL",
            "STOP",
            "0",
            "-1",
            "65",
            "RTMIN+99",
            "RTMAX-31",
            "RTMIN1",
            "RTMIN++1",
            "TERMINATE",
        ] {
            text.parse::<Signal>().expect_err(text);
        }
    }

    #[test]
    fn hooks_run_in_order() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let say = |what: &'static str| {
            let sender = sender.clone();
            move || sender.send(what).unwrap()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _within = runtime.enter();
        let map = SignalMap::none()
            .before(Signal::USR1, say("first"))
            .before(Signal::USR1, say("second"))
            .after(Signal::USR1, say("after"));
        assert_eq!(map.reaction(Signal::USR1), Some(Reaction::Hooks));
        runtime.block_on(Hooking::over(&mut map.begin(Signal::USR1, Reaction::Hooks)));
        map.go_on(Signal::USR1);
        HOOKS.finish(HOOK);
        drop((map, sender));
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["first", "second", "after"]);
    }
}
