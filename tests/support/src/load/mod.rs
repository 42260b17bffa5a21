//! A load client that hides nothing: raw sockets, no retry, every failure counted by its kind.
//!
//! Connections, and how answers are read on them, are those of `heirloom prove`. Between the look for a FIN and
//! the first byte of a request there is nothing, unless [`Look::ThenWait`] asks for it.
#![allow(dead_code, unused_imports, unreachable_pub, reason = "each test and script uses its own part of it")]

mod answer;
mod client;
mod report;
mod target;
#[path = "../../../../src/bin/heirloom/prove/wire/mod.rs"]
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::{Client, Plan, Stop};

pub use answer::{Answer, fetch, request};
pub use report::{Failure, Report};
pub use target::Target;
pub(crate) use wire::{Body, Head, Socket};

/// How each client behaves.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Connects, asks once, reads the answer, closes.
    NewConnection { clients: usize, think: Think },
    /// Keeps its connection until it is told to close, or finds it closed.
    KeepAlive { clients: usize, think: Think, look: Look },
}

/// The pause between two requests of one client, drawn evenly from a range.
#[derive(Clone, Copy, Debug)]
pub struct Think {
    from: Duration,
    to: Duration,
}

/// What a keep-alive client does about a close that it may not have seen yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Looks for a FIN and sends at once.
    ThenSend,
    /// Looks for a FIN and sends this much later, as a round trip would make it.
    ThenWait(Duration),
    /// Sends without looking.
    Never,
}

/// Which bodies count as right.
#[derive(Clone, Debug)]
pub enum Expect {
    Anything,
    Number,
    StartsWith(&'static str),
}

/// A running load; stops when dropped.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the load on `path`; `/pid` and `/generation` must answer numbers, `/` a greeting.
    pub fn start(target: &Target, mode: Mode, path: &str) -> Load {
        let expect = match path {
            "/" => Expect::StartsWith("Hello"),
            "/pid" | "/generation" => Expect::Number,
            _ => Expect::Anything,
        };
        Load::start_expecting(target, mode, path, expect, PATIENCE)
    }

    /// Like [`Load::start`], with what counts as a right body and how long an answer may take.
    pub fn start_expecting(
        target: &Target,
        mode: Mode,
        path: &str,
        expect: Expect,
        patience: Duration,
    ) -> Load {
        let shared = Arc::new(Shared::new(Report::new(mode.to_string())));
        let plan = Arc::new(Plan::new(target.clone(), mode, path, expect, patience));
        let stop = Arc::<Stop>::default();
        let clients = (0..plan.mode.clients()).map(|number| {
            let client = Client::new(Arc::clone(&plan), Arc::clone(&shared), number);
            let stop = Arc::clone(&stop);
            let thread = std::thread::Builder::new().name(format!("client {number}")).stack_size(STACK);
            thread.spawn(move || client.run(&stop)).expect("a thread for a client")
        });
        Load { clients: clients.collect(), shared, stop }
    }

    /// Waits until `count` more requests have ended, well or badly.
    ///
    /// # Panics
    /// When that takes longer than four minutes: then nothing is being answered.
    pub fn wait_for_requests(&self, count: u64) {
        let deadline = Instant::now() + PATIENCE * 8;
        let mut report = self.shared.report.lock().unwrap();
        let wanted = report.requests + count;
        self.shared.wanted.fetch_min(wanted, Ordering::Relaxed);
        while report.requests < wanted {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "too few answers\n{}\n{report}", Report::HEADER);
            report = self.shared.progress.wait_timeout(report, left).unwrap().0;
            self.shared.wanted.fetch_min(wanted, Ordering::Relaxed);
        }
    }

    /// What happened so far.
    pub fn report(&self) -> Report {
        self.shared.report.lock().unwrap().clone()
    }

    /// Lets each client end the request it is in, then reports.
    pub fn stop(mut self) -> Report {
        self.end();
        self.report()
    }

    fn end(&mut self) {
        self.stop.say();
        for client in self.clients.drain(..) {
            client.join().expect("a client does not panic");
        }
        self.shared.report.lock().unwrap().finish();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.end();
        }
        self.stop.say();
    }
}

impl Mode {
    /// A new connection for each request.
    pub fn new_connections(clients: usize, think: Think) -> Mode {
        Mode::NewConnection { clients, think }
    }

    /// Keep-alive that looks for a FIN before each request.
    pub fn keep_alive(clients: usize, think: Think) -> Mode {
        Mode::KeepAlive { clients, think, look: Look::ThenSend }
    }

    /// Keep-alive that looks for a FIN, and sends a round trip of 2 ms later.
    pub fn keep_alive_late(clients: usize, think: Think) -> Mode {
        Mode::KeepAlive { clients, think, look: Look::ThenWait(ROUND_TRIP) }
    }

    pub fn clients(&self) -> usize {
        match *self {
            Mode::NewConnection { clients, .. } | Mode::KeepAlive { clients, .. } => clients,
        }
    }

    pub fn think(&self) -> Think {
        match *self {
            Mode::NewConnection { think, .. } | Mode::KeepAlive { think, .. } => think,
        }
    }
}

impl Think {
    pub const NONE: Think = Think { from: Duration::ZERO, to: Duration::ZERO };

    pub fn millis(from: u64, to: u64) -> Think {
        assert!(from <= to, "a think time from {from} to {to} ms");
        Think { from: Duration::from_millis(from), to: Duration::from_millis(to) }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Mode::NewConnection { .. } => "new".to_owned(),
            Mode::KeepAlive { look: Look::ThenSend, .. } => "keep".to_owned(),
            Mode::KeepAlive { look: Look::ThenWait(wait), .. } => format!("keep+{}ms", wait.as_millis()),
            Mode::KeepAlive { look: Look::Never, .. } => "keep-blind".to_owned(),
        };
        let Think { from, to } = self.think();
        write!(f, "{kind} x{} think {}-{}", self.clients(), from.as_millis(), to.as_millis())
    }
}

/// What the clients and the handle both see.
#[derive(Debug)]
struct Shared {
    report: Mutex<Report>,
    progress: Condvar,
    /// The count somebody waits for: a notification per request would be a system call per request.
    wanted: AtomicU64,
}

impl Shared {
    fn new(report: Report) -> Shared {
        Shared { report: Mutex::new(report), progress: Condvar::new(), wanted: AtomicU64::new(u64::MAX) }
    }

    fn record(&self, change: impl FnOnce(&mut Report)) {
        let mut report = self.report.lock().unwrap();
        change(&mut report);
        // Written and read under the lock: a waiter that lowers it sees this count, or is seen by it.
        if report.requests >= self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(u64::MAX, Ordering::Relaxed);
            self.progress.notify_all();
        }
    }
}

/// Longer than three lost SYNs (1 + 2 + 4 s), so that a full queue shows as latency and only silence as a
/// timeout.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A client needs little.
const STACK: usize = 256 * 1024;

/// A round trip within one country.
const ROUND_TRIP: Duration = Duration::from_millis(2);
