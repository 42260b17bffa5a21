//! systemd hears what happens to the service: when it is ready, that it restarts, who the main process is,
//! how it drains; it watches over it, and keeps its listening sockets for a start after a crash. Unit files
//! are in [`docs::systemd`](crate::docs::systemd).
//!
//! On when [`Builder::systemd`](crate::Builder::systemd) asks for it
//! ([`Restarter::new`](crate::Restarter::new) and `http::run` do) *and* NOTIFY_SOCKET is set, as it is in a
//! unit with `Type=notify`. Then a restart is not refused any more to a unit's main process. Everything is
//! sent by a thread of its own; only the settling of a restart waits for systemd, 3 s at most, and the end of
//! a generation, a second at most, so that its last word is heard.
//!
//! # What is told
//!
//! | when | what | by |
//! |---|---|---|
//! | it initialises | `EXTEND_TIMEOUT_USEC=` again and again, up to the start timeout | the first generation |
//! | it accepts | `FDSTORE=1` for each listener, `READY=1` | the first generation |
//! | a restart begins | `RELOADING=1` with `MONOTONIC_USEC=`, in one message | the predecessor |
//! | it failed, or was taken back | `READY=1`, and why in `STATUS=` | the predecessor |
//! | it settles | `MAINPID=` of the successor and `READY=1`, in one message, then `BARRIER=1` | the predecessor |
//! | it has settled | `MAINPID=` and `READY=1` once more, `FDSTORE=1` for what is new, `FDSTOREREMOVE=1` for what is gone; the pings of the watchdog | the successor |
//! | it drains | `STATUS=` with how many connections are left | the predecessor, each 5 s |
//! | the service stops | `STOPPING=1`; `STATUS=` each second and `EXTEND_TIMEOUT_USEC=` while it drains | the main process |
//! | the successor crashes while its predecessor drains | `WATCHDOG=trigger` | the predecessor |
//!
//! The barrier is what keeps the service alive: systemd ends a unit whose main process exits, so the
//! predecessor must not exit before systemd has *read* that another one is the main process. A systemd that
//! hangs is waited for 3 s, and then the restart settles all the same; should it still not have read the
//! message when the predecessor exits, it reads it before it hears of the exit.
//!
//! `STOPPING=1` is never said by the old process of a restart: systemd 259 takes the service for stopped
//! then.
//!
//! # Whether a reload went well
//!
//! * `Type=notify` with `ExecReload=heirloom restart --pid $MAINPID`: `systemctl reload` fails when the
//!   restart does, since the command waits for the outcome and its exit status counts.
//! * `Type=notify-reload` (systemd 253 or newer; Debian 12 has 252): systemd sends SIGHUP and waits for
//!   `READY=1`. The protocol has no word for a failure: `systemctl reload` succeeds, and only the status line
//!   says that the old generation serves on. It takes no `ExecReload=` beside that: the server would be asked
//!   twice, and restart twice.
//! * `kill -USR2` needs neither; the unit is `reloading` meanwhile.
//!
//! # A stop after a restart: `ExecStop=`
//!
//! A unit whose processes replace themselves needs an `ExecStop=` that returns only when the main process is
//! gone:
//!
//! ```ini
//! ExecStop=-/usr/bin/heirloom stop --pid $MAINPID
//! ```
//!
//! systemd notes once, when it reads `MAINPID=`, whether that process is its own child. A successor is not
//! yet: its predecessor is its parent, and has to live until systemd has read that. For a main process that
//! is not its child systemd does not wait at a stop, if nothing else is left in the unit: it sends SIGTERM
//! and, at once, SIGKILL (seen with systemd 252 and 254). No message changes its mind; a `systemctl
//! daemon-reload` does. So without `ExecStop=`, a `systemctl stop` or `systemctl restart` after a reload cuts
//! off what is in flight. The first start is not concerned, nor is `heirloom run`, whose process stays.
//!
//! The time that a drain takes is asked for there as well, beyond `TimeoutStopSec=`. Without the command,
//! `ExecStop=-/bin/sh -c 'kill "$MAINPID" && exec tail -s 0.1 -f /dev/null --pid="$MAINPID"'` does. The dash
//! is for a server that has ended by itself: then there is no main process to be asked.
//!
//! # Who may speak: `NotifyAccess=`
//!
//! systemd takes messages from the main process (`main`, the default of `Type=notify`), or from every process
//! of the unit (`all`). Who is not admitted is not told so: the message is dropped, with a line in systemd's
//! log ("reception only permitted for main PID"). So all that matters comes from the process that systemd
//! takes for the main one at that moment, and `main` is enough for restarts, the store and the watchdog (a
//! test sees to that). It is not enough for
//!
//! * the predecessor's word on its drain;
//! * a take-back after `MAINPID=` was sent: the successor has to die within the milliseconds until it is
//!   settled;
//! * a successor that crashes *while its predecessor drains*. systemd is not its parent yet and does not
//!   notice (it says so in its log: "We'll most likely not notice when it exits"); the predecessor does, and
//!   has systemd start the service anew. With `main` that waits for the end of the drain, and then counts as
//!   a success: only `Restart=always` starts it again.
//!
//! Hence `NotifyAccess=all` in the unit files. `exec` is like `main` here. With `none`, systemd sets no
//! NOTIFY_SOCKET, and heirloom refuses restarts as in a unit that cannot be told. A first process that is not
//! the unit's own main one (a shell script that did not `exec`) needs `all` as well.
//!
//! # The watchdog
//!
//! With `WatchdogSec=`, the main process pings twice in that time. By default that says no more than that the
//! process runs; [`Systemd::runtime`] ties it to the program's runtime (`http::run` does), and
//! [`Systemd::health`] to whatever the program knows. `WATCHDOG_PID` is left out of the successor's
//! environment, so the pings move there with the settling; the predecessor pings a last time in the message
//! that says so.
//!
//! While a start, a restart or a drain lasts, systemd waits up to 10 s longer for a ping:
//! `EXTEND_TIMEOUT_USEC` counts for the watchdog as well.
//!
//! # Sockets that outlive a crash
//!
//! With `FileDescriptorStoreMax=`, systemd keeps a copy of each listening socket from the moment that its
//! process is the service. After a crash of every process (`Restart=on-failure`), a watchdog's kill, or
//! `systemctl restart`, the next start finds them as with socket activation, and with them every connection
//! that was made meanwhile: clients wait, and none is refused. What the killed process had *accepted* is
//! lost.
//!
//! * Sockets are matched as over a restart, by name and the address that was asked for. Port 0 keeps its
//!   port. Two listeners of equal specification come in the order of their making.
//! * A socket that has a socket unit comes twice, and is recognised by its SO_COOKIE.
//! * An address that was changed to another one of the same port (`0.0.0.0:80` to `127.0.0.1:80`) is bound
//!   anew at the next start, and systemd lets go of the old one first; who was in its queue is told no.
//! * A listener that the program does not ask for any more is taken out of the store, at the latest when a
//!   generation without it is the service; a connection to it is refused from then on. One that is dropped
//!   while the process lives is taken out a second later: a program that ends by an error drops its listeners
//!   too, and its queue is to be kept.
//! * A Unix socket is found again if its path is still its own. A service that *stops* removes the path, so
//!   the next start makes another one; who was in the queue of the old one is told no.
//! * After `systemctl stop`, connections that were made during the drain and that nobody accepted any more
//!   are reset when systemd lets go of the socket. Without the store they would be refused.
//! * `FDPOLL=0` is sent along: systemd is not to drop a socket because poll reports an error on it, as on a
//!   UDP socket.
//! * A unit without `FileDescriptorStoreMax=` keeps nothing, and systemd writes a warning for each listener
//!   and generation. [`Systemd::store_listeners`] turns it off.
//!
//! # What else a unit should have
//!
//! * `SuccessExitStatus=124`: the exit status when the hammer fell at a stop
//!   ([`Ending::HAMMERED`](crate::Ending::HAMMERED)).
//! * `OOMPolicy=continue`: by default systemd stops a unit when the kernel kills *any* of its processes for
//!   want of memory, and so takes down a predecessor whose successor was too large.
//! * `KillMode=` as it is (`control-group`): with `mixed`, a predecessor that drains is killed at a stop
//!   without being asked.
//! * `RestartSec=100ms` or so: clients wait in the queue for so long.
//!
//! A predecessor that is killed before it has said `MAINPID=` ends the unit, and the successor with it: for
//! systemd, the service has crashed. With `Restart=` and the store it starts again, on the same sockets. (The
//! successor goes on and says so at once; now and then systemd 252 reads that before it looks at the death,
//! and nothing ends.)
//!
//! A crash of the main process takes a predecessor that still drains along: systemd clears the unit before it
//! starts it again.

