//! The clients: each kind does one thing that clients of the world do, over and over, and tries nothing
//! twice.

mod http1;
mod http2;
mod sessions;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::kernel;
use super::record::{Exchange, Lost, Record};
use super::url::Url;
use super::wire::{Symptom, Trouble, Wire};

#[cfg(feature = "tls")]
pub(super) use tls::Tls;

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    New,
    Early,
    Kept,
    Trip,
    Blind,
    Pipelined,
    HalfClosed,
    SlowReader,
    SlowWriter,
    Upload,
    Slow,
    Http2,
    WebSocket,
    Events,
}

/// What all clients know.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) url: Url,
    /// Where these are, if they are elsewhere.
    pub(super) large: Option<String>,
    pub(super) slow: Option<String>,
    pub(super) upload: Option<String>,
    pub(super) websocket: Option<String>,
    pub(super) events: Option<String>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<Tls>,
    /// How long an answer may take, besides what the client itself takes.
    pub(super) patience: Duration,
    pub(super) most_latency: Option<Duration>,
    /// The server is on this machine, so the kernel knows which process serves a connection.
    pub(super) is_local: bool,
}

/// All that run.
#[derive(Debug)]
pub(super) struct Clients {
    record: Arc<Record>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// One of them.
struct Client {
    kind: Kind,
    plan: Arc<Plan>,
    record: Arc<Record>,
    /// What is kept between two exchanges.
    wire: Option<Wire>,
    /// The next stream of HTTP/2, or message.
    turn: u32,
    /// How a stream of events comes, and what is left of it.
    is_chunked: bool,
    heard: Vec<u8>,
    /// The status without a restart.
    expected: Option<u16>,
    dice: Dice,
    stop: Arc<AtomicBool>,
}

impl Plan {
    pub(super) fn is_tls(&self) -> bool {
        self.url.is_tls
    }
}

impl Kind {
    pub(super) const ALL: [Kind; 14] = [
        Kind::New,
        Kind::Early,
        Kind::Kept,
        Kind::Trip,
        Kind::Blind,
        Kind::Pipelined,
        Kind::HalfClosed,
        Kind::SlowReader,
        Kind::SlowWriter,
        Kind::Upload,
        Kind::Slow,
        Kind::Http2,
        Kind::WebSocket,
        Kind::Events,
    ];

    pub(super) fn name(self) -> &'static str {
        self.words().0
    }

    pub(super) fn meaning(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::New => ("new", "a new connection for each request"),
            Kind::Early => ("early", "connects, and asks up to half a second later"),
            Kind::Kept => ("kept", "one connection; looks for its end before each request"),
            Kind::Trip => {
                ("round-trip", "the same, with 2 ms between the look and the request, as over a network")
            }
            Kind::Blind => ("blind", "one connection; never looks for its end"),
            Kind::Pipelined => ("pipelined", "four requests at once on one connection"),
            Kind::HalfClosed => ("half-closed", "ends its own direction behind the request"),
            Kind::SlowReader => ("slow-reader", "reads the answer in small pieces"),
            Kind::SlowWriter => ("slow-writer", "sends the head of its request in small pieces"),
            Kind::Upload => ("upload", "sends a body for half a second"),
            Kind::Slow => ("slow", "asks for what takes the server long"),
            Kind::Http2 => ("http2", "one connection of HTTP/2, one stream after the other"),
            Kind::WebSocket => ("websocket", "a WebSocket, and the echo of each message"),
            Kind::Events => ("events", "a stream of events"),
        }
    }

    /// Whether its times say how quickly the server answers, and nothing of the client itself.
    pub(super) fn is_quick(self) -> bool {
        matches!(self, Kind::New | Kind::Kept | Kind::Trip | Kind::Blind)
    }

    /// Between two exchanges, in milliseconds.
    fn think(self) -> (u64, u64) {
        match self {
            Kind::Kept | Kind::Trip | Kind::Blind | Kind::Pipelined | Kind::Http2 | Kind::WebSocket => {
                (0, 20)
            }
            _ => (2, 10),
        }
    }
}

