//! The clients: each a task, all on one thread.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::answer::{self, Answer};
use super::{Expect, Failure, Look, Mode, Shared, Target, Think};

/// What all clients of a load do.
pub(super) struct Plan {
    target: Target,
    mode: Mode,
    request: Vec<u8>,
    expect: Expect,
    patience: Duration,
}

impl Plan {
    pub(super) fn new(target: Target, mode: Mode, path: &str, expect: Expect, patience: Duration) -> Plan {
        Plan { target, mode, request: answer::request(path), expect, patience }
    }
}

/// Runs all clients until `stop` turns true.
pub(super) fn drive(plan: &Arc<Plan>, shared: &Arc<Shared>, stop: &watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut clients = tokio::task::JoinSet::new();
        for number in 0..plan.mode.clients() {
            let client = Client {
                plan: Arc::clone(plan),
                shared: Arc::clone(shared),
                connection: None,
                // Any odd constant will do; equal seeds would make the clients think in step.
                dice: 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(number as u64 + 1),
            };
            clients.spawn(client.run(stop.clone()));
        }
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client does not panic");
        }
    });
}

struct Client {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    connection: Option<Connection>,
    dice: u64,
}

/// Why a request failed, in kind and in words.
struct Lost(Failure, String);

impl Client {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        while !*stop.borrow_and_update() {
            let patience = self.plan.patience;
            let outcome = timeout(patience, self.ask()).await.unwrap_or_else(|_| {
                Err(Lost(Failure::TimedOut, format!("no complete answer in {patience:?}")))
            });
            let pause = match outcome {
                Ok((answer, latency)) => {
                    self.shared.record(|report| report.answered(&answer.body, latency, answer.closes));
                    self.think()
                }
                Err(Lost(kind, detail)) => {
                    self.connection = None;
                    self.shared.record(|report| report.failed_with(kind, &detail));
                    AFTER_FAILURE
                }
            };
            if !pause.is_zero() {
                tokio::select! {
                    () = sleep(pause) => (), // allow: sleep (the client's think time)
                    _ = stop.changed() => (),
                }
            }
        }
    }

    async fn ask(&mut self) -> Result<(Answer, Duration), Lost> {
        let plan = Arc::clone(&self.plan);
        let began = Instant::now();
        let mut waited = Duration::ZERO;
        let mut connection = match self.connection.take() {
            Some(kept) if self.is_open(&kept)? => kept,
            _ => Connection::open(&plan.target).await?,
        };
        if let Mode::KeepAlive { look: Look::ThenWait(wait), .. } = plan.mode {
            let before = Instant::now();
            sleep(wait).await; // allow: sleep (the round trip between the look and the request)
            waited = before.elapsed();
        }
        connection.send(&plan.request).await?;
        let answer = connection.answer().await?;
        let latency = began.elapsed().saturating_sub(waited);
        plan.expect.check(&answer)?;
        if matches!(plan.mode, Mode::KeepAlive { .. }) && !answer.closes {
            self.connection = Some(connection);
        }
        Ok((answer, latency))
    }

    /// Looks for a FIN; an unseen close is the race that this client is here to lose.
    fn is_open(&self, connection: &Connection) -> Result<bool, Lost> {
        if matches!(self.plan.mode, Mode::KeepAlive { look: Look::Never, .. }) {
            return Ok(true);
        }
        match connection.peek() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Ok(0) => {
                self.shared.record(|report| report.reconnects += 1);
                Ok(false)
            }
            Ok(_) => Err(Lost(Failure::BadAnswer, "bytes on an idle connection".to_owned())),
            Err(error) => Err(Lost(Failure::Reset, format!("an idle connection: {error}"))),
        }
    }

    fn think(&mut self) -> Duration {
        let Think { from, to } = self.plan.mode.think();
        // xorshift64: even enough for a pause.
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let span = u64::try_from((to - from).as_millis()).unwrap_or(u64::MAX);
        from + Duration::from_millis(self.dice % (span + 1))
    }
}

impl Expect {
    fn check(&self, answer: &Answer) -> Result<(), Lost> {
        let Answer { status, body, .. } = answer;
        if *status != 200 {
            return Err(Lost(Failure::BadAnswer, format!("status {status}: {body:?}")));
        }
        let right = match self {
            Expect::Anything => true,
            Expect::Number => body.trim_end().parse::<u64>().is_ok(),
            Expect::StartsWith(start) => body.starts_with(start),
        };
        if right { Ok(()) } else { Err(Lost(Failure::WrongBody, format!("{body:?}"))) }
    }
}

/// One connection of a client.
enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Connection {
    async fn open(target: &Target) -> Result<Connection, Lost> {
        let opened = match target {
            Target::Tcp(address) => TcpStream::connect(address).await.map(Connection::Tcp),
            Target::Unix(path) => UnixStream::connect(answer::unix_path(path)).await.map(Connection::Unix),
        };
        opened.map_err(|error| {
            let kind = match error.kind() {
                ErrorKind::ConnectionRefused | ErrorKind::NotFound | ErrorKind::WouldBlock => {
                    Failure::Refused
                }
                ErrorKind::ConnectionReset => Failure::Reset,
                ErrorKind::TimedOut => Failure::TimedOut,
                _ => Failure::Local,
            };
            Lost(kind, format!("connect: {error}"))
        })
    }

    fn peek(&self) -> io::Result<usize> {
        SockRef::from(&self.fd()).peek(&mut [MaybeUninit::uninit()])
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Lost> {
        // Tried without an await first: a turn of the other clients in between would widen the race.
        let tried = match self {
            Connection::Tcp(stream) => stream.try_write(request),
            Connection::Unix(stream) => stream.try_write(request),
        };
        let sent = match tried {
            Ok(count) if count == request.len() => Ok(()),
            Ok(count) => self.write_all(&request[count..]).await,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.write_all(request).await,
            Err(error) => Err(error),
        };
        sent.map_err(|error| Lost(Failure::Reset, format!("send: {error}")))
    }

    async fn answer(&mut self) -> Result<Answer, Lost> {
        let mut bytes = Vec::with_capacity(USUAL_ANSWER);
        loop {
            let read = match self {
                Connection::Tcp(stream) => stream.read_buf(&mut bytes).await,
                Connection::Unix(stream) => stream.read_buf(&mut bytes).await,
            };
            let nothing = bytes.is_empty();
            match read {
                Ok(0) if nothing => return Err(Lost(Failure::Empty, "closed without an answer".to_owned())),
                Ok(0) => return Err(Lost(Failure::CutOff, format!("closed after {} bytes", bytes.len()))),
                Err(error) if nothing => return Err(Lost(Failure::Reset, format!("read: {error}"))),
                Err(error) => {
                    return Err(Lost(Failure::CutOff, format!("after {} bytes: {error}", bytes.len())));
                }
                Ok(_) => (),
            }
            match answer::parse(&bytes) {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => (),
                Err(reason) => return Err(Lost(Failure::BadAnswer, reason)),
            }
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.write_all(bytes).await,
            Connection::Unix(stream) => stream.write_all(bytes).await,
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Connection::Tcp(stream) => stream.as_fd(),
            Connection::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A server that refuses everything would otherwise be asked 100,000 times a second, and the machine with it.
const AFTER_FAILURE: Duration = Duration::from_millis(1);

/// Head and body of what the servers under test answer, so that one read and one allocation do.
const USUAL_ANSWER: usize = 512;
