//! Clients of the server `conversing`: a conversation each, whose datagrams are numbered and sent once.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use heirloom::control::{Client, FlowsDetail, Reply, Request, socket_of};
use support::Server;
use support::load::Target;

/// How long an answer may take. Loopback needs microseconds; a restart on a busy machine has all of this.
const PATIENCE: Duration = Duration::from_secs(10);

/// One conversation.
pub(crate) struct Conversation {
    socket: UdpSocket,
    id: String,
    /// 0 until the first answer.
    pub(crate) generation: u64,
    pub(crate) pid: i32,
    pub(crate) sent: u64,
}

/// What a datagram led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The process of the conversation has it, and has all before it.
    Kept,
    /// Another process answered.
    Elsewhere,
    /// The process of the conversation misses some.
    Missed,
    /// Nobody answered in time.
    Unanswered,
}

pub(crate) fn address(server: &Server) -> SocketAddr {
    let Target::Tcp(address) = *server.target() else { panic!("an IP address") };
    address
}

/// What a process says of its one socket.
pub(crate) fn flows(pid: i32) -> FlowsDetail {
    let pid = pid.cast_unsigned();
    let socket = socket_of(pid).expect("a control socket");
    let deadline = Some(Instant::now() + support::PATIENCE);
    let mut asked = Client::ask(&socket, &Request::Status, deadline).expect("alive");
    let Ok(Some(Reply::Status(status))) = asked.next(deadline) else { panic!("no status") };
    let generation = status.generations.iter().find(|generation| generation.pid == pid).unwrap();
    let [flows] = &generation.detail.as_ref().unwrap().flows[..] else { panic!("{generation:?}") };
    flows.clone()
}

impl Conversation {
    pub(crate) fn new(server: SocketAddr) -> Conversation {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Conversation { socket: socket(server), id, generation: 0, pid: 0, sent: 0 }
    }

    pub(crate) fn begun(server: SocketAddr) -> Conversation {
        let mut conversation = Conversation::new(server);
        assert_eq!(conversation.say(), Outcome::Kept);
        conversation
    }

    /// The client has another address from now on.
    pub(crate) fn move_to_another_port(&mut self) {
        let server = self.socket.peer_addr().unwrap();
        self.socket = socket(server);
    }

    /// Sends one more, and waits for its answer.
    pub(crate) fn say(&mut self) -> Outcome {
        self.sent += 1;
        let datagram = format!("{} {} {}", self.generation, self.id, self.sent);
        self.socket.send(datagram.as_bytes()).unwrap();
        let mut answer = [0; 256];
        let Ok(length) = self.socket.recv(&mut answer) else { return Outcome::Unanswered };
        let answer = std::str::from_utf8(&answer[..length]).unwrap();
        let numbers: Vec<u64> = answer.split(' ').map(|number| number.parse().unwrap()).collect();
        let [pid, generation, number, count] = numbers[..] else { panic!("{answer:?}") };
        assert_eq!(number, self.sent, "an answer to another datagram");
        let pid = i32::try_from(pid).unwrap();
        if self.sent == 1 {
            (self.pid, self.generation) = (pid, generation);
        }
        match (pid == self.pid, count == number) {
            (false, _) => Outcome::Elsewhere,
            (true, false) => Outcome::Missed,
            (true, true) => Outcome::Kept,
        }
    }
}

fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

impl Conversation {
    /// Sends so many datagrams of 1,200 bytes, a few ahead of their answers, and returns how long it took.
    pub(crate) fn stream(&mut self, count: u64) -> Duration {
        const AHEAD: u64 = 32;
        let begin = std::time::Instant::now();
        let (end, mut answered) = (self.sent + count, self.sent);
        let mut answer = [0; 256];
        while answered < end {
            while self.sent < end && self.sent - answered < AHEAD {
                self.sent += 1;
                let datagram = format!("{} {} {}", self.generation, self.id, self.sent);
                self.socket.send(format!("{datagram} {:1$}", "", 1200 - datagram.len()).as_bytes()).unwrap();
            }
            let length = self.socket.recv(&mut answer).expect("an answer");
            let answer = std::str::from_utf8(&answer[..length]).unwrap();
            answered += 1;
            // In order, and with none missing.
            assert_eq!(answer, format!("{} {} {answered} {answered}", self.pid, self.generation));
        }
        begin.elapsed()
    }
}

impl Conversation {
    /// Sends so many datagrams of 1,200 bytes, whose answers nobody waits for.
    pub(crate) fn flood(&mut self, count: u64) {
        for _ in 0..count {
            self.sent += 1;
            let datagram = format!("{} {} {}", self.generation, self.id, self.sent);
            self.socket.send(format!("{datagram} {:1$}", "", 1200 - datagram.len()).as_bytes()).unwrap();
        }
    }
}

/// How it went with many datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) conversations: u64,
    pub(crate) broken: u64,
    pub(crate) kept: u64,
    pub(crate) elsewhere: u64,
    pub(crate) missed: u64,
    pub(crate) unanswered: u64,
}

impl Report {
    pub(crate) const HEADER: &str = "conversations  broken  datagrams  elsewhere  missed  unanswered";

    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Kept => self.kept += 1,
            Outcome::Elsewhere => self.elsewhere += 1,
            Outcome::Missed => self.missed += 1,
            Outcome::Unanswered => self.unanswered += 1,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Report { conversations, broken, kept, elsewhere, missed, unanswered } = *self;
        let datagrams = kept + elsewhere + missed + unanswered;
        write!(
            f,
            "{conversations:>13}  {broken:>6}  {datagrams:>9}  {elsewhere:>9}  {missed:>6}  {unanswered:>10}"
        )
    }
}

/// Many clients at a time, until they are told to stop. Each has one conversation after the other, of which the long ones
/// last over restarts.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    kept: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Report>>,
}

impl Crowd {
    pub(crate) fn begin(server: SocketAddr, count: usize) -> Crowd {
        let (stop, kept) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..count).map(|number| {
            let (stop, kept) = (Arc::clone(&stop), Arc::clone(&kept));
            // Every other one talks for as long as it can.
            let length = if number % 2 == 0 { u64::MAX } else { 5 + number as u64 };
            std::thread::spawn(move || {
                let mut report = Report::default();
                while !stop.load(Ordering::Relaxed) {
                    report.conversations += 1;
                    let mut conversation = Conversation::new(server);
                    while conversation.sent < length && !stop.load(Ordering::Relaxed) {
                        let outcome = conversation.say();
                        report.count(outcome);
                        kept.fetch_add(1, Ordering::Relaxed);
                        if outcome != Outcome::Kept {
                            report.broken += 1;
                            break;
                        }
                        // allow: sleep (the pace of a client)
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                report
            })
        });
        let clients = clients.collect();
        Crowd { stop, kept, clients }
    }

    /// Waits until so many more datagrams have had an outcome.
    pub(crate) fn wait_for(&self, count: u64) {
        let until = self.kept.load(Ordering::Relaxed) + count;
        let deadline = std::time::Instant::now() + support::PATIENCE;
        while self.kept.load(Ordering::Relaxed) < until {
            assert!(std::time::Instant::now() < deadline, "no {count} more datagrams");
            // allow: sleep (a count that other threads make)
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Report::default();
        for client in self.clients {
            let report = client.join().unwrap();
            all.conversations += report.conversations;
            all.broken += report.broken;
            all.kept += report.kept;
            all.elsewhere += report.elsewhere;
            all.missed += report.missed;
            all.unanswered += report.unanswered;
        }
        all
    }
}
