//! One keep-alive client whose every byte the test decides, and that sees every byte of the server.

use std::fmt;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use socket2::SockRef;

use super::PATIENCE;
pub use super::load::request;
use super::load::{Answer, Body, Head, Socket, Target};

/// A blocking connection; no wait on it is longer than [`PATIENCE`].
#[derive(Debug)]
pub struct Client {
    name: String,
    socket: Box<dyn Socket>,
    /// Read, and not yet part of an answer.
    read: Vec<u8>,
}

impl Client {
    pub fn connect(target: &Target) -> Client {
        let socket = target.socket(Instant::now() + PATIENCE);
        let socket = socket.unwrap_or_else(|error| panic!("connect to {target}: {error}"));
        let local = SockRef::from(&socket.descriptor()).local_addr().ok().and_then(|own| own.as_socket());
        let own = local.map(|own| format!(" from {own}")).unwrap_or_default();
        Client { name: format!("the connection to {target}{own}"), socket, read: Vec::new() }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(request(path));
        self.answer()
    }

    /// `None` if the connection is closed or reset instead.
    pub fn try_get(&mut self, path: &str) -> Option<Answer> {
        if self.try_send(request(path)) { self.answer_if_any() } else { None }
    }

    /// Whether the connection took it: it may be closed or reset.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        match self.socket.write_all(bytes.as_ref()) {
            Ok(()) => true,
            Err(error) if is_gone(&error) => false,
            Err(error) => panic!("{self}: {error}"),
        }
    }

    /// The process that serves this connection.
    pub fn pid(&mut self) -> i32 {
        self.send(request("/pid"));
        self.answered_pid()
    }

    /// Who answers a request for `/pid` that was sent before, on a connection that goes on.
    pub fn answered_pid(&mut self) -> i32 {
        let answer = self.answer();
        assert!(!answer.closes, "told to close: {answer:?}");
        number(&answer)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let sent = self.socket.write_all(bytes.as_ref());
        sent.unwrap_or_else(|error| panic!("{self}: {error}"));
    }

    /// Nothing more will be sent; what comes is still read.
    pub fn end_sending(&mut self) {
        let ended = self.socket.end_sending();
        ended.unwrap_or_else(|error| panic!("{self}: {error}"));
    }

    /// The next answer, without a byte of what comes behind it.
    pub fn answer(&mut self) -> Answer {
        self.answer_to(true)
    }

    /// As [`answer`](Self::answer); `None` if the connection is closed or reset instead.
    pub fn answer_if_any(&mut self) -> Option<Answer> {
        match self.read_more() {
            Ok(0) => None,
            Ok(_) => Some(self.answer()),
            Err(error) if is_gone(&error) => None,
            Err(error) => panic!("{self}: {error}"),
        }
    }

    /// Asks until `pid` answers, as the process that the connection moves to. The one that it leaves may read another
    /// request in the very moment in which it gives the connection up, and answers that first.
    pub fn moves_to(&mut self, pid: i32) {
        let deadline = Instant::now() + PATIENCE;
        while self.pid() != pid {
            assert!(Instant::now() < deadline, "{self}: it has not moved to pid {pid}");
        }
    }

    /// Asks until an answer says that it is the last, and returns that one: as with [`moves_to`](Self::moves_to), a
    /// request that comes just before the goodbye is answered without it.
    pub fn told_to_close(&mut self, path: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if answer.closes {
                return answer;
            }
            assert!(Instant::now() < deadline, "{self}: it is never told to close");
        }
    }

    /// To a HEAD request: without the body that its length speaks of.
    pub fn answer_to_head(&mut self) -> Answer {
        self.answer_to(false)
    }

    /// The next bytes up to and with `end`.
    pub fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if let Some(at) = find(&self.read, end) {
                return self.read.drain(..at + end.len()).collect();
            }
            let count = self.read_more().unwrap_or_else(|error| panic!("{self}: {error}"));
            assert!(count > 0, "{self}: closed after {:?}", String::from_utf8_lossy(&self.read));
        }
    }

    /// The server has said nothing, and has not closed.
    pub fn is_untouched(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let look = rustix::net::recv(
            self,
            &mut byte[..],
            rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
        );
        self.read.is_empty() && look.is_err_and(|error| error == rustix::io::Errno::WOULDBLOCK)
    }

    /// Waits for the server to close in good order, and to say nothing before.
    pub fn wait_for_close(&mut self) {
        let last = self.read_more();
        let said = String::from_utf8_lossy(&self.read);
        assert!(self.read.is_empty() && matches!(last, Ok(0)), "{self}: {last:?} after {said:?}");
    }

    fn answer_to(&mut self, has_body: bool) -> Answer {
        let bytes = self.read_until(b"\r\n\r\n");
        let head = Head::parse(&bytes);
        let head = head.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(&bytes)));
        let length = match head.body {
            Body::Length(length) if has_body => length,
            _ => 0,
        };
        while self.read.len() < length {
            let count = self.read_more().unwrap_or_else(|error| panic!("{self}: {error}"));
            assert!(count > 0, "{self}: closed in a body of {length} bytes");
        }
        let body = self.read.drain(..length).collect();
        Answer {
            status: head.status,
            body: String::from_utf8(body).expect("a body that is text"),
            closes: head.closes,
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 4096];
        loop {
            match self.socket.read(&mut chunk) {
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Ok(count) => {
                    self.read.extend_from_slice(&chunk[..count]);
                    return Ok(count);
                }
                error => return error,
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.descriptor()
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

pub fn number(answer: &Answer) -> i32 {
    answer.body.trim().parse().unwrap_or_else(|_| panic!("no number in {answer:?}"))
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

fn find(bytes: &[u8], end: &[u8]) -> Option<usize> {
    bytes.windows(end.len()).position(|window| window == end)
}
