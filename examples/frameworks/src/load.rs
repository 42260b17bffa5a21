//! Clients of a server that is restarted: they repeat nothing that has failed, and count it.

use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

/// What a load program can fail with.
pub type Failable<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// One client, with what it knows over all of its connections.
pub trait Client: Send + 'static {
    /// What it has with the server.
    type Connection: Send;

    /// Each has a number of its own.
    fn new(number: u64) -> Self;

    /// Opens another connection.
    fn connect(&self, address: &str) -> impl Future<Output = Failable<Self::Connection>> + Send;

    /// Asks once, and looks at all of the answer. The pid of who has answered.
    fn ask(&mut self, connection: &mut Self::Connection) -> impl Future<Output = Failable<u32>> + Send;
}

/// Restarts the server at `ADDR RESTARTS FILE`, the arguments, under load, and stops it. FILE always has the
/// pid that serves.
///
/// Prints how often was asked, how often in vain on new connections and on kept ones, how many of those were
/// opened again, and the longest wait for an answer, in milliseconds. It is exit status 1 if anything was in
/// vain.
pub async fn drive<C: Client>() -> Failable<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(restarts), Some(file)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("say an address, a number of restarts, and a file".into());
    };
    let load = Arc::new(Load { address, ..Load::default() });
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(tokio::spawn(load.clone().on_one_connection(C::new(number), number)));
        let number = CLIENTS + number;
        clients.push(tokio::spawn(load.clone().on_new_connections(C::new(number), number)));
    }
    let mut operator = C::new(2 * CLIENTS);
    let mut pid = load.ask_anew(&mut operator).await?;
    for _ in 0..restarts.parse()? {
        let old = pid;
        signal("USR2", old)?;
        let answers = async {
            while pid == old {
                pid = load.ask_anew(&mut operator).await?;
                sleep(LOOK).await;
            }
            Failable::Ok(())
        };
        timeout(PATIENCE, answers).await.map_err(|_| format!("pid {old} still answers"))??;
        await_end(old).await?;
        std::fs::write(&file, pid.to_string())?;
    }
    load.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    signal("TERM", pid)?;
    await_end(pid).await?;
    let counts = [&load.asked, &load.new_failed, &load.kept_failed, &load.opened_again];
    let [asked, new, kept, again] = counts.map(|count| count.load(Ordering::Relaxed));
    println!("{asked} {new} {kept} {again} {}", load.longest.load(Ordering::Relaxed));
    Ok(ExitCode::from(u8::from(asked == 0 || new + kept + again > 0)))
}

#[derive(Default)]
struct Load {
    address: String,
    is_over: AtomicBool,
    asked: AtomicU64,
    new_failed: AtomicU64,
    kept_failed: AtomicU64,
    opened_again: AtomicU64,
    longest: AtomicU64,
}

impl Load {
    async fn on_one_connection<C: Client>(self: Arc<Self>, mut client: C, seed: u64) {
        let (mut pause, mut kept) = (pauses(seed), None);
        let mut opened: u64 = 0;
        while !self.is_over.load(Ordering::Relaxed) {
            let asked = self.within(async {
                let mut connection = match kept.take() {
                    Some(connection) => connection,
                    None => {
                        opened += 1;
                        client.connect(&self.address).await?
                    }
                };
                client.ask(&mut connection).await?;
                Ok(connection)
            });
            match asked.await {
                Ok(connection) => kept = Some(connection),
                Err(why) => self.failed(&self.kept_failed, "on a kept connection", &*why),
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            sleep(pause()).await;
        }
        self.opened_again.fetch_add(opened.saturating_sub(1), Ordering::Relaxed);
    }

    async fn on_new_connections<C: Client>(self: Arc<Self>, mut client: C, seed: u64) {
        let mut pause = pauses(seed);
        while !self.is_over.load(Ordering::Relaxed) {
            if let Err(why) = self.ask_anew(&mut client).await {
                self.failed(&self.new_failed, "on a new connection", &*why);
            }
            self.asked.fetch_add(1, Ordering::Relaxed);
            sleep(pause()).await;
        }
    }

    async fn ask_anew<C: Client>(&self, client: &mut C) -> Failable<u32> {
        self.within(async {
            let mut connection = client.connect(&self.address).await?;
            client.ask(&mut connection).await
        })
        .await
    }

    async fn within<T>(&self, asking: impl Future<Output = Failable<T>>) -> Failable<T> {
        let began = Instant::now();
        let answer = timeout(PATIENCE, asking).await?;
        self.longest.fetch_max(began.elapsed().as_millis() as u64, Ordering::Relaxed);
        answer
    }

    fn failed(&self, count: &AtomicU64, on: &str, why: &dyn Error) {
        count.fetch_add(1, Ordering::Relaxed);
        eprintln!("{on}: {why}");
    }
}

/// Sends a signal, by its name.
pub fn signal(name: &str, pid: u32) -> Failable<()> {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status()?;
    if sent.success() { Ok(()) } else { Err(format!("pid {pid} cannot be signalled").into()) }
}

/// Waits until a process has ended. (Who started it may not have reaped it.)
pub async fn await_end(pid: u32) -> Failable<()> {
    let executable = format!("/proc/{pid}/exe");
    let ended = async {
        while Path::new(&executable).read_link().is_ok() {
            sleep(LOOK).await;
        }
    };
    timeout(PATIENCE, ended).await.map_err(|_| format!("pid {pid} is still there").into())
}

/// From 0 to 20 ms, in an order of each client's own.
pub fn pauses(seed: u64) -> impl FnMut() -> Duration {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        Duration::from_millis((state >> 33) % 21)
    }
}

/// Of each kind.
const CLIENTS: u64 = 16;

/// How often one looks for what does not announce itself.
const LOOK: Duration = Duration::from_millis(20);

/// Beyond the drain deadline, so that what is lost shows as such.
pub const PATIENCE: Duration = Duration::from_secs(90);
