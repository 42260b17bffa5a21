//! A client's connection: raw bytes, each wait with a deadline, and nothing is ever tried again.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::super::record::FoundClosed;
use super::socket::Socket;
use super::{Kind, Plan};

/// What went wrong, as the client saw it.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) symptom: Symptom,
    pub(crate) stage: Stage,
    /// Nothing was answered on this connection before.
    pub(crate) is_fresh: bool,
    /// Some of the answer had come.
    pub(crate) had_begun: bool,
    /// The server had closed the connection before the request was sent, and the client did not know.
    pub(crate) was_closed: bool,
    /// When the connection was made.
    pub(crate) opened: Instant,
    /// The client's end of it.
    pub(crate) local: Option<SocketAddr>,
    /// Who held the server's end, where that was looked up.
    pub(crate) server: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Symptom {
    Refused,
    Reset,
    Closed,
    Silent,
    Status(u16),
    Garbled(String),
    /// A stream of HTTP/2, with this code.
    Cancelled(u32),
    Slow(Duration),
    /// The client's own: it has no descriptor, or no port.
    Own(String),
}

/// How far it had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    Sending,
    /// The head is out, and the body is not.
    Uploading,
    Waiting,
}

/// What is seen without reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Quiet,
    Closed,
    /// There is something to read.
    Spoke,
}

/// An answer that came to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The server says that it is the last one here.
    pub(super) closes: bool,
}

#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    /// Read, and not yet part of an answer.
    read: Vec<u8>,
    opened: Instant,
    local: Option<SocketAddr>,
    answers: u32,
    stage: Stage,
    was_closed: bool,
    had_begun: bool,
    deadline: Instant,
}

impl Wire {
    pub(super) fn connect(plan: &Plan, kind: Kind, deadline: Instant) -> Result<Wire, Trouble> {
        let opened = Instant::now();
        let made = Wire::socket(plan, kind, deadline);
        let (socket, local) = made.map_err(|(error, local)| Trouble {
            symptom: match error.kind() {
                ErrorKind::ConnectionRefused => Symptom::Refused,
                _ => symptom(&error),
            },
            stage: Stage::Connecting,
            is_fresh: true,
            had_begun: false,
            was_closed: false,
            opened,
            local,
            server: None,
        })?;
        Ok(Wire {
            socket,
            read: Vec::new(),
            opened,
            local,
            answers: 0,
            stage: Stage::Sending,
            was_closed: false,
            had_begun: false,
            deadline,
        })
    }

    fn socket(
        plan: &Plan,
        kind: Kind,
        deadline: Instant,
    ) -> Result<(Socket, Option<SocketAddr>), (io::Error, Option<SocketAddr>)> {
        let tcp =
            TcpStream::connect_timeout(&plan.url.address, left(deadline)).map_err(|error| (error, None))?;
        let local = tcp.local_addr().ok();
        // A client that writes its request in pieces means each of them.
        tcp.set_nodelay(true).map_err(|error| (error, local))?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &plan.tls {
            let patience = Some(left(deadline));
            let secured = tcp.set_read_timeout(patience).and_then(|()| tcp.set_write_timeout(patience));
            let secured = secured.and_then(|()| Socket::secure(tcp, tls, kind == Kind::Http2));
            return secured.map(|socket| (socket, local)).map_err(|error| (error, local));
        }
        let _ = kind;
        Ok((Socket::Plain(tcp), local))
    }

    /// The kernel takes so little of an answer before the client reads.
    pub(super) fn shrink_buffer(&self) {
        // Without it the client still reads slowly, and the kernel takes more.
        let _ = socket2::SockRef::from(self.socket.tcp()).set_recv_buffer_size(SMALL);
    }

    /// The next request: all of it has so much time.
    pub(super) fn begin(&mut self, deadline: Instant) {
        self.deadline = deadline;
        self.stage = Stage::Sending;
        self.had_begun = false;
        self.was_closed = self.look() == Look::Closed;
    }

