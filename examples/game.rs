//! A game of datagrams: each player walks on a field that one process has in its memory. `game 127.0.0.1:7003`,
//! `kill -USR2 PID`: who plays goes on in the process that knows the player, who begins is with the new one.
//!
//! A datagram is a number and a step: `7 up`. The answer is the number, where the player stands, and who says so:
//! `7 0,1 pid 4711`. Try it with `nc -u 127.0.0.1 7003`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use heirloom::udp::Classifier;
use heirloom::{Ending, Restarter};

/// Who is silent for longer has left.
const IDLE: Duration = Duration::from_secs(10);

struct Player {
    at: (i64, i64),
    seen: Instant,
}

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let address =
        std::env::args().next_back().filter(|last| last.contains(':')).unwrap_or("127.0.0.1:7003".into());

    let restarter = Restarter::new()?;
    let flows = restarter.check(restarter.flows(address, Classifier::by_peer(IDLE))).await?;
    println!("listening on {}", flows.local_addr());

    tokio::spawn(async move {
        let mut players: HashMap<SocketAddr, Player> = HashMap::new();
        let mut datagram = [0; 512];
        // Ends when a successor reads and the last player of this process has left.
        while let Some((length, peer)) = flows.recv_from(&mut datagram).await {
            let now = Instant::now();
            if players.len() > 10_000 {
                players.retain(|_, player| now - player.seen <= IDLE);
            }
            let new = Player { at: (0, 0), seen: now };
            let player = players.entry(peer).or_insert(new);
            if let Some(answer) = step(player, &datagram[..length], now) {
                let _ = flows.send_to(answer.as_bytes(), peer).await;
            }
        }
    });
    Ok(restarter.run().await?)
}

fn step(player: &mut Player, datagram: &[u8], now: Instant) -> Option<String> {
    let (number, step) = std::str::from_utf8(datagram).ok()?.trim().split_once(' ')?;
    if now - player.seen > IDLE {
        player.at = (0, 0);
    }
    player.seen = now;
    match step {
        "up" => player.at.1 += 1,
        "down" => player.at.1 -= 1,
        "left" => player.at.0 -= 1,
        "right" => player.at.0 += 1,
        _ => {}
    }
    let (x, y) = player.at;
    Some(format!("{number} {x},{y} pid {}\n", std::process::id()))
}
