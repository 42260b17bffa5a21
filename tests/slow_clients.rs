//! Clients that are slow, silent or endless, at a restart: none holds the old process beyond its deadline, none makes the
//! others fail. Those that only wait, or have not finished asking, move.

mod support;

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
use nix::sys::wait::WaitStatus;
use support::load::{Load, Mode, Target, Think};
use support::{PATIENCE, Server, Setup, Signal, alone};

#[test]
fn g5_one_that_stops_reading_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let mut client = Client::connect(&server);
    client.stop_reading();
    let old = held_until_the_deadline(&server, 1);
    println!("cut {} bytes of its answer short", LARGE - client.read_to_the_end().min(LARGE));
    assert_ne!(server.pid(), old);
}

#[test]
fn g5_a_body_a_byte_at_a_time_is_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let client = Client::connect(&server);
    client.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let sender = Trickle::of(&client, "x".repeat(1_000_000), Duration::from_millis(10));
    held_until_the_deadline(&server, 1);
    assert!(sender.ended() < 1_000_000, "the whole body was taken");
}

#[test]
fn g5_http2_streams_that_never_end_are_cut_at_the_deadline() {
    let _alone = alone();
    let server = start();
    let endless = Endless::begin(&server, 3);
    // One connection, however many streams.
    held_until_the_deadline(&server, 1);
    endless.are_cut();
}

