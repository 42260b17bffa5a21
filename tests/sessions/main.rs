//! WebSockets and event streams go on in the successor, and their clients notice nothing.
#![cfg(feature = "tls")]

mod browser;
mod completions;
mod faults;
mod frames;
mod http2;
mod http2_faults;
mod leaks;
mod load;
mod raw_http2;
mod secure;
mod told;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone};
use tungstenite::protocol::WebSocket;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::{Message, client};

type Socket = WebSocket<TcpStream>;

/// A client that never comes again. What it is answered is numbered by the server, what it asks by itself.
struct Talker {
    socket: Socket,
    asked: u64,
    ticks: u64,
    pids: BTreeSet<i32>,
}

impl Talker {
    fn new(server: &Server, path: &str) -> Talker {
        Talker { socket: connect(server, path), asked: 0, ticks: 0, pids: BTreeSet::new() }
    }

    /// Sends a message in one frame or in three, with a ping between, and waits for its answer.
    fn ask(&mut self, bytes: usize, in_fragments: bool) {
        self.asked += 1;
        let text = format!("{} {}", self.asked, "x".repeat(bytes));
        if in_fragments {
            let parts = [&text[..1], &text[1..2], &text[2..]];
            for (at, part) in parts.into_iter().enumerate() {
                let opcode = OpCode::Data(if at == 0 { Data::Text } else { Data::Continue });
                let fragment = Frame::message(part.to_owned(), opcode, at == 2);
                self.socket.send(Message::Frame(fragment)).expect("open");
                self.socket.send(Message::Ping(vec![at as u8].into())).expect("open");
            }
        } else {
            self.socket.send(Message::text(&text)).expect("open");
        }
        loop {
            match self.socket.read().expect("an answer") {
                Message::Text(answer) if answer.starts_with("tick ") => {
                    self.ticks += 1;
                    assert_eq!(*answer, *format!("tick {}", self.ticks));
                }
                Message::Text(answer) => {
                    let (number, rest) = answer.split_once(' ').expect("a number");
                    let (pid, echo) = rest.split_once(' ').expect("a pid");
                    assert_eq!((number, echo), (&*self.asked.to_string(), &*text));
                    self.pids.insert(pid.parse().expect("a pid"));
                    return;
                }
                Message::Pong(_) => {}
                other => panic!("{other:?} after {} answers", self.asked),
            }
        }
    }
}

#[test]
fn websockets_of_any_library_go_on_through_restarts() {
    let _alone = alone();
    for (example, options, path) in
        [("live", &[][..], "/ws?ticks=20ms"), ("sockets", &[], "/ws"), ("sockets", &["--fast"], "/ws")]
    {
        let server = Setup::example(example).args(&[&["--probation", "100ms"], options].concat()).start();
        let ended = AtomicBool::new(false);
        let mut talkers: Vec<_> = (0..12).map(|_| Talker::new(&server, path)).collect();
        thread::scope(|scope| {
            for (at, talker) in talkers.iter_mut().enumerate() {
                let ended = &ended;
                scope.spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let bytes = if talker.asked % 4 == 0 { 60_000 } else { 10 };
                        talker.ask(bytes, (talker.asked as usize + at).is_multiple_of(3));
                    }
                });
            }
            let mut pid = server.first_pid;
            for _ in 0..3 {
                let old = pid;
                (pid, _) = server.replace(pid, Signal::SIGUSR2);
                server.wait_for_exit(old);
            }
            ended.store(true, Ordering::Relaxed);
        });
        for talker in &mut talkers {
            talker.ask(10, false);
        }
        assert!(talkers.iter().all(|talker| talker.pids.contains(&server.pid())), "{example} {options:?}");
        let asked: u64 = talkers.iter().map(|talker| talker.asked).sum();
        println!("{example} {options:?}: {asked} answers on {} WebSockets", talkers.len());
    }
}

