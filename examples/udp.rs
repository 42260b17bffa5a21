//! A datagram server: answers each datagram with its process id and itself. `udp 127.0.0.1:7001`, then `kill -USR2 PID`.
//!
//! The socket is handed down like a listener, so its queue outlives every generation. There is nothing to drain: a
//! datagram is in flight from `recv_from` to `send_to`, so this process stops receiving when it drains, answers what it
//! has received, and is done. Before that both generations receive for a moment, and the kernel gives each datagram to
//! one of them: a protocol with sessions would pass what is not its own on to the other.

use heirloom::{Ending, Restarter};
use tokio::net::UdpSocket;

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let address =
        std::env::args().next_back().filter(|last| last.contains(':')).unwrap_or("127.0.0.1:7001".into());

    let restarter = Restarter::new()?;
    let socket = UdpSocket::from_std(restarter.udp(address)?)?;
    println!("listening on {}", socket.local_addr()?);

    // Not before this process may: until then the predecessor is the one that answers.
    restarter.ready().await?;
    let (draining, work) = (restarter.draining(), restarter.hold());
    let serving = tokio::spawn(async move {
        let mut datagram = [0; 2048];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut datagram) => {
                    let (length, client) = received?;
                    let answer = [format!("{} ", std::process::id()).as_bytes(), &datagram[..length]].concat();
                    socket.send_to(&answer, client).await?;
                }
                () = draining.clone() => break,
            }
        }
        drop(work);
        Ok::<(), std::io::Error>(())
    });
    let ending = restarter.ended().await;
    serving.await??;
    Ok(ending)
}
