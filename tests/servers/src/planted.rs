//! A server of threads without heirloom, that restarts on USR2 and loses nothing, or has the one fault that it is told:
//! `planted ADDRESS FAULT`. For `heirloom prove`, which has to find it.
//!
//! Its successor gets the listening socket as standard input, and says that it is ready on standard output.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

struct Planted {
    fault: String,
    is_successor: bool,
    is_ready: AtomicBool,
    accepts: AtomicBool,
    drains: AtomicBool,
    open: AtomicUsize,
}

pub(crate) fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, address, fault] = &arguments[..] else { return Err("usage: planted ADDRESS FAULT".into()) };
    let signals: SigSet = [Signal::SIGUSR2, Signal::SIGTERM].into_iter().collect();
    // Before any thread is there, which could be killed by one.
    signals.thread_block()?;
    let planted = Arc::new(Planted {
        fault: fault.clone(),
        is_successor: std::env::var_os(SUCCESSOR).is_some(),
        is_ready: AtomicBool::new(false),
        accepts: AtomicBool::new(true),
        drains: AtomicBool::new(false),
        open: AtomicUsize::new(0),
    });
    let binds = !planted.is_successor || planted.has("drops-queue") || planted.has("refuses");
    let listener = match binds {
        true => bound(address.parse()?, planted.has("drops-queue"))?,
        false => TcpListener::from(io::stdin().as_fd().try_clone_to_owned()?),
    };
    listener.set_nonblocking(true)?;
    let is_early = planted.is_successor && planted.has("accepts-early");
    let mut accepting = is_early.then(|| planted.accept_from(&listener)).transpose()?;
    if is_early || planted.is_successor && planted.has("starts-slowly") {
        // allow: sleep (it takes its time to start)
        thread::sleep(Duration::from_millis(250));
    }
    planted.is_ready.store(true, SeqCst);
    if accepting.is_none() {
        accepting = Some(planted.accept_from(&listener)?);
    }
    println!("ready");
    while signals.wait()? != Signal::SIGTERM {
        if planted.has("ignores") {
            continue;
        }
        if planted.has("ends") {
            break;
        }
        let stop_accepting = |accepting: &mut Option<JoinHandle<()>>| {
            planted.accepts.store(false, SeqCst);
            accepting.take().map(JoinHandle::join)
        };
        if planted.has("starts-slowly") {
            stop_accepting(&mut accepting);
        }
        if planted.has("refuses") {
            stop_accepting(&mut accepting);
            drop(listener);
            // allow: sleep (nobody listens for as long)
            thread::sleep(Duration::from_millis(100));
            planted.start_successor(None)?;
            planted.drain();
            break;
        }
        planted.start_successor(Some(&listener))?;
        if planted.has("two-generations") {
            continue;
        }
        stop_accepting(&mut accepting);
        if planted.has("drops-queue") {
            // allow: sleep (connections come into a queue that nobody empties)
            thread::sleep(Duration::from_millis(200));
        }
        drop(listener);
        // Standard input may be the same socket, and is shut by what takes its place.
        nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        planted.drain();
        break;
    }
    while planted.has("never-ends") && planted.drains.load(SeqCst) && signals.wait()? != Signal::SIGTERM {}
    Ok(())
}

impl Planted {
    fn has(&self, fault: &str) -> bool {
        self.fault == fault
    }