#[test]
fn an_idle_websocket_moves_with_what_it_was_asked_meanwhile() {
    let _alone = alone();
    let server = start("live");
    let mut talkers: Vec<_> = (0..50).map(|_| Talker::new(&server, "/ws")).collect();
    talkers.iter_mut().for_each(|talker| talker.ask(1, false));
    for _ in 0..3 {
        let old = server.pid();
        server.replace(old, Signal::SIGUSR2);
        server.wait_for_exit(old);
    }
    let pid = server.pid();
    for talker in &mut talkers {
        talker.ask(1, false);
        assert!(talker.pids.contains(&pid));
    }
}

#[test]
fn an_event_stream_goes_on_and_its_connection_serves_the_next_request() {
    let _alone = alone();
    let server = start("live");
    let mut streams: Vec<_> = (0..10).map(|_| tcp(&server)).collect();
    for stream in &mut streams {
        let request = "GET /events?every=2ms&count=1500 HTTP/1.1\r\nhost: x\r\n\r\n";
        let pipelined = "GET /pid HTTP/1.1\r\nhost: x\r\n\r\n";
        stream.write_all(format!("{request}{pipelined}").as_bytes()).expect("open");
    }
    for _ in 0..2 {
        let old = server.pid();
        server.replace(old, Signal::SIGUSR2);
        server.wait_for_exit(old);
    }
    let pid = server.pid();
    for stream in &mut streams {
        let all = read_until(stream, &format!("\r\n\r\n{pid}"));
        let (events, last) = all.rsplit_once("HTTP/1.1 200 OK\r\n").expect("an answer behind the stream");
        assert!(last.ends_with(&format!("\r\n\r\n{pid}")), "{last}");
        let numbers: Vec<u32> = events
            .lines()
            .filter_map(|line| line.strip_prefix("data: ")?.split(' ').next()?.parse().ok())
            .collect();
        assert_eq!(numbers, (1..=1500).collect::<Vec<_>>());
        assert!(events.ends_with("\r\n0\r\n\r\n"), "the end of a body");
        stream.write_all(b"GET /generation HTTP/1.1\r\nhost: x\r\n\r\n").expect("open");
        read_until(stream, "\r\n\r\n3");
    }
}

#[test]
fn members_of_a_chat_room_do_not_notice_restarts() {
    let _alone = alone();
    let server = Setup::example("chat").start();
    let mut members = ["ann", "bob"].map(|name| (name, connect(&server, &format!("/ws/{name}"))));
    let mut said = Vec::new();
    let mut pid = server.first_pid;
    for round in 0..4 {
        for at in 0..members.len() {
            let (name, socket) = &mut members[at];
            socket.send(Message::text(format!("{round}"))).expect("open");
            said.push(format!("{name}: {round}"));
            for (name, socket) in &mut members {
                let heard = socket.read().expect("what was said");
                assert_eq!(heard, Message::text(said.last().expect("something")), "{name} in round {round}");
            }
        }
        let old = pid;
        (pid, _) = server.replace(old, Signal::SIGUSR2);
        server.wait_for_exit(old);
    }
    let mut late = connect(&server, "/ws/eve");
    for line in said {
        assert_eq!(late.read().expect("what was said"), Message::text(line));
    }
}

fn start(example: &str) -> Server {
    Setup::example(example).args(&["--probation", "100ms"]).start()
}

fn tcp(server: &Server) -> TcpStream {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let stream = TcpStream::connect(address).expect("accepting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn connect(server: &Server, path: &str) -> Socket {
    let stream = tcp(server);
    let address = stream.peer_addr().expect("connected");
    client(format!("ws://{address}{path}"), stream).expect("a WebSocket").0
}

fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let (mut all, mut piece) = (String::new(), [0; 4096]);
    while !all.ends_with(end) {
        let count = stream.read(&mut piece).expect("more");
        assert!(count > 0, "ended behind {all:?}");
        all.push_str(str::from_utf8(&piece[..count]).expect("text"));
    }
    all
}

/// How long is far longer than the library waits for half a message.
const LONG: Duration = Duration::from_secs(30);