    /// What is there already, without waiting.
    pub(super) fn look(&mut self) -> Look {
        if !self.read.is_empty() {
            return Look::Spoke;
        }
        let mut bytes = [0; 1024];
        let looked = self.socket.tcp().set_nonblocking(true).and_then(|()| self.socket.read(&mut bytes));
        match (looked, self.socket.tcp().set_nonblocking(false)) {
            (Ok(0), _) | (_, Err(_)) => Look::Closed,
            (Ok(count), _) => {
                self.read.extend_from_slice(&bytes[..count]);
                Look::Spoke
            }
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => Look::Quiet,
            (Err(_), _) => Look::Closed,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let wait = self.socket.tcp().set_write_timeout(Some(left(self.deadline)));
        wait.and_then(|()| self.socket.write_all(bytes)).map_err(|error| self.failed(&error))
    }

    pub(super) fn uploads(&mut self) {
        self.stage = Stage::Uploading;
    }

    pub(super) fn end_sending(&mut self) -> Result<(), Trouble> {
        self.socket.end_sending().map_err(|error| self.failed(&error))
    }

    /// The next answer; of those that announce another one (1xx), that one.
    pub(super) fn answer(&mut self) -> Result<Answer, Trouble> {
        self.answer_at(Pace::Fast)
    }

    /// The same, read in small pieces for this long, and then at once.
    pub(super) fn answer_slowly(&mut self, for_so_long: Duration) -> Result<Answer, Trouble> {
        self.answer_at(Pace::SlowUntil(Instant::now() + for_so_long))
    }

    /// For what is no answer of HTTP/1: from here on it is the server's turn.
    pub(super) fn waits(&mut self) {
        self.stage = Stage::Waiting;
        self.had_begun = false;
    }

    /// Some of the answer has come.
    pub(super) fn answer_begins(&mut self) {
        self.had_begun = true;
    }

    /// All of it has.
    pub(super) fn answered(&mut self) {
        self.answers += 1;
        self.had_begun = false;
    }

    /// So many bytes of a frame, which may not belong to the answer.
    pub(super) fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Trouble> {
        let had_begun = self.had_begun;
        while self.read.len() < count {
            let more = self.more(Pace::Fast);
            self.had_begun = had_begun;
            more?;
        }
        Ok(self.read.drain(..count).collect())
    }

    /// The status of an answer after which the connection speaks another protocol.
    pub(super) fn upgraded(&mut self) -> Result<u16, Trouble> {
        self.stage = Stage::Waiting;
        self.head(Pace::Fast).map(|head| head.status)
    }

    /// The status of an answer that goes on and on, and whether it comes in chunks.
    pub(super) fn stream_begins(&mut self) -> Result<(u16, bool), Trouble> {
        self.stage = Stage::Waiting;
        self.head(Pace::Fast).map(|head| (head.status, head.body == Body::Chunks))
    }

    /// The next chunk; `None` at the end.
    pub(super) fn chunk(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        let line = self.line(Pace::Fast)?;
        let length = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16);
        let length = length.map_err(|_| self.trouble(Symptom::Garbled(line)))?;
        if length == 0 {
            while !self.line(Pace::Fast)?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.bytes(length)?;
        self.line(Pace::Fast)?;
        Ok(Some(chunk))
    }

    /// At least a byte; `None` at the end.
    pub(super) fn whatever_comes(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
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
            match head.body {
                Body::Length(length) => self.take(length, pace)?,
                Body::Chunks => self.chunks(pace)?,
                Body::ToTheEnd => while self.fill(pace)? > 0 {},
            }
            self.answered();
            return Ok(Answer { status: head.status, closes: head.closes });
        }
    }