impl Clients {
    /// Starts so many of each kind.
    pub(super) fn start(plan: &Arc<Plan>, kinds: &[(Kind, u16)], each: usize) -> Result<Clients, String> {
        let (record, stop) = (Arc::<Record>::default(), Arc::<AtomicBool>::default());
        let mut clients = Clients { record, stop, threads: Vec::new() };
        for (kind, status) in kinds {
            for _ in 0..each {
                let (number, stop) = (clients.threads.len(), Arc::clone(&clients.stop));
                let record = Arc::clone(&clients.record);
                let client = Client::new(*kind, Arc::clone(plan), record, Some(*status), number, stop);
                let thread = thread::Builder::new().name(kind.name().to_owned()).stack_size(STACK);
                let thread = thread.spawn(move || client.run());
                clients.threads.push(thread.map_err(|error| format!("no thread for a client: {error}"))?);
            }
        }
        Ok(clients)
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Each finishes what it is doing.
    pub(super) fn stop(mut self) -> Arc<Record> {
        self.end();
        Arc::clone(&self.record)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.end();
    }
}

/// What each kind gets while nothing is restarted: its status, or why it cannot be had.
pub(super) fn calm(plan: &Arc<Plan>, kinds: &[Kind]) -> Vec<(Kind, Result<u16, Trouble>)> {
    let tries: Vec<_> = kinds
        .iter()
        .map(|kind| {
            let (kind, plan) = (*kind, Arc::clone(plan));
            (kind, thread::spawn(move || try_out(kind, plan)))
        })
        .collect();
    tries.into_iter().filter_map(|(kind, tried)| Some((kind, tried.join().ok()?))).collect()
}

/// Twice, so that a kept connection is used again.
fn try_out(kind: Kind, plan: Arc<Plan>) -> Result<u16, Trouble> {
    let mut client = Client::new(kind, plan, Arc::default(), None, 0, Arc::default());
    client.exchange()?;
    client.exchange().map(|(status, _)| status)
}

impl Client {
    fn new(
        kind: Kind,
        plan: Arc<Plan>,
        record: Arc<Record>,
        expected: Option<u16>,
        number: usize,
        stop: Arc<AtomicBool>,
    ) -> Client {
        let (wire, heard, dice) = (None, Vec::new(), Dice::new(number));
        Client { kind, plan, record, wire, turn: 1, is_chunked: false, heard, expected, dice, stop }
    }

    fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            match self.exchange() {
                Ok((_, took)) => self.record.good(Exchange { kind: self.kind, began, took }),
                Err(trouble) => {
                    self.wire = None;
                    self.lost(began, trouble);
                    // A server that is away is not asked a thousand times a second.
                    thread::sleep(PAUSE);
                }
            }
            let (least, most) = self.kind.think();
            thread::sleep(Duration::from_millis(self.dice.between(least, most)));
        }
    }

    fn lost(&self, began: Instant, mut trouble: Trouble) {
        if let Symptom::Own(why) = &trouble.symptom {
            return self.record.hitch(self.kind, why.clone());
        }
        if trouble.symptom == Symptom::Silent {
            trouble.server = self.server_of(&trouble);
        }
        self.record.lost(Lost { kind: self.kind, began, ended: Instant::now(), trouble });
    }
}

/// Numbers that need not be secret.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    fn new(seed: usize) -> Dice {
        Dice(0x9E37_79B9_7F4A_7C15 ^ ((seed as u64 + 1) << 17))
    }

    /// xorshift.
    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        least + self.0 % (most - least + 1)
    }
}

/// A client needs little.
const STACK: usize = 256 * 1024;

/// After a loss.
const PAUSE: Duration = Duration::from_millis(10);
