//! The rows of the table: what clients do while their server restarts, and what they have to say of it.

use std::fmt::Write;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use heirloom::quic::quinn::{Connection, ConnectionError};
use heirloom_bench::proc;
use nix::sys::signal::Signal;
use tokio::task::{JoinHandle, block_in_place};

use crate::client::{Client, PATIENCE, Sessions, ask, download, upload};
use crate::server::{Kind, Server};
use crate::{Failable, Scale};

/// What is said in one row of one server, and whether it is as it must be.
pub(crate) struct Cell {
    pub(crate) says: String,
    pub(crate) holds: bool,
}

/// Connections that are kept, each with a stream every 100 ms.
pub(crate) async fn kept(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &[])?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = Vec::new();
    for _ in 0..scale.kept {
        let client = Client::new(&server, Sessions::New)?;
        let connection = client.connect().await?;
        clients.push(tokio::spawn(keep(client, connection, Arc::clone(&stop))));
    }
    for _ in 0..scale.restarts {
        tokio::time::sleep(BETWEEN).await;
        block_in_place(|| server.restart())?;
    }
    tokio::time::sleep(BETWEEN).await;
    stop.store(true, Ordering::Relaxed);
    let all = sum(clients).await?;
    let says = format!(
        "{} of {} broken, {} of {} streams lost, longest {}",
        all.broken,
        scale.kept,
        all.lost,
        all.asked,
        milliseconds(all.longest)
    );
    Ok(Cell { says, holds: (all.broken, all.lost) == (0, 0) && all.asked > 5 * scale.kept })
}

#[derive(Default)]
struct Kept {
    asked: usize,
    lost: usize,
    broken: usize,
    longest: Duration,
}

async fn keep(client: Client, mut connection: Connection, stop: Arc<AtomicBool>) -> Kept {
    let mut seen = Kept::default();
    while !stop.load(Ordering::Relaxed) {
        let began = Instant::now();
        seen.asked += 1;
        seen.lost += usize::from(ask(&connection).await.is_err());
        seen.longest = seen.longest.max(began.elapsed());
        if connection.close_reason().is_some() {
            seen.broken += 1;
            match client.connect().await {
                Ok(another) => connection = another,
                Err(_) => return seen,
            }
        }
        tokio::time::sleep_until((began + Duration::from_millis(100)).into()).await;
    }
    seen
}

async fn sum(clients: Vec<JoinHandle<Kept>>) -> Failable<Kept> {
    let mut all = Kept::default();
    for client in clients {
        let seen = client.await?;
        all.asked += seen.asked;
        all.lost += seen.lost;
        all.broken += seen.broken;
        all.longest = all.longest.max(seen.longest);
    }
    Ok(all)
}

/// Clients that open one connection after the other, each with a full handshake and one stream.
pub(crate) async fn new(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &[])?;
    let stop = Arc::new(AtomicBool::new(false));
    let crowd = begin(&server, &stop)?;
    let mut around = Vec::new();
    for _ in 0..scale.restarts {
        tokio::time::sleep(4 * BETWEEN).await;
        let (begin, settled) = block_in_place(|| server.restart())?;
        around.extend([(begin, begin + AROUND), (settled, settled + AROUND)]);
    }
    tokio::time::sleep(4 * BETWEEN).await;
    let tries = end(&stop, crowd).await?;
    let failed = tries.iter().filter(|tried| tried.failed).count();
    let is_around =
        |tried: &Tried| around.iter().any(|(from, to)| tried.began < *to && tried.began + tried.took > *from);
    let (restart, steady): (Vec<_>, Vec<_>) = tries.iter().partition(|tried| is_around(tried));
    let (restart, steady) = (percentile(&restart), percentile(&steady));
    let ratio = restart.as_secs_f64() / steady.as_secs_f64();
    let longest = tries.iter().map(|tried| tried.took).max().unwrap_or_default();
    let says = format!(
        "{failed} of {} failed, p99 {} around restarts, {} else: ratio {ratio:.2}, longest {}",
        tries.len(),
        milliseconds(restart),
        milliseconds(steady),
        milliseconds(longest)
    );
    Ok(Cell { says, holds: failed == 0 && ratio <= 2.0 })
}

