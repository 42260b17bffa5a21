//! Counts each conversation's datagrams, over one UDP socket: `GENERATION CONVERSATION NUMBER` is answered by `PID
//! GENERATION NUMBER COUNT`. A conversation begins with generation 0.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::process::{ExitCode, Termination};
use std::sync::Arc;
use std::time::Duration;

use heirloom::udp::{Classifier, Flows, Owner};
use heirloom::{Ending, Restarter, Supervisor};

#[derive(Clone)]
struct Options {
    address: String,
    how: String,
    idle: Duration,
}

pub(crate) fn main() -> Result<ExitCode, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let mut options =
        Options { address: String::new(), how: "by-peer".to_owned(), idle: Duration::from_secs(1) };
    let (mut restarter, mut is_supervised) = (Restarter::builder(), false);
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let duration = || humantime::parse_duration(&value);
        match name.as_str() {
            "--listen" => options.address = value,
            "--how" => options.how = value,
            "--idle" => options.idle = duration()?,
            "--probation" => restarter = restarter.probation(duration()?),
            "--drain-timeout" => restarter = restarter.drain_timeout(duration()?),
            "--supervised" => is_supervised = value == "yes",
            other => return Err(format!("no option {other:?}").into()),
        }
    }
    if is_supervised {
        let supervisor = Supervisor::new().restarter(restarter);
        return Ok(supervisor.run(move |restarter| in_runtime(serve(restarter, options.clone())))?);
    }
    Ok(in_runtime(serve(restarter.start()?, options)).report())
}

fn in_runtime<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

async fn serve(restarter: Restarter, options: Options) -> Result<Ending, Box<dyn Error>> {
    if options.how == "plain" {
        return plain(restarter, options).await;
    }
    let classifier = match options.how.as_str() {
        "by-peer" => Classifier::by_peer(options.idle),
        "requests" => Classifier::requests(),
        _ => Classifier::by(|bytes, _| match parts(bytes) {
            Some((0, ..)) => Owner::New,
            Some((generation, ..)) => Owner::Generation(generation),
            None => Owner::Unknown,
        }),
    };
    let is_by_peer = options.how == "by-peer";
    // heirloom does not know of conversations that have ids of the program's.
    let hold = (options.how == "by-id").then(|| restarter.hold());
    let flows = Arc::new(restarter.check(restarter.flows(&options.address, classifier)).await?);
    println!("listening on {}", flows.local_addr());
    println!("pid {}", std::process::id());
    let generation = restarter.generation();
    let told = Arc::clone(&flows);
    tokio::spawn(async move {
        converse(&flows, generation, is_by_peer).await;
        println!("no more conversations: generation {generation}");
        drop(hold);
    });
    let ending = restarter.run().await?;
    println!("at the end: {:?}", told.status());
    Ok(ending)
}

async fn converse(flows: &Flows, generation: u64, is_by_peer: bool) {
    let mut counts: HashMap<(Option<SocketAddr>, String), u64> = HashMap::new();
    let mut datagram = [0; 2048];
    while let Some((length, peer)) = flows.recv_from(&mut datagram).await {
        let Some((_, conversation, number)) = parts(&datagram[..length]) else { continue };
        let count = counts.entry((is_by_peer.then_some(peer), conversation.to_owned())).or_default();
        *count += 1;
        let answer = format!("{} {generation} {number} {count}", std::process::id());
        let _ = flows.send_to(answer.as_bytes(), peer).await;
    }
}

/// What a program does without heirloom's help: both generations read until the older one drains.
async fn plain(restarter: Restarter, options: Options) -> Result<Ending, Box<dyn Error>> {
    let socket = tokio::net::UdpSocket::from_std(restarter.udp(&options.address)?)?;
    println!("listening on {}", socket.local_addr()?);
    println!("pid {}", std::process::id());
    restarter.ready().await?;
    let (draining, generation) = (restarter.draining(), restarter.generation());
    tokio::spawn(async move {
        let mut counts: HashMap<String, u64> = HashMap::new();
        let mut datagram = [0; 2048];
        loop {
            let (length, peer) = tokio::select! {
                received = socket.recv_from(&mut datagram) => match received {
                    Ok(received) => received,
                    Err(_) => continue,
                },
                () = draining.clone() => return,
            };
            let Some((_, conversation, number)) = parts(&datagram[..length]) else { continue };
            let count = counts.entry(conversation.to_owned()).or_default();
            *count += 1;
            let answer = format!("{} {generation} {number} {count}", std::process::id());
            let _ = socket.send_to(answer.as_bytes(), peer).await;
        }
    });
    Ok(restarter.ended().await)
}

fn parts(datagram: &[u8]) -> Option<(u64, &str, u64)> {
    let mut words = std::str::from_utf8(datagram).ok()?.split(' ');
    // What comes after that fills the datagram.
    Some((words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?))
}
