//! What moving idle connections costs at a restart, beside the sum of what it cannot do without.
//!
//! ```text
//! cargo build --release -p heirloom-bench --all-features
//! target/release/bench-move [--connections 10000] [--rounds 5] [--check]
//! ```
//!
//! With --check the exit status is 1 if the move takes longer than 1.5 times the sum of the parts, or if any connection
//! is closed by it or is not the new process's. `scripts/idle-connections.sh` runs it in a machine of its own, where more
//! descriptors may be open than here.
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
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use socket2::{Domain, Socket, Type};

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let (mut connections, mut rounds, mut check, mut receive) = (10_000_usize, 5_usize, false, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("connections") => connections = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("check") => check = true,
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
    let began = Instant::now();
    let clients = (0..connections).map(|number| server.connect(number));
    let mut clients = clients.collect::<Failable<Vec<_>>>()?;
    println!(
        "{connections} connections, half of which never spoke, made in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    println!(
        "times in ms               pass register  start teardown |   sum |  ended ratio | exited ratio | peak MiB: old   new"
    );
    let (mut ratios, mut lost) = (Vec::new(), 0);
    for round in 1..=rounds {
        let parts = parts(&clients)?;
        let moved = server.restart()?;
        let [pass, register, start, teardown] = parts.map(millis);
        let sum: Duration = parts.iter().sum();
        let ratio = |took: Duration| took.as_secs_f64() / sum.as_secs_f64();
        println!(
            "round {round:<20} {pass:>6.1} {register:>8.1} {start:>6.1} {teardown:>8.1} | {:>5.1} | {:>6.1} {:>5.2} | {:>6.1} {:>5.2} | {:>13.1} {:>5.1}",
            millis(sum),
            millis(moved.ended),
            ratio(moved.ended),
            millis(moved.exited),
            ratio(moved.exited),
            moved.old_mib,
            moved.new_mib,
        );
        ratios.push(ratio(moved.ended));
        lost += closed(&clients)? + strangers(&mut clients, server.pid)?;
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!(
        "median ratio {median:.2} (at most {AIM} is the aim); {lost} closed or not with the new process"
    );
    match check && (median > AIM || lost > 0) {
        true => Err("the aim is missed".into()),
        false => Ok(()),
    }
}

/// How many have something to read, which of an idle one is its end.
fn closed(clients: &[TcpStream]) -> Failable<usize> {
    let ready = clients.iter().map(|client| {
        let mut watched = [PollFd::new(client, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default()))
    });
    Ok(ready.sum::<rustix::io::Result<usize>>()?)
}

/// How many of a sample of them are answered by another process.
fn strangers(clients: &mut [TcpStream], pid: i32) -> Failable<usize> {
    let step = clients.len().div_ceil(SAMPLE).max(1);
    let answers = clients.iter_mut().step_by(step).map(|client| ask(client, "/pid"));
    let answers = answers.collect::<Failable<Vec<_>>>()?;
    Ok(answers.iter().filter(|answer| !answer.ends_with(&format!("\r\n{pid}"))).count())
}

/// The whole answer. One of this size comes in one piece.
fn ask(client: &mut TcpStream, path: &str) -> Failable<String> {
    // The parts were measured with duplicates of it, which were made nonblocking, and so it is.
    client.set_nonblocking(false)?;
    client.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut bytes = [0; 1024];
    let count = client.read(&mut bytes)?;
    assert!(count > 0, "closed instead of an answer");
    Ok(String::from_utf8(bytes[..count].to_vec())?)
}

/// How a restart went.
struct Moved {
    /// How long after it was settled the last connection was gone.
    ended: Duration,
    /// And the old process.
    exited: Duration,
    /// The most that each had in memory.
    old_mib: f64,
    new_mib: f64,
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
        command.arg("--listen").arg(address.to_string()).args(["--probation", "300ms", "--keep-alive", "1h"]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut first =
            child.map_err(|error| format!("{}: {error} (is it built as above?)", hello.display()))?;
        let log = BufReader::new(first.stderr.take().ok_or("no pipe")?).lines();
        let pid = i32::try_from(first.id())?;
        let mut hello = Hello { first, address, pid, log };
        hello.wait_for("accepting")?;
        Ok(hello)
    }

    /// From one of several addresses: each has no more than so many ports.
    fn connect(&self, number: usize) -> Failable<TcpStream> {
        let client = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let source = u8::try_from(2 + number / PORTS)?;
        client.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into())?;
        client.connect(&self.address.into())?;
        let mut client = TcpStream::from(client);
        if number.is_multiple_of(2) {
            ask(&mut client, "/")?;
        }
        Ok(client)
    }

    fn restart(&mut self) -> Failable<Moved> {
        let old = self.pid;
        proc::signal(old, Signal::SIGUSR2);
        let line = self.wait_for("successor settled")?;
        let old_mib = peak(old);
        let new = line.split("pid=").nth(1).and_then(|rest| rest.split(' ').next()).ok_or("no pid")?;
        let settled = time_of(&line)?;
        let ended = time_of(&self.wait_for("ended")?)?;
        if !proc::wait_for_exit(old, Duration::from_secs(60)) {
            return Err("the old process does not end".into());
        }
        let exited = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64() % DAY;
        self.pid = new.parse()?;
        // What it has taken must not be part of the next measurement.
        std::thread::sleep(Duration::from_millis(300)); // allow: sleep (nothing says that another process is idle)
        Ok(Moved {
            ended: Duration::from_secs_f64(ended - settled),
            exited: Duration::from_secs_f64(exited - settled),
            old_mib,
            new_mib: peak(self.pid),
        })
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

/// The most that a process has had in memory so far, in MiB; 0 if it is gone.
fn peak(pid: i32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or_default() / 1024.0
}

/// The time of day in a line of the server's log, in seconds.
fn time_of(line: &str) -> Failable<f64> {
    let time = line.split(['T', 'Z']).nth(1).ok_or("no time")?;
    time.split(':').try_fold(0.0, |sum, part| Ok(sum * 60.0 + part.parse::<f64>()?))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Of the sum of the parts.
const AIM: f64 = 1.5;

/// Of one source address, which has 28,000 by default; a free one among few takes long to find.
const PORTS: usize = 10_000;

/// Asked after each restart.
const SAMPLE: usize = 500;

/// As many as the library sends at a time.
const BATCH: usize = 200;

/// In seconds. A run over midnight fails, and says so by a negative duration.
const DAY: f64 = 86_400.0;