mod generation;
mod notifier;
mod socket;
mod watchdog;

use std::fmt;
use std::io;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) use self::generation::Generation;
pub(crate) use self::notifier::Notifier;
use self::watchdog::Health;
use crate::sys::environment;

/// What [`Builder::systemd`](crate::Builder::systemd) is to do, where systemd (or another manager that speaks
/// its protocol) listens. [`Restarter::new`](crate::Restarter::new),
/// [`Restarter::builder`](crate::Restarter::builder) and `http::run` ask for it by themselves.
///
/// ```no_run
/// use heirloom::{Restarter, systemd::Systemd};
///
/// # async fn example() -> Result<(), heirloom::StartError> {
/// let watched = Systemd::new().runtime(tokio::runtime::Handle::current());
/// let restarter = Restarter::builder().systemd(watched).start()?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "for Builder::systemd"]
pub struct Systemd {
    health: Option<Health>,
    stores: bool,
}

impl Systemd {
    /// Everything that the unit asks for: notification, the watchdog (`WatchdogSec=`), and the listening
    /// sockets in systemd's store (`FileDescriptorStoreMax=`).
    pub fn new() -> Systemd {
        Systemd { health: None, stores: true }
    }

    /// The watchdog is told that all is well only when this says so. Called twice in each `WatchdogSec=`, on
    /// a thread of its own: if it hangs or panics, all is not well.
    ///
    /// Without it (or [`runtime`](Self::runtime)) a ping says that the process runs at all, and nothing of
    /// what it is for.
    pub fn health(mut self, is_well: impl Fn() -> bool + Send + Sync + 'static) -> Systemd {
        self.health = Some(Arc::new(is_well));
        self
    }

