//! Restarts the tonic program under load, with tonic's own channel and no call repeated:
//! `tonic-load ADDR RESTARTS FILE`, where FILE always has the pid that serves.
//!
//! Prints a row for each kind of call, and exits 1 if any unary one failed. A stream can find, while it is
//! opened, that its connection is told to go: tonic's channel does not open it again. At the end the service
//! is stopped, of which a health watch has to hear first.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use heirloom_frameworks::echo::{Echo, EchoClient, EchoServer, Said};
use heirloom_frameworks::load::{Failable, PATIENCE, await_end, pauses, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[tokio::main]
async fn main() -> Failable<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(restarts), Some(file)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("say an address, a number of restarts, and a file".into());
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    let load = Arc::new(Load::default());
    let mut clients = Vec::new();
    let calls = endpoint.connect().await?;
    for seed in 0..16 {
        clients.push(tokio::spawn(load.clone().say(EchoClient::new(calls.clone()), seed)));
    }
    let streams = endpoint.connect().await?;
    for seed in 0..4 {
        clients.push(tokio::spawn(load.clone().repeat(EchoClient::new(streams.clone()), seed)));
        clients.push(tokio::spawn(load.clone().talk(EchoClient::new(streams.clone()), seed)));
    }
    let (heard, mut watched) = mpsc::unbounded_channel();
    tokio::spawn(watch(HealthClient::new(endpoint.connect().await?), heard));

    for _ in 0..restarts.parse()? {
        restart(&endpoint, &file).await?;
    }
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    let mut failed = false;
    for (name, kind) in [("say", &load.said), ("repeat", &load.repeated), ("talk", &load.talked)] {
        let (calls, lost) = (kind.calls.load(Ordering::Relaxed), kind.failed.load(Ordering::Relaxed));
        println!("{name} {calls} {lost}");
        failed |= calls == 0 || name == "say" && lost > 0;
    }
    while let Ok(status) = watched.try_recv() {
        if status != ServingStatus::Serving as i32 {
            return Err("a health watch was told of a restart".into());
        }
    }
    signal("TERM", pid(&endpoint).await?)?;
    let last = timeout(PATIENCE, watched.recv()).await?;
    if last != Some(ServingStatus::NotServing as i32) {
        return Err(format!("a health watch heard {last:?} at the end").into());
    }
    Ok(ExitCode::from(u8::from(failed)))
}

#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    said: Kind,
    repeated: Kind,
    talked: Kind,
}

#[derive(Default)]
struct Kind {
    calls: AtomicU64,
    failed: AtomicU64,
}

impl Kind {
    fn count<T>(&self, name: &str, ended: Result<T, impl Display>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(why) = ended {
            self.failed.fetch_add(1, Ordering::Relaxed);
            eprintln!("{name}: {why}");
        }
    }
}

impl Load {
    async fn say(self: Arc<Load>, mut client: EchoClient<Channel>, seed: u64) {
        let mut pause = pauses(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            self.said.count("say", within(client.say(Said { times: 1, by: 0 })).await);
            sleep(pause()).await;
        }
    }

    async fn repeat(self: Arc<Load>, mut client: EchoClient<Channel>, seed: u64) {
        let mut pause = pauses(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            let all = async {
                let answers = client.repeat(Said { times: STREAMED, by: 0 }).await?.into_inner();
                whole(answers.collect::<Result<Vec<Said>, Status>>().await?.len())
            };
            self.repeated.count("repeat", within(all).await);
            sleep(pause()).await;
        }
    }

    /// One says, the other answers, in turn.
    async fn talk(self: Arc<Load>, mut client: EchoClient<Channel>, seed: u64) {
        let mut pause = pauses(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            let all = async {
                let (say, said) = mpsc::channel(1);
                let mut answers = client.talk(ReceiverStream::new(said)).await?.into_inner();
                let mut answered = 0;
                for _ in 0..STREAMED {
                    let _ = say.send(Said { times: 1, by: 0 }).await;
                    answered += usize::from(answers.message().await?.is_some());
                }
                drop(say);
                whole(answered)
            };
            self.talked.count("talk", within(all).await);
            sleep(pause()).await;
        }
    }
}

fn whole(count: usize) -> Result<(), Status> {
    if count == STREAMED as usize { Ok(()) } else { Err(Status::data_loss(format!("{count} answers"))) }
}

async fn within<T>(call: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    timeout(PATIENCE, call).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer")))
}

/// Asks again whenever the stream ends, and passes on each status.
async fn watch(mut client: HealthClient<Channel>, heard: mpsc::UnboundedSender<i32>) {
    let request = HealthCheckRequest { service: EchoServer::<Echo>::NAME.to_owned() };
    while let Ok(statuses) = client.watch(request.clone()).await {
        let mut statuses = statuses.into_inner();
        while let Ok(Some(answer)) = statuses.message().await {
            let _ = heard.send(answer.status);
        }
    }
}

/// USR2, and both ends of it: the successor answers, and the predecessor is gone.
async fn restart(endpoint: &Endpoint, file: &str) -> Failable<()> {
    let old = pid(endpoint).await?;
    signal("USR2", old)?;
    let answers = async {
        while pid(endpoint).await.is_ok_and(|pid| pid == old) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, answers).await.map_err(|_| format!("pid {old} still answers"))?;
    await_end(old).await?;
    Ok(std::fs::write(file, pid(endpoint).await?.to_string())?)
}

/// On a new connection: who accepts now.
async fn pid(endpoint: &Endpoint) -> Failable<u32> {
    Ok(EchoClient::new(endpoint.connect().await?).say(Said::default()).await?.into_inner().by)
}

/// Answers to each streaming call.
const STREAMED: u32 = 10;
