//! QUIC connections through restarts, with quinn as the client.
#![cfg(feature = "quic")]

mod counting;
mod early;
mod foreign;
mod http3;
mod replay;
mod status;

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heirloom::quic::quinn::rustls::pki_types::CertificateDer;
use heirloom::quic::quinn::{self, ClientConfig, Connection, ConnectionError, Endpoint, rustls};
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, TestDir, beside_others, proc, says};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// A server and what its clients trust.
struct Served {
    server: Server,
    certificate: CertificateDer<'static>,
    dir: TestDir,
}

fn start(args: &[&str]) -> Served {
    start_example("quic", args)
}

fn start_example(name: &str, args: &[&str]) -> Served {
    let dir = TestDir::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [cert, key, pid] = ["cert.pem", "key.pem", "pid"].map(|name| dir.path().join(name));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let server = Setup::example(name)
        .args(&["--cert", &text(&cert), "--key", &text(&key), "--pid-file", &text(&pid)])
        .args(args)
        .start();
    Served { server, certificate: made.cert.der().clone(), dir }
}

impl Served {
    fn address(&self) -> SocketAddr {
        let Target::Tcp(address) = *self.server.target() else { panic!("an IP address") };
        address
    }

    fn client(&self) -> Endpoint {
        self.client_that_counts(Arc::default())
    }

    /// `verified`: how many certificates it has verified. A session that is resumed has none.
    fn client_that_counts(&self, verified: Arc<AtomicUsize>) -> Endpoint {
        endpoint(counting::client_config(self.certificate.clone(), verified).unwrap())
    }

    /// Restarts `old`, and returns the new process when it has settled.
    async fn restart(&self, old: i32) -> i32 {
        let mark = self.server.mark();
        proc::signal(old, Signal::SIGUSR2);
        tokio::task::block_in_place(|| self.server.wait_for_settled(mark))
    }

    /// As [`restart`](Self::restart), until `old` is gone as well.
    async fn replace(&self, old: i32) -> i32 {
        let new = self.restart(old).await;
        tokio::task::block_in_place(|| self.server.wait_for_exit(old));
        new
    }
}

/// A client of its own port.
fn endpoint(tls: rustls::ClientConfig) -> Endpoint {
    let tls = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
    endpoint
}

async fn connect(client: &Endpoint, address: SocketAddr) -> Result<Connection, ConnectionError> {
    client.connect(address, "localhost").unwrap().await
}

/// Who answers on a stream.
async fn ask(connection: &Connection) -> Result<i32, Box<dyn std::error::Error + Send + Sync>> {
    let (mut question, mut answer) = connection.open_bi().await?;
    question.write_all(b"who?").await?;
    question.finish()?;
    Ok(String::from_utf8(answer.read_to_end(64).await?)?.parse()?)
}

/// What a client saw.
#[derive(Default)]
struct Seen {
    answers: usize,
    failures: Vec<String>,
    longest: Duration,
}

impl Seen {
    fn count(&mut self, began: Instant, answer: Result<(), String>) {
        self.longest = self.longest.max(began.elapsed());
        match answer {
            Ok(()) => self.answers += 1,
            Err(error) => self.failures.push(error),
        }
    }
}

