//! What each kind of client of HTTP/1 does, once.

use std::thread;
use std::time::{Duration, Instant};

use super::super::record::FoundClosed;
use super::super::wire::{Attempt, Look, Symptom, Trouble, Wire};
use super::{Client, Kind, kernel};

/// A status, and how long the server took for it.
pub(super) type Exchanged = Result<(u16, Duration), Trouble>;

/// Which of the paths that the user has named.
#[derive(Clone, Copy, Debug)]
enum Path {
    Usual,
    Large,
    Slow,
    Upload,
}

impl Client {
    pub(super) fn exchange(&mut self) -> Exchanged {
        match self.kind {
            Kind::New => self.ask(Path::Usual),
            Kind::Slow => self.ask(Path::Slow),
            Kind::Early => self.early(),
            Kind::HalfClosed => self.half_closed(),
            Kind::SlowReader => self.slow_reader(),
            Kind::SlowWriter => self.slow_writer(),
            Kind::Upload => self.upload(),
            Kind::Kept | Kind::Trip | Kind::Blind => self.kept(1),
            Kind::Pipelined => self.kept(AT_ONCE),
            Kind::Http2 => self.http2(),
            Kind::WebSocket => self.websocket(),
            Kind::Events => self.events(),
        }
    }

    /// A connection for one request.
    fn ask(&self, path: Path) -> Exchanged {
        let began = Instant::now();
        let mut wire = self.connect()?;
        wire.begin(self.deadline());
        wire.send(&self.request(path, true))?;
        let answer = wire.answer()?;
        self.judge(&wire, answer.status, began)
    }

    /// As browsers do, that connect before they know what for.
    fn early(&mut self) -> Exchanged {
        let mut wire = self.connect()?;
        thread::sleep(Duration::from_millis(self.dice.between(50, 500)));
        if matches!(wire.look(), Look::Closed | Look::Reset) {
            // It had not been used, so nothing is lost.
            self.found_closed(&wire);
            wire = self.connect()?;
        }
        let began = Instant::now();
        wire.begin(self.deadline());
        wire.send(&self.request(Path::Usual, true))?;
        let answer = wire.answer()?;
        self.judge(&wire, answer.status, began)
    }

    fn half_closed(&self) -> Exchanged {
        let began = Instant::now();
        let mut wire = self.connect()?;
        wire.begin(self.deadline());
        wire.send(&self.request(Path::Usual, false))?;
        wire.end_sending()?;
        let answer = wire.answer()?;
        self.judge(&wire, answer.status, began)
    }

    fn slow_reader(&self) -> Exchanged {
        let began = Instant::now();
        let mut wire = self.connect()?;
        wire.shrink_buffer();
        wire.begin(self.deadline() + AWHILE);
        wire.send(&self.request(Path::Large, true))?;
        let answer = wire.answer_slowly(AWHILE)?;
        self.judge(&wire, answer.status, began)
    }

    fn slow_writer(&self) -> Exchanged {
        let mut wire = self.connect()?;
        let request = self.request(Path::Usual, true);
        wire.begin(self.deadline() + AWHILE);
        let (most, last) = request.split_at(request.len() - 1);
        for piece in most.chunks(most.len().div_ceil(PIECES)) {
            wire.send(piece)?;
            thread::sleep(AWHILE / PIECES as u32);
        }
        let began = Instant::now();
        wire.send(last)?;
        let answer = wire.answer()?;
        self.judge(&wire, answer.status, began)
    }

