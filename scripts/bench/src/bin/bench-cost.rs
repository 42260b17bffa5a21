//! What tracking costs a keep-alive HTTP/1 request, in instructions and allocations, and an idle connection, in heap bytes.
//!
//! `scripts/bench-cost.sh` runs this under valgrind for each mode and prints the table. By hand:
//!
//! ```text
//! bench-cost requests MODE COUNT       serves that many requests of one connection, and prints how often it allocated
//! bench-cost serve MODE                prints where it listens, and serves for ever, on all processors
//! bench-cost heap MODE CONNECTIONS     prints the heap bytes a connection: fresh, and idle after a request
//! ```
//!
//! One thread serves; the client is a process of its own, which valgrind does not count. The service is the
//! same in every mode, boxes nothing and answers at once, so what differs is who serves it. (In the two modes with axum
//! it is the same handler in the same router.) Each is as it comes: in all of them hyper writes head and body with one
//! vectored write.

#![allow(unsafe_code)] // A global allocator cannot be had without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, Ready, ready};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering::Relaxed};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use heirloom::drain::{Kind, Tracker};
use heirloom::http::{Config, Server, Tower};
use heirloom::stream::Stream;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

type Failable<T> = Result<T, Box<dyn Error>>;

fn main() -> Failable<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["requests", mode, count] => on_one_thread(requests(Mode::named(mode)?, count.parse()?)),
        ["serve", mode] => on_all_processors(serve_for_ever(Mode::named(mode)?)),
        ["heap", mode, connections] => on_one_thread(heap(Mode::named(mode)?, connections.parse()?)),
        ["ask", address, count] => ask(address.parse()?, count.parse()?),
        ["hold", address, connections] => hold(address.parse()?, connections.parse()?),
        _ => Err(format!("usage: bench-cost requests|heap|serve {} [COUNT]", Mode::NAMES.join("|")).into()),
    }
}

fn on_one_thread(work: impl Future<Output = Failable<()>>) -> Failable<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn on_all_processors(work: impl Future<Output = Failable<()>>) -> Failable<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

async fn requests(mode: Mode, count: usize) -> Failable<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut client = client("ask", listener.local_addr()?, count)?;
    tokio::spawn(accept_all(mode, listener));
    // Off the thread that serves meanwhile.
    let ended = tokio::task::spawn_blocking(move || client.wait()).await??;
    println!("{}", CALLS.load(Relaxed));
    if ended.success() { Ok(()) } else { Err("the client failed".into()) }
}

async fn serve_for_ever(mode: Mode) -> Failable<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    accept_all(mode, listener).await;
    Ok(())
}

async fn accept_all(mode: Mode, listener: TcpListener) {
    if let Mode::Axum = mode {
        return axum::serve(listener, router()).await.expect("it accepts for ever");
    }
    let servant = Servant::new(mode);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => servant.spawn(stream),
            Err(error) => eprintln!("bench-cost: {error}"),
        }
    }
}

fn router() -> Router {
    Router::new().route("/hello", get(|| async { "hello" }))
}

