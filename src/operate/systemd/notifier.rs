//! A thread that talks to the service manager, so that nobody else has to wait for it.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::ClockId;
use tokio::sync::oneshot;

use super::socket::Manager;
use super::watchdog::{self, Health};

/// Tells the service manager, in the order of the calls. Only `flush` waits. Clones share the thread, which
/// ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Notifier {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
enum Order {
    Tell(String),
    MainPid { message: String, done: oneshot::Sender<()> },
    Store { name: String, fd: Arc<OwnedFd> },
    Discard { name: String, at: Instant },
    Barrier { done: mpsc::Sender<()> },
    Flush { done: mpsc::Sender<()> },
    Watch(bool),
    Healthy,
    Extend(Option<Instant>),
}

impl Notifier {
    /// Starts the thread. `socket` as NOTIFY_SOCKET has it.
    ///
    /// # Errors
    ///
    /// The name means no socket, or threads or descriptors have run out. Whether somebody listens there is
    /// not looked at.
    pub(crate) fn start(socket: &OsStr, health: Option<Health>) -> io::Result<Notifier> {
        let manager = Manager::at(socket)?;
        let (orders, received) = mpsc::channel();
        // Without pings there is nothing to be well for.
        let limit = watchdog::limit(|name| env::var(name).ok(), std::process::id());
        let interval = limit.map(|limit| limit / 2);
        let check = match (health, interval) {
            (Some(health), Some(_)) => {
                let orders = orders.clone();
                Some(watchdog::check(health, move || drop(orders.send(Order::Healthy)))?)
            }
            _ => None,
        };
        let talk = Talk {
            manager,
            interval,
            check,
            ping: None,
            extend: None,
            discards: VecDeque::new(),
            is_unheard: false,
        };
        thread::Builder::new().name("heirloom-notify".to_owned()).spawn(move || talk.run(&received))?;
        Ok(Notifier { orders })
    }

    /// The service accepts; also what ends [`reloading`](Self::reloading), however that went.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(format!("READY=1\nSTATUS={}", line(status)));
    }

    /// A restart begins. Both in one message: systemd 253 and newer take a RELOADING=1 without a time for
    /// older than the signal that they wait for an answer to.
    pub(crate) fn reloading(&self, status: &str) {
        let now = ClockId::CLOCK_MONOTONIC.now().map(Duration::from).unwrap_or_default();
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS={}", now.as_micros(), line(status)));
    }

    /// The service ends. Never said of a process that has a successor.
    pub(crate) fn stopping(&self, status: &str) {
        self.tell(format!("STOPPING=1\nSTATUS={}", line(status)));
    }

    pub(crate) fn status(&self, status: &str) {
        self.tell(format!("STATUS={}", line(status)));
    }

    /// Another process is the main one from now on, and ready. Resolves when the manager has acted on that,
    /// or is not waited for any longer; an error means the same.
    pub(crate) fn main_pid(&self, pid: u32, status: Option<&str>) -> oneshot::Receiver<()> {
        let (done, heard) = oneshot::channel();
        // The ping goes along: until the new one's first, the watchdog has nobody else.
        let mut message = format!("MAINPID={pid}\nREADY=1\nWATCHDOG=1");
        if let Some(status) = status {
            message.push_str("\nSTATUS=");
            message.push_str(&line(status));
        }
        self.order(Order::MainPid { message, done });
        heard
    }

    /// The service has failed beyond what this process can mend: the manager is to start it anew, as for a
    /// watchdog that ran out.
    pub(crate) fn give_up(&self, status: &str) {
        self.tell(format!("STATUS={}\nWATCHDOG=trigger", line(status)));
    }

    /// The manager keeps a copy of this descriptor for the next start. What it has already it does not take
    /// twice.
    pub(crate) fn store(&self, name: String, fd: Arc<OwnedFd>) {
        self.order(Order::Store { name, fd });
    }

    /// The manager closes its copy, unless this process ends within `delay`.
    pub(crate) fn discard(&self, name: String, delay: Duration) {
        self.order(Order::Discard { name, at: Instant::now() + delay });
    }

    /// Waits until the manager has acted on all of that, as long as for a new main process. Blocks the
    /// thread.
    pub(crate) fn wait(&self) {
        let (done, heard) = mpsc::channel();
        self.order(Order::Barrier { done });
        let _ = heard.recv();
    }

    /// Waits until all of that is sent, which the end of the process would prevent; not for long, since the
    /// manager may hang. Blocks the thread.
    pub(crate) fn flush(&self) {
        let (done, heard) = mpsc::channel();
        self.order(Order::Flush { done });
        let _ = heard.recv_timeout(FLUSH);
    }

    /// Whether this process is the one that the watchdog hears: pings begin at once.
    pub(crate) fn watch(&self, on: bool) {
        self.order(Order::Watch(on));
    }

    /// Whatever the manager waits for may take until then: told piece by piece, so that a process that hangs
    /// meanwhile is noticed.
    pub(crate) fn extend(&self, until: Option<Instant>) {
        self.order(Order::Extend(until));
    }

    fn tell(&self, message: String) {
        self.order(Order::Tell(message));
    }

    /// The thread lives as long as there is somebody to order.
    fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// How long an end waits for its last words to be sent: that takes microseconds, and a busy machine