    /// Returns when it is ready.
    fn start_successor(&self, listener: Option<&TcpListener>) -> io::Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments).env(SUCCESSOR, "1").stdout(Stdio::piped());
        command.stdin(match listener {
            Some(listener) if !self.has("drops-queue") => Stdio::from(listener.as_fd().try_clone_to_owned()?),
            _ => Stdio::null(),
        });
        let mut child = command.spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line)?;
        Ok(())
    }

    fn accept_from(self: &Arc<Planted>, listener: &TcpListener) -> io::Result<JoinHandle<()>> {
        let (planted, listener) = (Arc::clone(self), listener.try_clone()?);
        Ok(thread::spawn(move || {
            while planted.accepts.load(SeqCst) {
                is_readable(&listener);
                // Or its successor was quicker.
                let Ok((stream, _)) = listener.accept() else { continue };
                planted.open.fetch_add(1, SeqCst);
                let planted = Arc::clone(&planted);
                thread::spawn(move || {
                    // A client that goes away is none of this server's business.
                    let _ = planted.serve(stream);
                    planted.open.fetch_sub(1, SeqCst);
                });
            }
        }))
    }

    /// Until every connection is gone.
    fn drain(&self) {
        self.drains.store(true, SeqCst);
        let until = Instant::now() + LONGEST;
        while self.open.load(SeqCst) > 0 && Instant::now() < until {
            // allow: sleep (between two looks)
            thread::sleep(TICK);
        }
    }

    fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LONGEST))?;
        let mut read = Vec::new();
        let mut idle_since = Instant::now();
        loop {
            let head = loop {
                if let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                    let rest = read.split_off(at + 4);
                    break String::from_utf8(std::mem::replace(&mut read, rest)).map_err(io::Error::other)?;
                }
                if !is_readable(&stream) {
                    let drains = self.drains.load(SeqCst) && read.is_empty();
                    if drains && (self.has("closes-idle") || idle_since.elapsed() > LINGER) {
                        return goodbye(&stream);
                    }
                    continue;
                }
                if fill(&mut stream, &mut read)? == 0 {
                    return Ok(());
                }
            };
            let is_last = self.answer(&mut stream, &head, &mut read)?;
            if is_last {
                return goodbye(&stream);
            }
            idle_since = Instant::now();
        }
    }

    /// Whether it was the last one.
    fn answer(&self, stream: &mut TcpStream, head: &str, read: &mut Vec<u8>) -> io::Result<bool> {
        let drained = self.drains.load(SeqCst);
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length: usize = field("Content-Length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        while read.len() < length {
            if self.has("resets-uploads") && self.drains.load(SeqCst) {
                return Err(io::ErrorKind::Other.into());
            }
            if is_readable(stream) && fill(stream, read)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        read.drain(..length);
        let path = head.split(' ').nth(1).unwrap_or_default();
        // allow: sleep (it works)
        thread::sleep(if path == "/slow" { Duration::from_millis(200) } else { Duration::from_millis(1) });
        let drains = self.drains.load(SeqCst);
        if drains && !drained && self.has("forgets") {
            return Ok(true);
        }
        if drains && self.has("hangs") {
            // allow: sleep (longer than any client waits)
            thread::sleep(LONGEST);
        }
        if drains && self.has("garbles") {
            stream.write_all(b"What was the question?\r\n\r\n")?;
            return Ok(true);
        }
        let status = match () {
            () if !self.is_ready.load(SeqCst) => "503 Not Yet",
            () if drains && self.has("turns-away") => "503 No More",
            () if self.is_successor && self.has("changes") => "404 Not Found",
            () => "200 OK",
        };
        if path == "/events" {
            return self.tell_events(stream);
        }
        let body = if path == "/large" { LARGE } else { b"Hello\n" };
        let is_last = drains && !self.has("closes-idle") || head.contains("Connection: close\r\n");
        let close = if is_last { "Connection: close\r\n" } else { "" };
        write!(stream, "HTTP/1.1 {status}\r\n{close}Content-Length: {}\r\n\r\n", body.len())?;
        for piece in body.chunks(4096) {
            if self.has("truncates") && self.drains.load(SeqCst) && !drains {
                return Ok(true);
            }
            stream.write_all(piece)?;
        }
        Ok(is_last)
    }

    /// Until this process drains.
    fn tell_events(&self, stream: &mut TcpStream) -> io::Result<bool> {
        write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        while !self.drains.load(SeqCst) {
            stream.write_all(b"9\r\ndata: 1\n\n\r\n")?;
            // allow: sleep (between two events)
            thread::sleep(Duration::from_millis(20));
        }
        if !self.has("cuts-streams") {
            stream.write_all(b"0\r\n\r\n")?;
        }
        Ok(true)
    }
}

/// What the client still sends is read, or the kernel would reset the connection and what was sent with it.
fn goodbye(mut stream: &TcpStream) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes)? > 0 {}
    Ok(())
}

fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> io::Result<usize> {
    let mut bytes = [0; 4096];
    let count = stream.read(&mut bytes)?;
    read.extend_from_slice(&bytes[..count]);
    Ok(count)
}

/// Within a moment.
fn is_readable(what: &impl AsFd) -> bool {
    let mut watched = [PollFd::new(what.as_fd(), PollFlags::POLLIN)];
    poll(&mut watched, PollTimeout::from(TICK.as_millis() as u8)).is_ok_and(|ready| ready > 0)
}

fn bound(address: SocketAddr, has_own_queue: bool) -> io::Result<TcpListener> {
    let made: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&made, sockopt::ReuseAddr, &true)?;
    setsockopt(&made, sockopt::ReusePort, &has_own_queue)?;
    // Of connections as well: a slow reader holds up what is written.
    setsockopt(&made, sockopt::SndBuf, &(16 * 1024))?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&made), &SockaddrStorage::from(address))?;
    listen(&made, Backlog::new(128)?)?;
    Ok(TcpListener::from(made))
}

/// Set in a successor.
const SUCCESSOR: &str = "PLANTED_SUCCESSOR";

const LARGE: &[u8] = &[b'x'; 512 * 1024];

const TICK: Duration = Duration::from_millis(5);

/// Longer than any client hesitates.
const LINGER: Duration = Duration::from_millis(800);

const LONGEST: Duration = Duration::from_secs(4);