#[derive(Clone, Copy)]
struct Tried {
    began: Instant,
    took: Duration,
    failed: bool,
}

type Crowd = Vec<JoinHandle<Vec<Tried>>>;

fn begin(server: &Server, stop: &Arc<AtomicBool>) -> Failable<Crowd> {
    let mut crowd = Vec::new();
    for _ in 0..8 {
        let (client, stop) = (Client::new(server, Sessions::New)?, Arc::clone(stop));
        crowd.push(tokio::spawn(async move {
            let mut tries = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let failed = match client.connect().await {
                    Ok(connection) => ask(&connection).await.is_err(),
                    Err(_) => true,
                };
                tries.push(Tried { began, took: began.elapsed(), failed });
            }
            tries
        }));
    }
    Ok(crowd)
}

async fn end(stop: &AtomicBool, crowd: Crowd) -> Failable<Vec<Tried>> {
    stop.store(true, Ordering::Relaxed);
    let mut all = Vec::new();
    for client in crowd {
        all.extend(client.await?);
    }
    Ok(all)
}

fn percentile(tries: &[&Tried]) -> Duration {
    let mut took: Vec<_> = tries.iter().map(|tried| tried.took).collect();
    took.sort_unstable();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

/// Clients that prove their address each time, and go on with the session that they have.
pub(crate) async fn resumed(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &["--retry"])?;
    let client = Client::new(&server, Sessions::Resumed)?;
    let (mut failed, mut connections) = (0, 0);
    for restart in 0..=scale.few + 2 {
        if restart > 0 {
            block_in_place(|| server.restart())?;
        }
        for _ in 0..10 {
            connections += 1;
            failed += match client.connect().await {
                Ok(connection) => usize::from(ask(&connection).await.is_err()),
                Err(_) => 1,
            };
        }
    }
    let full = client.verified.load(Ordering::Relaxed);
    let says = format!("{failed} of {connections} failed, {} resumed", connections - full.min(connections));
    Ok(Cell { says, holds: (failed, full) == (0, 1) })
}

/// Clients that ask with their first packet.
pub(crate) async fn early(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, if kind == Kind::Plain { &[] } else { &["--early-data"] })?;
    let client = Client::new(&server, Sessions::Early)?;
    // There is no session yet.
    client.ask_early().await?;
    let (mut failed, mut taken, mut asked) = (0, 0, 0);
    for _ in 0..scale.few + 2 {
        block_in_place(|| server.restart())?;
        for _ in 0..10 {
            asked += 1;
            match client.ask_early().await {
                Ok(is_taken) => taken += usize::from(is_taken),
                Err(_) => failed += 1,
            }
        }
    }
    let says = format!("{failed} of {asked} failed, {taken} answered with the first round trip");
    Ok(Cell { says, holds: taken == asked })
}

/// A client whose port changes while its server drains.
pub(crate) async fn moved(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &[])?;
    let client = Client::new(&server, Sessions::New)?;
    let connection = client.connect().await?;
    let old = ask(&connection).await?;
    let (mut asked, mut lost, mut longest) = (0, 0, Duration::ZERO);
    for _ in 0..scale.few {
        block_in_place(|| server.restart())?;
        client.endpoint.rebind(UdpSocket::bind("127.0.0.1:0")?)?;
        for _ in 0..5 {
            let began = Instant::now();
            asked += 1;
            lost += usize::from(!matches!(ask(&connection).await, Ok(pid) if pid == old));
            longest = longest.max(began.elapsed());
        }
    }
    let says = format!("{lost} of {asked} streams lost, longest {}", milliseconds(longest));
    Ok(Cell { says, holds: lost == 0 })
}

