//! What a client sends with its first packet, sent again by who has seen it: no generation takes it twice.

use std::net::SocketAddr;
use std::sync::Arc;

use heirloom::quic::quinn::Endpoint;
use support::{PATIENCE, beside_others};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, oneshot};

use super::{Served, ask, bound, connect, start};

/// What the server says of each question that begins before the handshake is done. Its end may come later: a
/// client's first packet can leave between a write and the `finish` after it.
const CAME_EARLY: &str = "a question comes with the first packet";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_what_one_generation_has_taken_no_other_takes() {
    let _shared = tokio::task::block_in_place(beside_others);
    let early = Early::start().await;
    let first = early.served.server.first_pid;
    let flight = early.ask(first).await;
    flight.repeat(&early.served).await;
    let second = early.restart_and_repeat(first, &flight).await;
    let third = early.restart_and_repeat(second, &flight).await;
    early.has_taken_once(&[first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_what_is_taken_with_a_session_of_before_is_not_taken_again() {
    let _shared = tokio::task::block_in_place(beside_others);
    let early = Early::start().await;
    let first = early.served.server.first_pid;
    let second = early.served.restart(first).await;
    let flight = early.ask(second).await;
    flight.repeat(&early.served).await;
    let third = early.restart_and_repeat(second, &flight).await;
    early.has_taken_once(&[first, second, third]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g6_what_was_held_back_over_a_restart_is_taken_once() {
    let _shared = tokio::task::block_in_place(beside_others);
    let early = Early::start().await;
    let first = early.served.server.first_pid;
    let flight = early.hold_back().await;
    let second = early.served.restart(first).await;
    flight.repeat_elsewhere(&early.served).await;
    tokio::task::block_in_place(|| early.served.server.wait_for_line(early.mark, CAME_EARLY));
    flight.repeat(&early.served).await;
    let third = early.restart_and_repeat(second, &flight).await;
    early.has_taken_once(&[first, second, third]).await;
}

/// A server, and a client that has been there.
struct Early {
    served: Arc<Served>,
    client: Endpoint,
    mark: usize,
}

impl Early {
    async fn start() -> Early {
        // Who only copies packets never ends a handshake, and a process that drains waits for it.
        let served = Arc::new(start(&["--early-data", "--drain-timeout", "2s"]));
        let client = served.early_client(&Arc::default());
        let connection = connect(&client, served.address()).await.unwrap();
        for _ in 0..2 {
            // The first answer may come before the sessions do.
            ask(&connection).await.unwrap();
        }
        let mark = served.server.mark();
        Early { served, client, mark }
    }

    /// Has a question answered that comes with the first packet; the packets with which it came.
    async fn ask(&self, serving: i32) -> Flight {
        let relay = Relay::start(self.served.address()).await;
        let (served, client, address) = (Arc::clone(&self.served), self.client.clone(), relay.address);
        let asked = tokio::spawn(async move { served.ask_early(&client, address).await });
        relay.go_on.notify_one();
        // Only while the handshake is not done does the server know how it came.
        tokio::task::block_in_place(|| self.served.server.wait_for_line(self.mark, CAME_EARLY));
        relay.go_on.notify_one();
        assert_eq!(asked.await.unwrap(), Ok(Some(serving)));
        relay.flight.await.unwrap()
    }

    /// The packets with which a question would have come.
    async fn hold_back(&self) -> Flight {
        let relay = Relay::start(self.served.address()).await;
        let connecting = self.client.connect(relay.address, "localhost").unwrap();
        let (connection, _) = connecting.into_0rtt().expect("a session");
        tokio::select! {
            answer = ask(&connection) => panic!("nobody was asked: {answer:?}"),
            flight = relay.flight => flight.unwrap(),
        }
    }

    /// Has the next generation see it as well; that one's process.
    async fn restart_and_repeat(&self, serving: i32, flight: &Flight) -> i32 {
        let next = self.served.restart(serving).await;
        flight.repeat_elsewhere(&self.served).await;
        flight.repeat(&self.served).await;
        next
    }

    /// When these have ended nothing is left that could still be taken.
    async fn has_taken_once(self, processes: &[i32]) {
        let Early { served, mark, .. } = self;
        served.replace(*processes.last().unwrap()).await;
        tokio::task::block_in_place(|| processes.iter().for_each(|pid| served.server.wait_for_exit(*pid)));
        assert_eq!(served.server.lines(mark, CAME_EARLY).len(), 1);
    }
}

/// What a client sends before it knows an id of its server's, and where that came from.
struct Flight {
    datagrams: Vec<Vec<u8>>,
    from: Arc<UdpSocket>,
}

impl Flight {
    /// Sends it again from the same address, to whoever has that conversation.
    async fn repeat(&self, served: &Served) {
        for datagram in &self.datagrams {
            self.from.send_to(datagram, served.address()).await.unwrap();
        }
    }

    /// Sends it to a process that has not had it, from an address of which nobody has heard: that is a client
    /// that begins, and is answered.
    async fn repeat_elsewhere(&self, served: &Served) {
        let elsewhere = bound().await;
        for datagram in &self.datagrams {
            elsewhere.send_to(datagram, served.address()).await.unwrap();
        }
        let mut answer = [0; 2048];
        let answered = elsewhere.recv_from(&mut answer);
        tokio::time::timeout(PATIENCE, answered).await.expect("an answer").unwrap();
    }
}

/// Between a client and its server: it has all that the client sends until early data is among it, and lets
/// that go on when it is told to, and the rest when it is told again.
struct Relay {
    address: SocketAddr,
    flight: oneshot::Receiver<Flight>,
    go_on: Arc<Notify>,
}

impl Relay {
    async fn start(server: SocketAddr) -> Relay {
        let (near, far) = (bound().await, Arc::new(bound().await));
        let (address, (flown, flight)) = (near.local_addr().unwrap(), oneshot::channel());
        let go_on = Arc::<Notify>::default();
        let told = Arc::clone(&go_on);
        tokio::spawn(async move {
            let (datagrams, client) = first_flight(&near).await;
            let flight = Flight { datagrams: datagrams.clone(), from: Arc::clone(&far) };
            drop(flown.send(flight));
            told.notified().await;
            for datagram in datagrams {
                far.send_to(&datagram, server).await.unwrap();
            }
            let back = forward(&far, &near, client);
            let on = async {
                told.notified().await;
                forward(&near, &far, server).await;
            };
            tokio::join!(back, on);
        });
        Relay { address, flight, go_on }
    }
}

async fn first_flight(near: &UdpSocket) -> (Vec<Vec<u8>>, SocketAddr) {
    let (mut datagrams, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let (length, client) = near.recv_from(&mut buffer).await.unwrap();
        datagrams.push(buffer[..length].to_vec());
        if has_early_data(&buffer[..length]) {
            return (datagrams, client);
        }
    }
}

async fn forward(from: &UdpSocket, to: &UdpSocket, whom: SocketAddr) {
    let mut buffer = [0; 2048];
    loop {
        let (length, _) = from.recv_from(&mut buffer).await.unwrap();
        to.send_to(&buffer[..length], whom).await.unwrap();
    }
}

/// Whether one of the packets in it is of the type 0-RTT (RFC 9000, 17.2).
fn has_early_data(datagram: &[u8]) -> bool {
    let mut rest = datagram;
    while let [first @ 0x80..=0xff, _, _, _, _, after @ ..] = rest {
        let kind = (first >> 4) & 3;
        if kind == 1 {
            return true;
        }
        rest = after;
        for _id in 0..2 {
            rest = &rest[1 + usize::from(rest[0])..];
        }
        if kind == 0 {
            let token = number(&mut rest);
            rest = &rest[token..];
        }
        let length = number(&mut rest);
        rest = &rest[length..];
    }
    false
}

/// A number of a length that its first two bits say.
fn number(rest: &mut &[u8]) -> usize {
    let (bytes, after) = rest.split_at(1 << (rest[0] >> 6));
    *rest = after;
    bytes
        .iter()
        .enumerate()
        .fold(0, |number, (at, byte)| (number << 8) | usize::from(if at == 0 { byte & 0x3f } else { *byte }))
}