async fn heap(mode: Mode, connections: usize) -> Failable<()> {
    raise_fd_limit()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut client = client("hold", listener.local_addr()?, connections)?;
    let mut tell = client.stdin.take().expect("piped");
    let mut told = BufReader::new(client.stdout.take().expect("piped"));
    let servant = Servant::new(mode);
    let mut before = 0;
    for connection in 0..=connections {
        // One at a time: a backlog that is full would cost its client a second.
        tell.write_all(b"connect\n")?;
        servant.spawn(listener.accept().await?.0);
        // Polled once, it finds nothing to read.
        tokio::task::yield_now().await;
        if connection == 0 {
            // It has brought what is there once for all of them.
            before = LIVE.load(Relaxed);
        }
    }
    let fresh = LIVE.load(Relaxed) - before;
    tell.write_all(b"ask\n")?;
    let told =
        tokio::task::spawn_blocking(move || told.read_line(&mut String::new()).map(|_| told)).await??;
    tokio::task::yield_now().await;
    let idle = LIVE.load(Relaxed) - before;
    println!("{} {}", fresh / connections as isize, idle / connections as isize);
    drop((tell, told));
    client.wait()?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Mode {
    /// hyper's HTTP/1 alone, without any timer.
    Hyper,
    /// The same with the `header_read_timeout` that it has by default once it is given a timer.
    HyperTimer,
    /// heirloom as it comes: tracked, all limits on, HTTP/2 understood.
    Heirloom,
    /// hyper-util's, which also understands HTTP/2, watched by its `GracefulShutdown`.
    Auto,
    /// `axum::serve`, which accepts as well.
    Axum,
    /// heirloom with axum's router.
    HeirloomAxum,
}

impl Mode {
    const ALL: [Mode; 6] =
        [Mode::Hyper, Mode::HyperTimer, Mode::Heirloom, Mode::Auto, Mode::Axum, Mode::HeirloomAxum];
    const NAMES: [&str; 6] = ["hyper", "hyper-timer", "heirloom", "auto", "axum", "heirloom-axum"];

    fn named(name: &str) -> Failable<Mode> {
        let at = Mode::NAMES.iter().position(|known| *known == name);
        let at = at.ok_or_else(|| format!("no mode {name}: {}", Mode::NAMES.join(", ")))?;
        Ok(Mode::ALL[at])
    }
}

/// One of the servers to compare.
enum Servant {
    Hyper(http1::Builder),
    Heirloom(Tracker, Server<Hello>),
    Auto(&'static auto::Builder<TokioExecutor>, GracefulShutdown),
    HeirloomAxum(Tracker, Server<Tower<Router>>),
}

impl Servant {
    fn new(mode: Mode) -> Servant {
        match mode {
            Mode::Hyper => Servant::Hyper(http1::Builder::new()),
            Mode::HyperTimer => {
                let mut builder = http1::Builder::new();
                builder.timer(TokioTimer::new());
                Servant::Hyper(builder)
            }
            Mode::Heirloom => Servant::Heirloom(Tracker::new(), Server::new(Config::new(), Hello)),
            Mode::Auto => {
                let builder = Box::leak(Box::new(auto::Builder::new(TokioExecutor::new())));
                Servant::Auto(builder, GracefulShutdown::new())
            }
            Mode::HeirloomAxum => {
                Servant::HeirloomAxum(Tracker::new(), Server::tower(Config::new(), router()))
            }
            Mode::Axum => unreachable!("it takes a listener, and not its connections"),
        }
    }

    /// Serves it on a task of its own, which holds the connection's future once.
    fn spawn(&self, stream: tokio::net::TcpStream) {
        match self {
            Servant::Hyper(builder) => {
                tokio::spawn(builder.serve_connection(TokioIo::new(stream), Hello));
            }
            Servant::Heirloom(tracker, server) => {
                server.spawn(tracker.track(Stream::from(stream), Kind::Http1));
            }
            Servant::HeirloomAxum(tracker, server) => {
                server.spawn(tracker.track(Stream::from(stream), Kind::Http1));
            }
            Servant::Auto(builder, graceful) => {
                tokio::spawn(graceful.watch(builder.serve_connection(TokioIo::new(stream), Hello)));
            }
        }
    }
}

#[derive(Clone)]
struct Hello;

impl Service<Request<Incoming>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn call(&self, _: Request<Incoming>) -> Self::Future {
        ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
    }
}

fn client(task: &str, address: SocketAddr, count: usize) -> Failable<Child> {
    let mut client = Command::new(std::env::current_exe()?);
    client.args([task, &address.to_string(), &count.to_string()]);
    Ok(client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

/// The client of `requests`: one after the other, on one connection.
fn ask(address: SocketAddr, count: usize) -> Failable<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    (0..count).try_for_each(|_| exchange(&mut stream))
}

/// The client of `heap`: connects each time it is told to, then asks once on each connection, and holds them until
/// its input ends.
fn hold(address: SocketAddr, connections: usize) -> Failable<()> {
    raise_fd_limit()?;
    let mut told = std::io::stdin().lock().lines();
    let mut streams = Vec::with_capacity(connections + 1);
    while told.next().transpose()?.is_some_and(|told| told == "connect") {
        streams.push(TcpStream::connect(address)?);
    }
    streams.iter_mut().try_for_each(exchange)?;
    println!("asked");
    told.next();
    Ok(())
}

fn exchange(stream: &mut TcpStream) -> Failable<()> {
    stream.write_all(REQUEST)?;
    let mut read = [0; 1024];
    let mut length = 0;
    while !read[..length].ends_with(b"\r\n\r\nhello") {
        match stream.read(&mut read[length..])? {
            0 => return Err(format!("not the answer: {}", read[..length].escape_ascii()).into()),
            more => length += more,
        }
    }
    Ok(())
}

fn raise_fd_limit() -> Failable<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// What a browser's request to a small API is like.
const REQUEST: &[u8] =
    b"GET /hello HTTP/1.1\r\nhost: localhost:8080\r\naccept: */*\r\nuser-agent: bench\r\n\r\n";

/// Counts what is allocated: bytes as asked for, and how often.
struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: Every call goes on to the system's allocator with the arguments as they came, so what holds of that
// holds of this. Counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Relaxed);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: the caller's promise about `layout`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: the caller's promise that `memory` came from here, thus from the system, with `layout`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE.fetch_add(size as isize - layout.size() as isize, Relaxed);
        CALLS.fetch_add(1, Relaxed);
        // SAFETY: as for `dealloc`, and the caller's promise about `size`.
        unsafe { System.realloc(memory, layout, size) }
    }
}
