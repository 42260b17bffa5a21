//! A client's connection: raw bytes, each wait with a deadline, and nothing is ever tried again.
//!
//! The tests' load client has it as well.

mod head;
mod socket;
mod trouble;

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use socket2::SockRef;

pub(crate) use head::{Body, Head};
pub(crate) use socket::Socket;
#[allow(unused_imports, reason = "the tests have sockets of their own")]
pub(crate) use socket::read_now;
pub(crate) use trouble::{Stage, Symptom, Trouble};

/// What is seen without reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    Quiet,
    Closed,
    Reset,
    /// There is something to read.
    Spoke,
}

/// An answer that came to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The server says that it is the last one here.
    pub(crate) closes: bool,
    /// The first [`KEPT`] bytes of it.
    #[allow(dead_code, reason = "the tests' load client compares it")]
    pub(crate) body: Vec<u8>,
}

/// A connection that is being made.
#[derive(Debug)]
pub(crate) struct Attempt {
    opened: Instant,
    local: Option<SocketAddr>,
    deadline: Instant,
}

#[derive(Debug)]
pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    /// Read, and not yet part of an answer.
    read: Vec<u8>,
    opened: Instant,
    local: Option<SocketAddr>,
    answers: u32,
    stage: Stage,
    was_closed: bool,
    had_begun: bool,
    deadline: Instant,
    /// The socket's own timeouts.
    limit: Duration,
}

impl Attempt {
    pub(crate) fn new(deadline: Instant) -> Attempt {
        Attempt { opened: Instant::now(), local: None, deadline }
    }

    pub(crate) fn tcp(&mut self, address: SocketAddr) -> Result<TcpStream, Trouble> {
        let tcp = TcpStream::connect_timeout(&address, left(self.deadline));
        let tcp = tcp.map_err(|error| self.failed(&error))?;
        self.local = tcp.local_addr().ok();
        // A client that writes its request in pieces means each of them. TLS shakes hands over it.
        let set = tcp.set_nodelay(true).and_then(|()| set_timeouts(&tcp, left(self.deadline)));
        set.map_err(|error| self.failed(&error)).map(|()| tcp)
    }

    pub(crate) fn failed(&self, error: &io::Error) -> Trouble {
        Trouble {
            symptom: Symptom::of_connecting(error),
            stage: Stage::Connecting,
            is_fresh: true,
            had_begun: false,
            was_closed: false,
            opened: self.opened,
            local: self.local,
            server: None,
        }
    }

    /// It is made, and waits no longer than there is left.
    pub(crate) fn over(self, socket: Box<dyn Socket>) -> Wire {
        Wire {
            socket,
            read: Vec::new(),
            opened: self.opened,
            local: self.local,
            answers: 0,
            stage: Stage::Sending,
            was_closed: false,
            had_begun: false,
            deadline: self.deadline,
            limit: left(self.deadline),
        }
    }
}

impl Wire {
    /// The kernel takes so little of an answer before the client reads.
    pub(crate) fn shrink_buffer(&self) {
        // Without it the client still reads slowly, and the kernel takes more.
        let _ = SockRef::from(&self.socket.descriptor()).set_recv_buffer_size(SMALL);
    }

    /// The next request: all of it has so much time.
    pub(crate) fn begin(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.stage = Stage::Sending;
        self.had_begun = false;
        self.was_closed = matches!(self.look(), Look::Closed | Look::Reset);
    }