    /// A [`health`](Self::health) that asks whether this runtime still runs tasks: one whose threads are all
    /// blocked, or spin, does not.
    pub fn runtime(self, runtime: tokio::runtime::Handle) -> Systemd {
        self.health(move || {
            let (done, heard) = mpsc::sync_channel(1);
            runtime.spawn(async move { done.send(()) });
            // However long: until then nobody is told that all is well. Dropped with a runtime that has
            // ended.
            heard.recv().is_ok()
        })
    }

    /// Whether systemd is given the listening sockets to keep; yes by default. A unit without
    /// `FileDescriptorStoreMax=` keeps none, and systemd writes a line into its log for each; this avoids
    /// that.
    pub fn store_listeners(mut self, on: bool) -> Systemd {
        self.stores = on;
        self
    }

    /// For the process that speaks for the service; `None` where no service manager listens.
    pub(crate) fn notifier(&self) -> io::Result<Option<Notifier>> {
        let socket = environment::variable("NOTIFY_SOCKET").filter(|socket| !socket.is_empty());
        socket.map(|socket| Notifier::start(&socket, self.health.clone())).transpose()
    }

    /// For a process that restarts itself.
    pub(crate) fn begin(&self, generation: u64, patience: Duration) -> io::Result<Option<Mutex<Generation>>> {
        let Some(notifier) = self.notifier()? else { return Ok(None) };
        let patience = patience.saturating_add(SLACK);
        Ok(Some(Mutex::new(Generation::new(notifier, generation, patience, self.stores))))
    }
}

impl Default for Systemd {
    fn default() -> Systemd {
        Systemd::new()
    }
}

impl fmt::Debug for Systemd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Systemd { health, stores } = self;
        f.debug_struct("Systemd").field("health", &health.is_some()).field("stores", stores).finish()
    }
}

/// What a start or a restart takes beyond its deadlines: a kill, and the announcement.
const SLACK: Duration = Duration::from_secs(10);
