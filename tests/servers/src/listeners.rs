//! A server whose listeners the file `listen` beside it names, one in a line: `NAME ADDRESS [HOW]`, where `-` is no
//! name and HOW is `udp` (answers each datagram with its process id), `axum` (an accept loop that is not ours),
//! `std` (a thread that blocks in poll) or `accept` (one that blocks in accept(2), and gives up when that fails). The line `fail REASON` makes it give up, `die` makes it kill itself, both
//! after the lines above it. Over HTTP, `/pid`, `/generation`, and else the listener's name.

use std::error::Error;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heirloom::{Listen, Listener, Restarter, SignalMap};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};

#[tokio::main]
pub(crate) async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    serve().await.unwrap_or_else(|error| {
        eprintln!("listeners: {error}");
        ExitCode::FAILURE
    })
}

async fn serve() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let listeners = std::fs::read_to_string(Path::new(&arguments[0]).with_file_name("listen"))?;
    let probation = arguments.windows(2).find(|pair| pair[0] == "--probation").map(|pair| pair[1].clone());
    let probation = humantime::parse_duration(&probation.unwrap_or_else(|| "1s".to_owned()))?;
    let restarter = Restarter::bare().probation(probation).signals(SignalMap::default()).start()?;

    let mut foreign = Vec::new();
    for line in listeners.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let name = words[0].trim_matches('-');
        match words[0] {
            "fail" => {
                restarter.failed(words[1..].join(" ")).await;
                return Ok(ExitCode::FAILURE);
            }
            "die" => raise(Signal::SIGKILL)?,
            _ => {}
        }
        let listen = words[1].parse::<Listen>()?.name(name);
        if words.get(2) == Some(&"udp") {
            let socket = restarter.udp(listen)?;
            println!("listening on {}", socket.local_addr()?);
            foreign.push(Foreign::Udp(socket));
            continue;
        }
        let listener = restarter.check(restarter.listen(listen)).await?;
        println!("listening on {}", listener.local_addr());
        match words.get(2) {
            Some(&"axum") => foreign.push(Foreign::Axum(listener, name.to_owned())),
            Some(&"std") => foreign.push(Foreign::Std(listener)),
            Some(&"accept") => foreign.push(Foreign::Accept(listener.into_std()?)),
            _ => drop(heirloom::http::serve(listener, router(&restarter, name))),
        }
    }
    // Loops that are not ours cannot be told to wait, so they begin when they may accept.
    restarter.ready().await?;
    for foreign in foreign {
        foreign.serve(&restarter)?;
    }
    Ok(restarter.run().await?.into())
}

/// What accepts by itself.
enum Foreign {
    Axum(Listener, String),
    Std(Listener),
    Accept(std::net::TcpListener),
    Udp(UdpSocket),
}

impl Foreign {
    fn serve(self, restarter: &Restarter) -> std::io::Result<()> {
        let (hold, draining) = (restarter.hold(), restarter.draining());
        match self {
            Foreign::Axum(listener, name) => {
                let served = axum::serve(listener.into_tokio()?, router(restarter, &name));
                tokio::spawn(async move {
                    let _hold = hold;
                    served.with_graceful_shutdown(draining).await
                });
            }
            Foreign::Std(listener) => {
                let listener = listener.into_std()?;
                std::thread::spawn(move || {
                    let _hold = hold;
                    while !draining.is_raised() {
                        wait_readable(&listener);
                        if let Ok((connection, _)) = listener.accept() {
                            let _ = answer(connection);
                        }
                    }
                });
            }
            Foreign::Accept(listener) => {
                // Not before it may accept: until then the predecessor's loop counts on the flag that both share, and would block.
                listener.set_nonblocking(false)?;
                // Nothing wakes an accept that blocks, so it holds nothing.
                std::thread::spawn(move || {
                    loop {
                        match listener.accept() {
                            Ok((connection, _)) => drop(answer(connection)),
                            Err(error) => return eprintln!("accept failed: {error}"),
                        }
                    }
                });
            }
            Foreign::Udp(socket) => {
                std::thread::spawn(move || {
                    let _hold = hold;
                    let mut buffer = [0; 100];
                    while !draining.is_raised() {
                        wait_readable(&socket);
                        if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                            let _ = socket.send_to(std::process::id().to_string().as_bytes(), from);
                        }
                    }
                });
            }
        }
        Ok(())
    }
}

/// Not for ever: nothing makes the socket readable when the drain begins.
fn wait_readable(fd: &impl AsFd) {
    let _ = poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_u8));
}

/// One request, one answer, as a program without HTTP library might do it.
fn answer(mut connection: std::net::TcpStream) -> std::io::Result<()> {
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let body = std::process::id().to_string();
    write!(connection, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn router(restarter: &Restarter, name: &str) -> Router {
    let (generation, name) = (restarter.generation().to_string(), name.to_owned());
    Router::new()
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/generation", get(|| async { generation }))
        .fallback(|| async { name })
}