    /// What is there already, without waiting.
    pub(crate) fn look(&mut self) -> Look {
        if !self.read.is_empty() {
            return Look::Spoke;
        }
        let mut bytes = [0; 1024];
        match self.socket.read_now(&mut bytes) {
            Ok(0) => Look::Closed,
            Ok(count) => {
                self.read.extend_from_slice(&bytes[..count]);
                Look::Spoke
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Look::Quiet,
            Err(_) => Look::Reset,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let sent = self.limit_waits().and_then(|()| self.socket.write_all(bytes));
        sent.map_err(|error| self.failed(&error))
    }

    pub(crate) fn uploads(&mut self) {
        self.stage = Stage::Uploading;
    }

    pub(crate) fn end_sending(&mut self) -> Result<(), Trouble> {
        self.socket.end_sending().map_err(|error| self.failed(&error))
    }

    /// The next answer; of those that announce another one (1xx), that one.
    pub(crate) fn answer(&mut self) -> Result<Answer, Trouble> {
        self.answer_at(Pace::Fast)
    }

    /// The same, read in small pieces for this long, and then at once.
    pub(crate) fn answer_slowly(&mut self, for_so_long: Duration) -> Result<Answer, Trouble> {
        self.answer_at(Pace::SlowUntil(Instant::now() + for_so_long))
    }

    /// For what is no answer of HTTP/1: from here on it is the server's turn.
    pub(crate) fn waits(&mut self) {
        self.stage = Stage::Waiting;
        self.had_begun = false;
    }

    /// Some of the answer has come.
    pub(crate) fn answer_begins(&mut self) {
        self.had_begun = true;
    }

    /// All of it has.
    pub(crate) fn answered(&mut self) {
        self.answers += 1;
        self.had_begun = false;
    }

    /// So many bytes of a frame, which may not belong to the answer.
    pub(crate) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Trouble> {
        let had_begun = self.had_begun;
        while self.read.len() < count {
            let more = self.more(Pace::Fast);
            self.had_begun = had_begun;
            more?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// The status of an answer after which the connection speaks another protocol.
    pub(crate) fn upgraded(&mut self) -> Result<u16, Trouble> {
        self.stage = Stage::Waiting;
        self.head(Pace::Fast).map(|head| head.status)
    }

    /// The status of an answer that goes on and on, and whether it comes in chunks.
    pub(crate) fn stream_begins(&mut self) -> Result<(u16, bool), Trouble> {
        self.stage = Stage::Waiting;
        self.head(Pace::Fast).map(|head| (head.status, head.body == Body::Chunks))
    }

    /// The next chunk; `None` at the end.
    pub(crate) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        match self.chunk_length(Pace::Fast)? {
            0 => Ok(None),
            length => {
                let chunk = self.bytes(length)?;
                self.line(Pace::Fast)?;
                Ok(Some(chunk))
            }
        }
    }

    /// At least a byte; `None` at the end.
    pub(crate) fn whatever_comes(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        if self.read.is_empty() && self.fill(Pace::Fast)? == 0 {
            return Ok(None);
        }
        Ok(Some(std::mem::take(&mut self.read)))
    }

    fn answer_at(&mut self, pace: Pace) -> Result<Answer, Trouble> {
        self.stage = Stage::Waiting;
        // Of answers to several requests at once, the next one may be here already.
        self.had_begun = !self.read.is_empty();
        loop {
            let head = self.head(pace)?;
            if (100..200).contains(&head.status) {
                continue;
            }
            let body = self.body(&head.body, pace)?;
            self.answered();
            return Ok(Answer { status: head.status, closes: head.closes, body });
        }
    }

    fn head(&mut self, pace: Pace) -> Result<Head, Trouble> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            let is_http = self.read.iter().zip(HTTP).all(|(is, wanted)| is == wanted);
            if !is_http || self.read.len() > LONGEST_HEAD {
                return Err(self.garbled());
            }
            self.more(pace)?;
        };
        let parsed = Head::parse(&self.read[..end]);
        let head = parsed.ok_or_else(|| self.garbled())?;
        self.read.drain(..end);
        Ok(head)
    }

    /// All of it; what is kept of it.
    fn body(&mut self, ends: &Body, pace: Pace) -> Result<Vec<u8>, Trouble> {
        let mut kept = Vec::new();
        match *ends {
            Body::Length(length) => self.take(length, pace, &mut kept)?,
            Body::Chunks => {
                while let length @ 1.. = self.chunk_length(pace)? {
                    self.take(length, pace, &mut kept)?;
                    self.line(pace)?;
                }
            }
            Body::ToTheEnd => loop {
                self.take(self.read.len(), pace, &mut kept)?;
                if self.fill(pace)? == 0 {
                    break;
                }
            },
        }
        Ok(kept)
    }

    /// With 0 come the trailers, which nobody wants.
    fn chunk_length(&mut self, pace: Pace) -> Result<usize, Trouble> {
        let line = self.line(pace)?;
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
        let length = length.map_err(|_| self.trouble(Symptom::Garbled(line)))?;
        while length == 0 && !self.line(pace)?.is_empty() {}
        Ok(length)
    }

    fn line(&mut self, pace: Pace) -> Result<String, Trouble> {
        loop {
            if let Some(at) = self.read.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = String::from_utf8_lossy(&self.read[..at]).into_owned();
                self.read.drain(..at + 2);
                return Ok(line);
            }
            self.more(pace)?;
        }
    }