/// Much data, before, during and after a restart, of one connection.
pub(crate) async fn much(kind: Kind, scale: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &[])?;
    let (mut whole, mut says, mut worst) = (0, String::new(), f64::MAX);
    for _ in 0..scale.few {
        let client = Client::new(&server, Sessions::New)?;
        let connection = client.connect().await?;
        // So that both have the same window to begin with.
        download(&connection, scale.much / 4, &AtomicUsize::new(0)).await?;
        let direct = rate(scale.much, download(&connection, scale.much, &AtomicUsize::new(0))).await?;
        let up_direct = rate(scale.much, upload(&connection, scale.much)).await?;
        let read = Arc::new(AtomicUsize::new(0));
        let during = tokio::spawn({
            let (connection, read, count) = (connection.clone(), Arc::clone(&read), scale.much);
            async move { download(&connection, count, &read).await }
        });
        while read.load(Ordering::Relaxed) < scale.much / 10 && !during.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        block_in_place(|| server.restart())?;
        if let Err(error) = during.await? {
            write!(says, "; during a restart: {error}")?;
            continue;
        }
        let read = AtomicUsize::new(0);
        let forwarded = match rate(scale.much, download(&connection, scale.much, &read)).await {
            Ok(forwarded) => forwarded,
            Err(error) => {
                write!(says, "; forwarded: {error}")?;
                continue;
            }
        };
        let before = block_in_place(|| server.dropped())?;
        let up = rate(scale.much, upload(&connection, scale.much)).await?;
        let after = block_in_place(|| server.dropped())?;
        whole += 1;
        worst = worst.min(forwarded / direct);
        write!(
            says,
            "; down {direct:.0} to {forwarded:.0} MB/s ({:.0} %), up {up_direct:.0} to {up:.0} ({:.0} %), dropped {} by \
             the kernel and {} on the way",
            100.0 * forwarded / direct,
            100.0 * up / up_direct,
            after.by_the_kernel - before.by_the_kernel,
            after.on_the_way - before.on_the_way
        )?;
    }
    let says = format!("{whole} of {} whole{says}", scale.few);
    Ok(Cell { says, holds: whole == scale.few && worst >= 0.6 })
}

async fn rate(count: usize, transfer: impl Future<Output = Failable<()>>) -> Failable<f64> {
    let began = Instant::now();
    transfer.await?;
    Ok(count as f64 / 1e6 / began.elapsed().as_secs_f64())
}

/// The old process is killed while it drains, with clients of its own and new ones beside.
pub(crate) async fn killed(kind: Kind, _: Scale) -> Failable<Cell> {
    let mut server = Server::start(kind, &[])?;
    let old = server.serving;
    let (mut own, stop) = (Vec::new(), Arc::new(AtomicBool::new(false)));
    for _ in 0..10 {
        let client = Client::new(&server, Sessions::New)?;
        let connection = client.connect().await?;
        own.push(connection.clone());
        tokio::spawn(keep(client, connection, Arc::clone(&stop)));
    }
    block_in_place(|| server.restart())?;
    let crowd = begin(&server, &stop)?;
    tokio::time::sleep(2 * BETWEEN).await;
    proc::signal(old, Signal::SIGKILL);
    let (dead, mut longest, mut told) = (Instant::now(), Duration::ZERO, 0);
    for connection in &own {
        let reason = tokio::time::timeout(PATIENCE, connection.closed()).await;
        told += usize::from(matches!(reason, Ok(ConnectionError::Reset)));
        longest = longest.max(dead.elapsed());
    }
    tokio::time::sleep(2 * BETWEEN).await;
    let tries = end(&stop, crowd).await?;
    let failed = tries.iter().filter(|tried| tried.failed).count();
    let says = format!(
        "{failed} of {} new ones failed; {told} of {} of the dead one's told, within {}",
        tries.len(),
        own.len(),
        milliseconds(longest)
    );
    Ok(Cell { says, holds: failed == 0 && told == own.len() })
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// Between two restarts: a few streams of each client.
const BETWEEN: Duration = Duration::from_millis(500);

/// After a signal and after a process has settled, what happens is of the restart: a process starts and is ready
/// within a tenth of this.
const AROUND: Duration = Duration::from_millis(500);