/// milliseconds; nobody is to be held up by them.
const FLUSH: Duration = Duration::from_secs(1);

/// The thread's state.
struct Talk {
    manager: Manager,
    /// How often to ping.
    interval: Option<Duration>,
    /// Where to ask for the program's health; the answer comes as an order.
    check: Option<mpsc::SyncSender<()>>,
    ping: Option<Instant>,
    /// When to ask for more time next, and until when.
    extend: Option<(Instant, Instant)>,
    discards: VecDeque<(Instant, String)>,
    is_unheard: bool,
}

impl Talk {
    fn run(mut self, orders: &mpsc::Receiver<Order>) {
        loop {
            let discard = self.discards.front().map(|(at, _)| *at);
            let due = [self.ping, self.extend.map(|(next, _)| next), discard].into_iter().flatten().min();
            let order = match due {
                Some(due) => orders.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => orders.recv().map_err(RecvTimeoutError::from),
            };
            match order {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.do_what_is_due(Instant::now());
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Tell(message) => self.send(&message, None),
            Order::MainPid { message, done } => {
                self.send(&message, None);
                self.wait();
                // If nobody waits any more, nobody wants the answer.
                let _ = done.send(());
            }
            Order::Store { name, fd } => {
                // FDPOLL=0: a listener stays, whatever state poll would find it in.
                self.send(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0"), Some(&fd));
            }
            Order::Discard { name, at } => {
                let place = self.discards.partition_point(|(other, _)| *other <= at);
                self.discards.insert(place, (at, name));
            }
            Order::Flush { done } => drop(done.send(())),
            Order::Barrier { done } => {
                self.wait();
                let _ = done.send(());
            }
            Order::Watch(on) => self.ping = (on && self.interval.is_some()).then(Instant::now),
            // Answered late, by a process that is not the one to ping any more.
            Order::Healthy if self.ping.is_none() => {}
            Order::Healthy => self.send("WATCHDOG=1", None),
            Order::Extend(until) => self.extend = until.map(|until| (Instant::now(), until)),
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if let (Some(due), Some(interval)) = (self.ping, self.interval)
            && now >= due
        {
            self.ping = Some(now + interval);
            match &self.check {
                // A check that is still at work gets no second question, and the watchdog no ping.
                Some(check) => drop(check.try_send(())),
                None => self.send("WATCHDOG=1", None),
            }
        }
        if let Some((due, until)) = self.extend
            && now >= due
        {
            let left = until.saturating_duration_since(now);
            self.extend = (!left.is_zero()).then(|| (now + EXTENSION / 2, until));
            self.send(&format!("EXTEND_TIMEOUT_USEC={}", EXTENSION.as_micros()), None);
        }
        while self.discards.front().is_some_and(|(at, _)| now >= *at) {
            let Some((_, name)) = self.discards.pop_front() else { break };
            self.send(&format!("FDSTOREREMOVE=1\nFDNAME={name}"), None);
        }
    }

    fn wait(&self) {
        if let Err(error) = self.manager.barrier(BARRIER) {
            say!(warn: %error, "the service manager does not say that it has heard");
        }
    }

    fn send(&mut self, message: &str, fd: Option<&OwnedFd>) {
        let fds: Vec<_> = fd.iter().map(AsFd::as_fd).collect();
        match self.manager.send(message, &fds) {
            Ok(()) => {
                self.is_unheard = false;
                say!(trace: message, "told the service manager");
            }
            // Once, and not with every ping.
            Err(error) if !std::mem::replace(&mut self.is_unheard, true) => {
                say!(warn: %error, message, "cannot tell the service manager");
            }
            Err(error) => say!(debug: %error, message, "cannot tell the service manager"),
        }
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").field("manager", &self.manager).finish_non_exhaustive()
    }
}

/// A message is made of lines.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// How long the manager may take to act on MAINPID=. Below the driver's own deadline for the announcement (5
/// s), so that what comes after it still fits in; a manager that hangs must not keep two generations alive.
const BARRIER: Duration = Duration::from_secs(3);

/// How much more time is asked for at once, and twice as often: long enough for a machine that is busy, and
/// for the exit after a drain; short enough that a process which hangs is found out by the manager's own
/// timeouts.
const EXTENSION: Duration = Duration::from_secs(10);

#[cfg(test)]
pub(super) mod tests;