    fn take(&mut self, mut length: usize, pace: Pace, kept: &mut Vec<u8>) -> Result<(), Trouble> {
        while length > 0 {
            let count = length.min(self.read.len());
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&self.read[..count.min(room)]);
            self.read.drain(..count);
            length -= count;
            if length > 0 {
                self.more(pace)?;
            }
        }
        Ok(())
    }

    /// At least one more byte.
    fn more(&mut self, pace: Pace) -> Result<(), Trouble> {
        match self.fill(pace)? {
            0 => Err(self.trouble(Symptom::Closed)),
            _ => Ok(()),
        }
    }

    fn fill(&mut self, pace: Pace) -> Result<usize, Trouble> {
        let mut bytes = [0; 16 * 1024];
        let mut room = bytes.len();
        if let Pace::SlowUntil(until) = pace
            && Instant::now() < until
        {
            std::thread::sleep(SLOWLY);
            room = LITTLE;
        }
        loop {
            match self.limit_waits().and_then(|()| self.socket.read(&mut bytes[..room])) {
                Ok(count) => {
                    self.read.extend_from_slice(&bytes[..count]);
                    self.had_begun |= count > 0;
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(&error)),
            }
        }
    }

    /// A wait ends by the deadline, or as much later as is left now: mostly the timeouts are right as they
    /// are, and a load is to cost the machine little.
    fn limit_waits(&mut self) -> io::Result<()> {
        let left = left(self.deadline);
        if self.limit < left || self.limit > 2 * left {
            set_timeouts(&self.socket.descriptor(), left)?;
            self.limit = left;
        }
        Ok(())
    }

    fn garbled(&self) -> Trouble {
        let begin = &self.read[..self.read.len().min(SHOWN)];
        self.trouble(Symptom::Garbled(String::from_utf8_lossy(begin).into_owned()))
    }

    fn failed(&self, error: &io::Error) -> Trouble {
        self.trouble(Symptom::of(error))
    }

    /// Something came that is no part of an answer yet.
    #[allow(dead_code, reason = "the tests' load client asks")]
    pub(crate) fn has_more(&self) -> bool {
        !self.read.is_empty()
    }

    /// The client's end.
    pub(crate) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// When it was made.
    pub(crate) fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn trouble(&self, symptom: Symptom) -> Trouble {
        Trouble {
            symptom,
            stage: self.stage,
            is_fresh: self.answers == 0,
            had_begun: self.had_begun,
            was_closed: self.was_closed,
            opened: self.opened,
            local: self.local,
            server: None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Pace {
    Fast,
    SlowUntil(Instant),
}

fn set_timeouts(socket: &impl AsFd, limit: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_read_timeout(Some(limit)).and_then(|()| socket.set_write_timeout(Some(limit)))
}

/// What a socket may wait: a timeout of zero would be none.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

/// With less the kernel waits for ever more room, since a packet of the loopback is 64 KiB long.
const SMALL: usize = 128 * 1024;

/// A slow reader's pieces: some hundred kilobytes a second.
const LITTLE: usize = 1024;
const SLOWLY: Duration = Duration::from_millis(5);

/// What an answer begins with.
const HTTP: &[u8] = b"HTTP/1.";

/// Of a body: what somebody may want to compare, and not a download.
const KEPT: usize = 64 * 1024;

/// More than any server sends.
const LONGEST_HEAD: usize = 64 * 1024;

/// Of what is no answer.
const SHOWN: usize = 40;