#[test]
fn a_head_a_byte_a_second_moves_and_is_answered_where_it_ends() {
    let _alone = alone();
    let server = start();
    let mut client = Client::connect(&server);
    client.send("GET /pid HTTP/1.1\r\n");
    let sender = Trickle::of(&client, "Host: t\r\n\r\n".to_owned(), Duration::from_secs(1));
    // It goes on asking all the while: each generation has it in part from the one before.
    let new = (0..4).map(|_| held_by_nobody(&server)).last().expect("four restarts");
    assert_eq!(client.answer(), new.to_string());
    sender.ended();
    client.send("GET /pid HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer(), new.to_string(), "kept, with what it asks next");
}

#[test]
fn heads_in_part_and_preconnects_move_and_wait_as_long_as_they_like() {
    let _alone = alone();
    let server = start();
    let begun = ["", "G", "P", "GET / HTTP/1.1\r\nHost: test\r\n\r\nGET /pid HTTP/1.1\r\nX-"];
    let mut clients = begun.map(|begun| {
        let client = Client::connect(&server);
        client.send(begun);
        client
    });
    assert_eq!(clients[3].answer(), "Hello World");
    held_by_nobody(&server);
    let new = held_by_nobody(&server);
    let rest = [
        "GET /pid HTTP/1.1\r\nHost: test\r\n\r\n",
        "ET /pid HTTP/1.1\r\nHost: test\r\n\r\n",
        "OST /pid HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n\r\nbody",
        "Thing: 1\r\nHost: test\r\n\r\n",
    ];
    for (client, rest) in clients.iter_mut().zip(rest) {
        client.send(rest);
        assert_eq!(client.answer(), new.to_string(), "to what ended with {rest:?}");
    }
}

#[test]
fn g2_one_that_reads_slowly_has_all_its_answer_before_the_deadline() {
    let _alone = alone();
    let server = start();
    let mut client = Client::connect(&server);
    client.stop_reading();
    let mark = server.mark();
    let old = server.pid();
    server.restart(Signal::SIGUSR2);
    server.wait_for_line(mark, "draining connections");
    assert_eq!(client.read_large(), LARGE);
    // It has moved by the time that it asks again: nothing was in flight.
    server.wait_for_exit(old);
    assert!(matches!(server.exit_status(old), WaitStatus::Exited(_, 0)));
    client.send("GET /generation HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.answer(), "2");
}

#[test]
fn g5_all_of_them_at_once() {
    let _alone = alone();
    let server = start();
    let mut deaf = Client::connect(&server);
    deaf.stop_reading();
    let body = Client::connect(&server);
    body.send("POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n");
    let body_sender = Trickle::of(&body, "x".repeat(1_000_000), Duration::from_millis(10));
    let endless = Endless::begin(&server, 10);
    let mut head = Client::connect(&server);
    let head_sender = Trickle::of(
        &head,
        "GET /generation HTTP/1.1\r\nHost: t\r\n\r\n".to_owned(),
        Duration::from_millis(300),
    );
    let mut silent = Client::connect(&server);
    held_until_the_deadline(&server, 3);
    body_sender.ended();
    endless.are_cut();
    head_sender.ended();
    assert_eq!(head.answer(), "2");
    silent.send("GET /generation HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(silent.answer(), "2");
}

/// A restart under load that `count` clients stand in the way of; returns the process that they held.
fn held_until_the_deadline(server: &Server, count: usize) -> i32 {
    let (old, exit) = restart_under_load(server, |mark| {
        server.wait_for_line(mark, "draining connections");
        let began = Instant::now();
        let line = server.wait_for_line(mark, "the hammer fell");
        assert!(line.ends_with(&format!("the hammer fell aborted={count}")), "{line}");
        began
    });
    assert!(matches!(exit.status, WaitStatus::Exited(_, 124)), "{exit:?}");
    let held = exit.at - exit.mark;
    // The line is seen a little after the drain has begun, and the machine may be busy.
    assert!(held > DEADLINE - DEADLINE / 4 && held < DEADLINE * 5, "held for {held:?}");
    old
}

/// A restart under load that no client stands in the way of; returns the new process.
fn held_by_nobody(server: &Server) -> i32 {
    let (_, exit) = restart_under_load(server, |mark| {
        server.wait_for_line(mark, "draining connections");
        Instant::now()
    });
    assert!(matches!(exit.status, WaitStatus::Exited(_, 0)), "{exit:?}");
    let held = exit.at - exit.mark;
    assert!(held < DEADLINE - DEADLINE / 4, "held for {held:?}");
    server.pid()
}

/// How the old process ended, and when, after what `until` waited for.
#[derive(Debug)]
struct Exit {
    status: WaitStatus,
    mark: Instant,
    at: Instant,
}

fn restart_under_load(server: &Server, until: impl FnOnce(usize) -> Instant) -> (i32, Exit) {
    let load: Load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    load.wait_for_requests(100);
    let (old, mark) = (server.pid(), server.mark());
    server.restart(Signal::SIGUSR2);
    let mark = until(mark);
    server.wait_for_exit(old);
    let at = Instant::now();
    load.wait_for_requests(100);
    let report = load.stop();
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    (old, Exit { status: server.exit_status(old), mark, at })
}

fn start() -> Server {
    Setup::example("web").args(&["--drain-timeout", "2s", "--probation", "100ms"]).start()
}

fn address(server: &Server) -> SocketAddr {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    address
}

/// A connection that does one thing at a time.
struct Client(TcpStream);

impl Client {
    fn connect(server: &Server) -> Client {
        let stream = TcpStream::connect(address(server)).expect("accepting");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("a connected socket");
        Client(stream)
    }

    fn send(&self, text: &str) {
        (&self.0).write_all(text.as_bytes()).expect("open");
    }

    /// Asks for more than any buffer holds, and reads no more than the head and a bit.
    fn stop_reading(&mut self) {
        self.send("GET /large HTTP/1.1\r\nHost: test\r\n\r\n");
        let (head, length) = self.head();
        assert!(head.starts_with("http/1.1 200") && length == LARGE, "{head}");
    }

    fn read_large(&mut self) -> usize {
        self.body(LARGE).len()
    }

    /// How much comes before the connection ends, in whatever way.
    fn read_to_the_end(&mut self) -> usize {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => (),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
        rest.len()
    }

    /// The body of one answer; it must not say that it is the last.
    fn answer(&mut self) -> String {
        let (head, length) = self.head();
        assert!(!head.contains("connection: close"), "{head}");
        String::from_utf8(self.body(length)).expect("text")
    }

    fn head(&mut self) -> (String, usize) {
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

    fn body(&mut self, length: usize) -> Vec<u8> {
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the whole body");
        body
    }
}

/// Sends a text a byte at a time.
struct Trickle(JoinHandle<usize>);

impl Trickle {
    fn of(client: &Client, text: String, pause: Duration) -> Trickle {
        let mut stream = client.0.try_clone().expect("a descriptor");
        Trickle(std::thread::spawn(move || {
            for (sent, byte) in text.bytes().enumerate() {
                std::thread::sleep(pause); // allow: sleep (how slow this client is)
                if stream.write_all(&[byte]).is_err() {
                    return sent;
                }
            }
            text.len()
        }))
    }

    /// How much it has sent when it is done, or finds the connection closed.
    fn ended(self) -> usize {
        self.0.join().expect("a client that does not panic")
    }
}

/// Streams of one HTTP/2 connection whose requests never end.
struct Endless(JoinHandle<Vec<Result<u16, hyper::Error>>>);

impl Endless {
    /// Returns once the server has all of them.
    fn begin(server: &Server, count: usize) -> Endless {
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

    fn are_cut(self) {
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

/// As given to the server: long enough that what is not held ends well before it.
const DEADLINE: Duration = Duration::from_secs(2);

/// Of `/large`.
const LARGE: usize = 64 << 20;
