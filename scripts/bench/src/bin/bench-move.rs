//! What moving idle connections costs at a restart, beside the sum of what it cannot do without.
//!
//! ```text
//! cargo build --release -p heirloom-bench --all-features && target/release/bench-move [--connections 10000] [--rounds 5]
//! ```
//!
//! The parts, one after the other on one thread of a process of their own: receiving the descriptors in batches,
//! registering them with tokio, starting hyper's HTTP/1 on each and polling it once, and tearing all that down. The
//! move: `hello` with as many idle connections, from the moment that its restart is settled to its last connection
//! being gone (`ended` in its log), and to its exit. In turns in one run.

use std::error::Error;
use std::future::Future;
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::task::{Context, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use heirloom_bench::proc;
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use lexopt::prelude::*;
use nix::sys::signal::Signal;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let (mut connections, mut rounds, mut receive) = (10_000_usize, 5_usize, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("connections") => connections = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("receive") => receive = true,
            other => return Err(other.unexpected().into()),
        }
    }
    let connections = proc::affordable(connections);
    if receive {
        return measure_parts(connections);
    }

    nix::sys::prctl::set_child_subreaper(true)?;
    let mut server = Hello::start()?;
    let clients = (0..connections).map(|number| server.connect(number % 2 == 0));
    let clients = clients.collect::<Failable<Vec<_>>>()?;
    println!(
        "{connections} connections, ms   pass register  start teardown |   sum |  ended ratio | exited ratio"
    );
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let parts = parts(&clients)?;
        let (ended, exited) = server.restart()?;
        let [pass, register, start, teardown] = parts.map(millis);
        let sum: Duration = parts.iter().sum();
        let ratio = |took: Duration| took.as_secs_f64() / sum.as_secs_f64();
        println!(
            "round {round:<20} {pass:>6.1} {register:>8.1} {start:>6.1} {teardown:>8.1} | {:>5.1} | {:>6.1} {:>5.2} | {:>6.1} {:>5.2}",
            millis(sum),
            millis(ended),
            ratio(ended),
            millis(exited),
            ratio(exited)
        );
        ratios.push(ratio(ended));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    println!("median ratio {:.2}   (at most 2 is the aim)", ratios[ratios.len() / 2]);
    Ok(())
}

/// The server that is restarted, and what it says.
struct Hello {
    first: Child,
    address: SocketAddr,
    pid: i32,
    log: std::io::Lines<BufReader<ChildStderr>>,
}

impl Hello {
    fn start() -> Failable<Hello> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let hello = std::env::current_exe()?.with_file_name("hello");
        let mut command = Command::new(&hello);
        command.arg("--listen").arg(address.to_string()).args(["--probation", "300ms"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut first =
            child.map_err(|error| format!("{}: {error} (is it built as above?)", hello.display()))?;
        let log = BufReader::new(first.stderr.take().ok_or("no pipe")?).lines();
        let pid = i32::try_from(first.id())?;
        let mut hello = Hello { first, address, pid, log };
        hello.wait_for("accepting")?;
        Ok(hello)
    }

    fn connect(&self, speaks: bool) -> Failable<TcpStream> {
        let mut client = TcpStream::connect(self.address)?;
        if speaks {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            // An answer of this size comes whole.
            let count = client.read(&mut [0; 1024])?;
            assert!(count > 0, "closed instead of an answer");
        }
        Ok(client)
    }

    /// How long after it was settled the last connection was gone, and the old process.
    fn restart(&mut self) -> Failable<(Duration, Duration)> {
        proc::signal(self.pid, Signal::SIGUSR2);
        let line = self.wait_for("successor settled")?;
        let new = line.split("pid=").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no pid")?;
        let settled = time_of(&line)?;
        let ended = time_of(&self.wait_for("ended")?)?;
        if !proc::wait_for_exit(self.pid, Duration::from_secs(60)) {
            return Err("the old process does not end".into());
        }
        let exited = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() % DAY;
        self.pid = new.parse()?;
        // What it has taken must not be part of the next measurement.
        std::thread::sleep(Duration::from_millis(300)); // allow: sleep (nothing says that another process is idle)
        Ok((Duration::from_secs_f64(ended - settled), Duration::from_secs_f64(exited - settled)))
    }

    fn wait_for(&mut self, pattern: &str) -> Failable<String> {
        loop {
            let line = self.log.next().ok_or("the server is gone")??;
            if line.contains(pattern) {
                return Ok(line);
            }
        }
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        proc::signal(self.pid, Signal::SIGKILL);
        let _ = self.first.wait();
    }
}

/// Has a process of its own measure the parts, with duplicates of these connections.
fn parts(clients: &[TcpStream]) -> Failable<[Duration; 4]> {
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--receive", "--connections"]).arg(clients.len().to_string());
    let mut child = command.stdin(Stdio::from(far)).stdout(Stdio::piped()).spawn()?;
    // It has started, and its clock runs.
    recvmsg(
        &near,
        &mut [IoSliceMut::new(&mut [0])],
        &mut RecvAncillaryBuffer::new(&mut []),
        RecvFlags::empty(),
    )?;
    for batch in clients.chunks(BATCH) {
        let fds: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there is room for a batch");
        sendmsg(&near, &[IoSlice::new(b"fds")], &mut control, SendFlags::empty())?;
    }
    let mut said = String::new();
    child.stdout.take().ok_or("no pipe")?.read_to_string(&mut said)?;
    child.wait()?;
    let micros = said.split_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let micros: [u64; 4] = micros.try_into().map_err(|_| format!("four numbers, not {said:?}"))?;
    Ok(micros.map(Duration::from_micros))
}

/// In the process of its own: stdin is the channel.
fn measure_parts(count: usize) -> Failable<()> {
    let channel = std::io::stdin();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    sendmsg(&channel, &[IoSlice::new(b"!")], &mut SendAncillaryBuffer::new(&mut []), SendFlags::empty())?;

    let mut lap = Instant::now();
    let mut took = || {
        let elapsed = lap.elapsed();
        lap = Instant::now();
        elapsed.as_micros()
    };
    let mut fds: Vec<OwnedFd> = Vec::with_capacity(count);
    while fds.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        recvmsg(&channel, &mut [IoSliceMut::new(&mut [0; 16])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let before = fds.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        if fds.len() == before {
            return Err("the channel ended".into());
        }
    }
    let passed = took();

    let mut streams = Vec::with_capacity(count);
    for fd in fds {
        let stream = TcpStream::from(fd);
        stream.set_nonblocking(true)?;
        streams.push(tokio::net::TcpStream::from_std(stream)?);
    }
    let registered = took();

    let builder = http1::Builder::new();
    let mut context = Context::from_waker(Waker::noop());
    let mut serving = Vec::with_capacity(count);
    for stream in streams {
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        });
        let mut connection = builder.serve_connection(TokioIo::new(stream), service);
        assert!(Pin::new(&mut connection).poll(&mut context).is_pending(), "an idle connection");
        serving.push(connection);
    }
    let started = took();

    for connection in serving {
        drop(connection.into_parts().io.into_inner().into_std()?);
    }
    println!("{passed} {registered} {started} {}", took());
    Ok(())
}

/// The time of day in a line of the server's log, in seconds.
fn time_of(line: &str) -> Failable<f64> {
    let time = line.split(['T', 'Z']).nth(1).ok_or("no time")?;
    time.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// As many as the library sends at a time.
const BATCH: usize = 200;

/// In seconds. A run over midnight fails, and says so by a negative duration.
const DAY: f64 = 86_400.0;
