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

/// Tells the service manager, in the order of the calls. No call waits. Clones share the thread, which ends with the
/// last of them.
#[derive(Clone, Debug)]
pub(crate) struct Notifier {
    orders: mpsc::Sender<Order>,
}

/// Whether the program is well, asked before each ping of the watchdog.
pub(crate) type Health = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Debug)]
enum Order {
    Tell(String),
    MainPid { message: String, done: oneshot::Sender<()> },
    Store { name: String, fd: Arc<OwnedFd> },
    Discard { name: String, at: Instant },
    Barrier { done: mpsc::Sender<()> },
    Watch(bool),
    Healthy,
    Extend(Option<Instant>),
}

impl Notifier {
    /// Starts the thread. `socket` as NOTIFY_SOCKET has it.
    ///
    /// # Errors
    ///
    /// The name means no socket, or threads or descriptors have run out. Whether somebody listens there is not looked
    /// at.
    pub(crate) fn start(socket: &OsStr, health: Option<Health>) -> io::Result<Notifier> {
        let manager = Manager::at(socket)?;
        let (orders, received) = mpsc::channel();
        // Without pings there is nothing to be well for.
        let interval = watchdog(|name| env::var(name).ok(), std::process::id()).map(|limit| limit / 2);
        let check = match (health, interval) {
            (Some(health), Some(_)) => Some(check(health, orders.clone())?),
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

    /// A restart begins. Both in one message: systemd 253 and newer take a RELOADING=1 without a time for older than
    /// the signal that they wait for an answer to.
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

    /// Another process is the main one from now on, and ready. Resolves when the manager has acted on that, or is not
    /// waited for any longer; an error means the same.
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

    /// The service has failed beyond what this process can mend: the manager is to start it anew, as for a watchdog that
    /// ran out.
    pub(crate) fn give_up(&self, status: &str) {
        self.tell(format!("STATUS={}\nWATCHDOG=trigger", line(status)));
    }

    /// The manager keeps a copy of this descriptor for the next start. What it has already it does not take twice.
    pub(crate) fn store(&self, name: String, fd: Arc<OwnedFd>) {
        self.order(Order::Store { name, fd });
    }

    /// The manager closes its copy, unless this process ends within `delay`.
    pub(crate) fn discard(&self, name: String, delay: Duration) {
        self.order(Order::Discard { name, at: Instant::now() + delay });
    }

    /// Waits until the manager has acted on all of that, as long as for a new main process. Blocks the thread.
    pub(crate) fn wait(&self) {
        let (done, heard) = mpsc::channel();
        self.order(Order::Barrier { done });
        let _ = heard.recv();
    }

    /// Whether this process is the one that the watchdog hears: pings begin at once.
    pub(crate) fn watch(&self, on: bool) {
        self.order(Order::Watch(on));
    }

    /// Whatever the manager waits for may take until then: told piece by piece, so that a process that hangs meanwhile
    /// is noticed.
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
                // Whoever has stopped waiting knows why.
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

/// Asks for the program's health on a thread of its own: one that hangs must hold up the pings and nothing else.
fn check(health: Health, orders: mpsc::Sender<Order>) -> io::Result<mpsc::SyncSender<()>> {
    let (ask, asked) = mpsc::sync_channel(1);
    thread::Builder::new().name("heirloom-health".to_owned()).spawn(move || {
        while asked.recv().is_ok() {
            let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| health()));
            if matches!(is_well, Ok(true)) {
                let _ = orders.send(Order::Healthy);
            }
        }
    })?;
    Ok(ask)
}

/// How long the watchdog waits for a ping, if one is to be heard from this process.
fn watchdog(variable: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    // A successor finds no WATCHDOG_PID: its id was not known when its environment was made.
    let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    (is_meant && limit > 0).then(|| Duration::from_micros(limit))
}

/// A message is made of lines.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// How long the manager may take to act on MAINPID=. Below the driver's own deadline for the announcement (5 s), so
/// that what comes after it still fits in; a manager that hangs must not keep two generations alive.
const BARRIER: Duration = Duration::from_secs(3);

/// How much more time is asked for at once, and twice as often: long enough for a machine that is busy, and for the exit
/// after a drain; short enough that a process which hangs is found out by the manager's own timeouts.
const EXTENSION: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    fn manager(name: &str) -> (UnixDatagram, Notifier) {
        let name = format!("heirloom-{name}-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        (socket, Notifier::start(OsStr::new(&format!("@{name}")), None).unwrap())
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 1000];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_come_whole_and_in_order() {
        let (socket, notifier) = manager("order");
        notifier.reloading("one\ntwo");
        notifier.ready("serving");
        notifier.stopping("the end");
        let first = heard(&socket);
        let lines: Vec<_> = first.lines().collect();
        assert_eq!((lines[0], lines[2]), ("RELOADING=1", "STATUS=one two"));
        let now = Duration::from(ClockId::CLOCK_MONOTONIC.now().unwrap());
        let told: u64 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(now - Duration::from_micros(told) < Duration::from_secs(20));
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
        assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=the end");
    }

    #[test]
    fn a_new_main_process_is_waited_for() {
        let (socket, notifier) = manager("main-pid");
        let done = notifier.main_pid(4711, Some("serving"));
        assert_eq!(heard(&socket), "MAINPID=4711\nREADY=1\nWATCHDOG=1\nSTATUS=serving");
        // Read without room for its descriptor, the barrier closes it.
        assert_eq!(heard(&socket), "BARRIER=1");
        done.blocking_recv().unwrap();
    }

    #[test]
    fn what_is_taken_out_at_once_does_not_wait_for_what_is_taken_out_later() {
        let (socket, notifier) = manager("discard");
        notifier.discard("later".to_owned(), Duration::from_millis(20));
        notifier.discard("now".to_owned(), Duration::ZERO);
        assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=now");
        assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=later");
    }

    #[test]
    fn the_watchdog_is_ours_or_a_successors() {
        let variables = |limit: &'static str, pid: Option<&'static str>| {
            let get = move |name: &str| match name {
                "WATCHDOG_USEC" => Some(limit.to_owned()),
                _ => pid.map(str::to_owned),
            };
            watchdog(get, 7)
        };
        let two = Some(Duration::from_secs(2));
        assert_eq!(variables("2000000", Some("7")), two);
        assert_eq!(variables("2000000", None), two);
        assert_eq!(variables("2000000", Some("8")), None);
        assert_eq!(variables("0", None), None);
        assert_eq!(variables("soon", None), None);
    }

    #[test]
    fn time_is_asked_for_piece_by_piece() {
        let (socket, notifier) = manager("extend");
        notifier.extend(Some(Instant::now() + Duration::from_secs(60)));
        assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=10000000");
        notifier.extend(None);
        notifier.status("done");
        assert_eq!(heard(&socket), "STATUS=done");
    }
}
