//! Clients that are slow, silent or endless.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::{Body, Bytes, Frame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::load::Target;
use super::{PATIENCE, Server, proc};

/// A connection that does one thing at a time.
pub struct Client(TcpStream);

impl Client {
    pub fn connect(server: &Server) -> Client {
        let stream = TcpStream::connect(address(server)).expect("accepting");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("a connected socket");
        Client(stream)
    }

    pub fn send(&self, text: &str) {
        (&self.0).write_all(text.as_bytes()).expect("open");
    }

    /// Asks for more than any buffer holds, and reads no more than the head and a bit.
    pub fn stop_reading(&mut self) {
        self.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let (head, length) = self.head();
        assert!(head.starts_with("http/1.1 200") && length == LARGE, "{head}");
    }

    /// Asks until neither side's buffers take any more.
    pub fn ask_until_nothing_goes_out(&self) {
        let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(1000);
        self.0.set_write_timeout(Some(STUCK)).expect("a timeout");
        let [server, client] =
            [self.0.peer_addr(), self.0.local_addr()].map(|end| end.expect("two ends").port());
        let deadline = Instant::now() + PATIENCE;
        // What the server has answered and not got rid of, and what it has not read, at the last looks. A server that
        // only waits for the processor goes on between two of them.
        let (mut last, mut looks) = ((0, 0), 0);
        while looks < LOOKS {
            while (&self.0).write(requests.as_bytes()).is_ok() {}
            let now = proc::queues(server, client);
            looks = if now == last && now.0 > 0 && now.1 > 0 { looks + 1 } else { 0 };
            last = now;
            assert!(Instant::now() < deadline, "still neither stuck nor done: {now:?}");
        }
    }

    pub fn read_large(&mut self) -> usize {
        self.body(LARGE).len()
    }

    /// How much comes before the connection ends, in whatever way.
    pub fn read_to_the_end(&mut self) -> usize {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => (),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        rest.len()
    }

    /// The body of one answer; it must not say that it is the last.
    pub fn answer(&mut self) -> String {
        let (head, length) = self.head();
        assert!(!head.contains("connection: close"), "{head}");
        String::from_utf8(self.body(length)).expect("text")
    }

    /// The head of an answer, in lower case, and the length of its body.
    pub fn head(&mut self) -> (String, usize) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).unwrap_or_else(|error| {
                panic!("{error} after {:?}", String::from_utf8_lossy(&head));
            });
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let length = length.map_or(0, |length| length.parse().expect("a length"));
        (head, length)
    }

    pub fn body(&mut self, length: usize) -> Vec<u8> {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the whole body");
        body
    }
}

/// Sends a byte at a time, until it is told that it was enough.
pub struct Trickle {
    thread: JoinHandle<bool>,
    enough: mpsc::Sender<()>,
}

impl Trickle {
    pub fn of(client: &Client, byte: u8, pause: Duration) -> Trickle {
        let mut stream = client.0.try_clone().expect("a descriptor");
        let (enough, is_enough) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            // How slow this client is.
            while is_enough.recv_timeout(pause) == Err(mpsc::RecvTimeoutError::Timeout) {
                if stream.write_all(&[byte]).is_err() {
                    return false;
                }
            }
            true
        });
        Trickle { thread, enough }
    }

    /// Stops it; whether it could send all the while, and has not found the connection closed.
    pub fn end(self) -> bool {
        drop(self.enough);
        self.thread.join().expect("a client that does not panic")
    }
}

/// Streams of one HTTP/2 connection whose requests never end.
pub struct Endless(JoinHandle<Vec<Result<u16, hyper::Error>>>);

impl Endless {
    /// Returns once the server has all of them.
    pub fn begin(server: &Server, count: usize) -> Endless {
        let address = address(server);
        let (begun, has_begun) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let stream = tokio::net::TcpStream::connect(address).await.expect("accepting");
                let (mut requests, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
                tokio::spawn(connection);
                let ask = |method, path: &str, body| {
                    let uri = format!("http://{address}{path}");
                    Request::builder().method(method).uri(uri).body(body).expect("a request")
                };
                let waiting: Vec<_> = (0..count)
                    .map(|_| tokio::spawn(requests.send_request(ask("POST", "/upload", Upload::Begun))))
                    .collect();
                // They went out in this order, on one connection.
                let last = requests.send_request(ask("GET", "/", Upload::None)).await.expect("an answer");
                assert_eq!(last.status(), 200);
                begun.send(()).expect("a test that waits");
                let mut ends = Vec::new();
                for answer in waiting {
                    let answer = answer.await.expect("a task that does not panic");
                    ends.push(answer.map(|answer| answer.status().as_u16()));
                }
                ends
            })
        });
        has_begun.recv_timeout(PATIENCE).expect("a server that has the streams");
        Endless(thread)
    }

    pub fn are_cut(self) {
        let ends = self.0.join().expect("a client that does not panic");
        assert!(ends.iter().all(Result::is_err), "{ends:?}");
    }
}

/// A body of one frame, which may not be its last.
enum Upload {
    None,
    Begun,
    GoingOn,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match *self {
            Upload::None => Poll::Ready(None),
            Upload::Begun => {
                *self = Upload::GoingOn;
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
            }
            Upload::GoingOn => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Upload::None)
    }
}

fn address(server: &Server) -> SocketAddr {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    address
}

/// Of `/large`.
pub const LARGE: usize = 64 << 20;

/// How many looks in a row find nothing new before the server is stuck.
const LOOKS: usize = 3;

/// Without a byte taken for as long, none will be, unless the machine is very busy: the server needs microseconds.
const STUCK: Duration = Duration::from_millis(500);