/// What all of them saw; fails if any saw a failure.
async fn sum(clients: Vec<JoinHandle<Seen>>) -> Seen {
    let mut all = Seen::default();
    for client in clients {
        let seen = client.await.unwrap();
        all.answers += seen.answers;
        all.failures.extend(seen.failures);
        all.longest = all.longest.max(seen.longest);
    }
    assert!(all.failures.is_empty(), "{} failed of {}: {:?}", all.failures.len(), all.answers, all.failures);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_connections_stay_through_restarts() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--drain-timeout", "100s"]);
    let (address, stop) = (served.address(), Arc::new(AtomicBool::new(false)));
    let (mut clients, mut serving) = (Vec::new(), served.server.first_pid);
    for _ in 0..10 {
        let (client, stop) = (served.client(), Arc::clone(&stop));
        let connection = connect(&client, address).await.unwrap();
        clients.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = match ask(&connection).await {
                    Ok(pid) if pid == serving => Ok(()),
                    Ok(pid) => Err(format!("{pid} has answered instead of {serving}")),
                    Err(error) => Err(error.to_string()),
                };
                seen.count(began, answer);
                // allow: sleep (the pace of a client)
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            drop(client);
            seen
        }));
    }
    for _ in 0..3 {
        serving = served.restart(serving).await;
        let fresh = connect(&served.client(), address).await.unwrap();
        assert_eq!(ask(&fresh).await.unwrap(), serving, "who begins is with the new one");
        // allow: sleep (some more streams between restarts)
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stop.store(true, Ordering::Relaxed);
    let Seen { answers, longest, .. } = sum(clients).await;
    assert!(answers > 10 * 3, "{answers}");
    println!(
        "3 restarts: 10 connections kept, 0 broken; {answers} streams, 0 lost, the longest took {longest:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_new_connections_succeed_through_restarts() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--drain-timeout", "100s"]);
    let (address, stop) = (served.address(), Arc::new(AtomicBool::new(false)));
    let clients = (0..4).map(|_| {
        let (client, stop) = (served.client(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = match connect(&client, address).await {
                    Ok(connection) => {
                        ask(&connection).await.map(drop).map_err(|error| format!("asking: {error}"))
                    }
                    Err(error) => Err(format!("connecting: {error}")),
                };
                seen.count(began, answer);
            }
            seen
        })
    });
    let clients = clients.collect();
    let mut serving = served.server.first_pid;
    for _ in 0..3 {
        // The old one has nothing to wait for, and no connection begins in a process that ends.
        serving = served.replace(serving).await;
    }
    stop.store(true, Ordering::Relaxed);
    let Seen { answers, longest, .. } = sum(clients).await;
    println!("3 restarts: {answers} new connections, 0 failed, the longest took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_may_change_its_port_while_its_server_drains() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&[]);
    let client = served.client();
    let connection = connect(&client, served.address()).await.unwrap();
    let old = ask(&connection).await.unwrap();
    let mut serving = old;
    for _ in 0..3 {
        serving = served.restart(serving).await;
        client.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
        for _ in 0..5 {
            assert_eq!(ask(&connection).await.unwrap(), old);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_killed_in_its_drain_takes_its_own_connections_and_their_clients_are_told() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&[]);
    let client = served.client();
    let lost = connect(&client, served.address()).await.unwrap();
    let old = ask(&lost).await.unwrap();
    let serving = served.restart(old).await;
    let other = connect(&client, served.address()).await.unwrap();
    assert_eq!(ask(&other).await.unwrap(), serving);
    proc::signal(old, Signal::SIGKILL);
    tokio::task::block_in_place(|| served.server.wait_for_exit(old));
    assert!(ask(&lost).await.is_err());
    // Not by a timeout: the successor knows the key of its reset tokens.
    assert_eq!(lost.close_reason(), Some(ConnectionError::Reset));
    assert_eq!(ask(&other).await.unwrap(), serving);
    assert_eq!(ask(&connect(&client, served.address()).await.unwrap()).await.unwrap(), serving);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_what_is_left_at_the_drain_deadline_is_closed_and_the_process_ends() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--drain-timeout", "1s"]);
    let connection = connect(&served.client(), served.address()).await.unwrap();
    let old = ask(&connection).await.unwrap();
    served.restart(old).await;
    let closed = tokio::time::timeout(PATIENCE, connection.closed()).await.unwrap();
    let ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed:?}") };
    assert_eq!((closed.error_code, &closed.reason[..]), (1_u32.into(), &b"this process ends"[..]));
    tokio::task::block_in_place(|| served.server.wait_for_exit(old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g5_a_process_ends_with_its_last_connection() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--drain-timeout", "100s"]);
    let connection = connect(&served.client(), served.address()).await.unwrap();
    let old = ask(&connection).await.unwrap();
    let mark = served.server.mark();
    served.restart(old).await;
    connection.close(0_u32.into(), b"");
    tokio::task::block_in_place(|| served.server.wait_for_exit(old));
    assert!(served.server.lines(mark, says::FAILED).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_one_generation_is_resumed_in_the_next() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&[]);
    let verified = Arc::new(AtomicUsize::new(0));
    let client = served.client_that_counts(Arc::clone(&verified));
    let mut serving = served.server.first_pid;
    for _ in 0..3 {
        let connection = connect(&client, served.address()).await.unwrap();
        assert_eq!(ask(&connection).await.unwrap(), serving);
        assert_eq!(verified.load(Ordering::Relaxed), 1, "the first connection alone has a full handshake");
        serving = served.restart(serving).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_of_one_generation_is_good_in_the_next() {
    let _shared = tokio::task::block_in_place(beside_others);
    let served = start(&["--retry"]);
    let relay = Relay::start(served.address()).await;
    let (client, address) = (served.client(), relay.address);
    let connecting = tokio::spawn(async move { connect(&client, address).await.map(|made| (client, made)) });
    tokio::time::timeout(PATIENCE, relay.retried.notified()).await.expect("a Retry");
    // The client's second attempt waits here until nobody is left who has sent the Retry.
    let serving = served.restart(served.server.first_pid).await;
    tokio::task::block_in_place(|| served.server.wait_for_exit(served.server.first_pid));
    relay.go_on.notify_one();
    let (_client, connection) = connecting.await.unwrap().unwrap();
    assert_eq!(ask(&connection).await.unwrap(), serving);
}

/// Between a client and the server: from the server's Retry on it keeps what the client sends, until it may
/// go on.
struct Relay {
    address: SocketAddr,
    retried: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl Relay {
    async fn start(server: SocketAddr) -> Relay {
        let [near, far] = [bound().await, bound().await];
        far.connect(server).await.unwrap();
        let relay =
            Relay { address: near.local_addr().unwrap(), retried: Arc::default(), go_on: Arc::default() };
        let (retried, go_on) = (Arc::clone(&relay.retried), Arc::clone(&relay.go_on));
        tokio::spawn(async move {
            let (mut client, mut kept) = (None, None::<Vec<Vec<u8>>>);
            let (mut question, mut answer) = ([0; 2048], [0; 2048]);
            loop {
                tokio::select! {
                    received = near.recv_from(&mut question) => {
                        let (length, from) = received.unwrap();
                        client = Some(from);
                        match &mut kept {
                            Some(kept) => kept.push(question[..length].to_vec()),
                            None => drop(far.send(&question[..length]).await),
                        }
                    }
                    received = far.recv(&mut answer) => {
                        // Refused: the server has ended, and so has the test.
                        let Ok(length) = received else { return };
                        // A long header of the type Retry.
                        if answer[0] & 0xb0 == 0xb0 && answer[1..5] == [0, 0, 0, 1] {
                            kept = Some(Vec::new());
                            retried.notify_one();
                        }
                        near.send_to(&answer[..length], client.expect("it has asked")).await.unwrap();
                    }
                    () = go_on.notified() => {
                        for datagram in kept.take().into_iter().flatten() {
                            far.send(&datagram).await.unwrap();
                        }
                    }
                }
            }
        });
        relay
    }
}

async fn bound() -> tokio::net::UdpSocket {
    tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap()
}