    fn head(&mut self, pace: Pace) -> Result<Head, Trouble> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
            if self.read.len() > LONGEST_HEAD {
                return Err(self.garbled());
            }
            self.more(pace)?;
        };
        let parsed = Head::parse(&self.read[..end]);
        let head = parsed.ok_or_else(|| self.garbled())?;
        self.read.drain(..end);
        Ok(head)
    }

    fn chunks(&mut self, pace: Pace) -> Result<(), Trouble> {
        loop {
            let line = self.line(pace)?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let length = usize::from_str_radix(digits, 16).map_err(|_| self.garbled())?;
            if length == 0 {
                while !self.line(pace)?.is_empty() {}
                return Ok(());
            }
            self.take(length, pace)?;
            self.line(pace)?;
        }
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

    fn take(&mut self, mut length: usize, pace: Pace) -> Result<(), Trouble> {
        while length > 0 {
            let count = length.min(self.read.len());
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
            let wait = self.socket.tcp().set_read_timeout(Some(left(self.deadline)));
            match wait.and_then(|()| self.socket.read(&mut bytes[..room])) {
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

    fn garbled(&self) -> Trouble {
        let begin = &self.read[..self.read.len().min(SHOWN)];
        self.trouble(Symptom::Garbled(String::from_utf8_lossy(begin).into_owned()))
    }

    fn failed(&self, error: &io::Error) -> Trouble {
        self.trouble(symptom(error))
    }

    pub(super) fn found_closed(&self, kind: Kind) -> FoundClosed {
        FoundClosed { kind, local: self.local, opened: self.opened, found: Instant::now() }
    }

    pub(super) fn trouble(&self, symptom: Symptom) -> Trouble {
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

#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    closes: bool,
    body: Body,
}

#[derive(Debug, PartialEq, Eq)]
enum Body {
    Length(usize),
    Chunks,
    ToTheEnd,
}

impl Head {
    /// To a request that is no HEAD.
    fn parse(bytes: &[u8]) -> Option<Head> {
        let text = str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let first = lines.next()?.strip_prefix("HTTP/1.")?;
        let (version, rest) = first.split_at_checked(1)?;
        let status = rest.trim_start().get(..3)?.parse().ok()?;
        let (mut length, mut is_chunked) = (None, false);
        let mut closes = version == "0";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().ok()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                let mut words = value.split(',').map(str::trim);
                closes = match closes {
                    false => words.any(|word| word.eq_ignore_ascii_case("close")),
                    true => !words.any(|word| word.eq_ignore_ascii_case("keep-alive")),
                };
            }
        }
        let body = match (status, is_chunked, length) {
            (100..200 | 204 | 304, ..) => Body::Length(0),
            (_, true, _) => Body::Chunks,
            (_, _, Some(length)) => Body::Length(length),
            _ => Body::ToTheEnd,
        };
        closes |= body == Body::ToTheEnd;
        Some(Head { status, closes, body })
    }
}

fn symptom(error: &io::Error) -> Symptom {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Symptom::Reset,
        // Closed by the server, and reset before this was done.
        ErrorKind::NotConnected => Symptom::Reset,
        ErrorKind::UnexpectedEof => Symptom::Closed,
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Symptom::Silent,
        _ => Symptom::Own(error.to_string()),
    }
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

/// More than any server sends.
const LONGEST_HEAD: usize = 64 * 1024;

/// Of what is no answer.
const SHOWN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let read = |text: &str| {
            let head = Head::parse(text.as_bytes())?;
            Some((head.status, head.closes, head.body))
        };
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Some((200, false, Body::Length(5))));
        assert_eq!(
            read("HTTP/1.1 200 \r\ncontent-length:5\r\nConnection: x, Close\r\n\r\n"),
            Some((200, true, Body::Length(5)))
        );
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), Some((200, true, Body::Length(5))));
        assert_eq!(
            read("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
            Some((200, false, Body::Length(5)))
        );
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Some((200, false, Body::Chunks))
        );
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\n"), Some((200, true, Body::ToTheEnd)));
        assert_eq!(read("HTTP/1.1 204 No\r\n\r\n"), Some((204, false, Body::Length(0))));
        for bad in [
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