    fn upload(&self) -> Exchanged {
        let mut wire = self.connect()?;
        wire.begin(self.deadline() + AWHILE);
        let (path, host) = (self.path(Path::Upload), &self.plan.url.host);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
            PIECES * PIECE.len()
        );
        wire.send(head.as_bytes())?;
        wire.uploads();
        let mut began = Instant::now();
        for _ in 0..PIECES {
            // An answer may come before the end of the request, and be complete.
            let is_answered = wire.look() == Look::Spoke;
            match wire.send(PIECE) {
                Err(_) if is_answered => break,
                sent => sent?,
            }
            began = Instant::now();
            thread::sleep(AWHILE / PIECES as u32);
        }
        let answer = wire.answer()?;
        self.judge(&wire, answer.status, began)
    }

    /// On one connection, for as long as the server keeps it.
    fn kept(&mut self, at_once: usize) -> Exchanged {
        let mut began = Instant::now();
        let mut wire = match self.wire.take() {
            Some(wire) if self.kind == Kind::Blind => wire,
            Some(mut wire) => match wire.look() {
                Look::Quiet => wire,
                // Closed, or told something that nobody has asked for, as of a timeout.
                Look::Closed | Look::Reset | Look::Spoke => {
                    self.found_closed(&wire);
                    self.connect()?
                }
            },
            None => self.connect()?,
        };
        if self.kind == Kind::Trip {
            thread::sleep(ROUND_TRIP);
            began = Instant::now();
        }
        wire.begin(self.deadline());
        wire.send(&self.request(Path::Usual, false).repeat(at_once))?;
        let mut exchanged = (0, Duration::ZERO);
        for _ in 0..at_once {
            let answer = wire.answer()?;
            exchanged = self.judge(&wire, answer.status, began)?;
            if answer.closes {
                // What came behind this request was not looked at, and the client knows that.
                self.record.told(self.kind);
                return Ok(exchanged);
            }
        }
        self.wire = Some(wire);
        Ok(exchanged)
    }

    pub(super) fn judge(&self, wire: &Wire, status: u16, began: Instant) -> Exchanged {
        let took = began.elapsed();
        // Before anything is known of the server, an error of its own is none of the client's doing.
        let is_as_expected = self.expected.map_or(status < 500, |expected| expected == status);
        if !is_as_expected {
            let mut trouble = wire.trouble(Symptom::Status(status));
            trouble.server = self.server_of(&trouble);
            return Err(trouble);
        }
        match self.plan.most_latency {
            Some(most) if took > most && self.kind.is_quick() => Err(wire.trouble(Symptom::Slow(took))),
            _ => Ok((status, took)),
        }
    }

    /// Whose doing it was, while the connection is still there to be looked at.
    pub(super) fn server_of(&self, trouble: &Trouble) -> Option<i32> {
        let local = trouble.local.filter(|_| self.plan.is_local)?;
        kernel::server_of(local, self.plan.url.address.port()).map(|process| process.pid)
    }

    pub(super) fn connect(&self) -> Result<Wire, Trouble> {
        let mut attempt = Attempt::new(self.deadline());
        let tcp = attempt.tcp(self.plan.url.address)?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.plan.tls {
            let secured = tls.secure(tcp, self.kind == Kind::Http2);
            return secured.map_err(|error| attempt.failed(&error)).map(|socket| attempt.over(socket));
        }
        Ok(attempt.over(Box::new(tcp)))
    }

    /// No loss, but a connection to be made anew.
    pub(super) fn found_closed(&self, wire: &Wire) {
        let (kind, local, opened) = (self.kind, wire.local(), wire.opened());
        self.record.reconnected(FoundClosed { kind, local, opened, found: Instant::now() });
    }

    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.plan.patience
    }

    fn request(&self, path: Path, closes: bool) -> Vec<u8> {
        let (path, host) = (self.path(path), &self.plan.url.host);
        let last = if closes { "Connection: close\r\n" } else { "" };
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: heirloom-prove\r\n{last}\r\n")
            .into_bytes()
    }

    fn path(&self, path: Path) -> &str {
        let named = match path {
            Path::Usual => None,
            Path::Large => self.plan.large.as_deref(),
            Path::Slow => self.plan.slow.as_deref(),
            Path::Upload => self.plan.upload.as_deref(),
        };
        named.unwrap_or(&self.plan.url.path)
    }
}

/// How often a client is told to come again before it takes that for silence. A server that restarts says it
/// once.
pub(super) const MOST_GOODBYES: usize = 4;

const AT_ONCE: usize = 4;

/// Between two machines of one house; what a client sees, it sees that much later.
const ROUND_TRIP: Duration = Duration::from_millis(2);

/// What is slow takes so long: a restart mostly falls into it.
const AWHILE: Duration = Duration::from_millis(500);

const PIECES: usize = 16;

/// Of an upload of 64 KiB, which every server takes.
const PIECE: &[u8] = &[b'x'; 4096];
