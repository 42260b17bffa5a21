//! A server with state and descriptors of its own to hand to its successor. Its provider does what the file
//! `behaviour` beside the program says, at the time of the call:
//!
//! ```text
//! panic      panics
//! fail       says that it cannot
//! hang       never returns
//! too-large  writes for as long as it may
//! die        kills the process
//! gate       waits until somebody opens the fifo `gate` beside the program
//! ```

use std::convert::Infallible;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use heirloom::http::{Config, Server};
use heirloom::{Ending, Restarter, SignalMap, State, StateError, StateWriter};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use nix::sys::signal::{Signal, raise};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).with_target(false).init();
    let beside = PathBuf::from(std::env::args_os().next().ok_or("no program name")?);
    let (mut builder, mut addresses) = (Restarter::bare().signals(SignalMap::default()), Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let (Some(name), Some(value)) = (arguments.next(), arguments.next()) {
        let duration = || humantime::parse_duration(&value);
        match name.as_str() {
            "--listen" => addresses.push(value),
            "--probation" => builder = builder.probation(duration()?),
            "--state-timeout" => builder = builder.state_timeout(duration()?),
            "--state-limit" => builder = builder.state_limit(value.parse()?),
            other => return Err(format!("no option {other:?}").into()),
        }
    }
    let restarter = builder.start()?;
    let generation = restarter.generation();

    let mut log = match restarter.inherited_fd("log") {
        Some(fd) => File::from(fd),
        None => File::options().create(true).append(true).read(true).open(beside.with_file_name("log"))?,
    };
    write!(log, "{generation},")?;
    restarter.hand_down("log", log.try_clone()?)?;
    restarter.hand_down("nobody asks", File::open("/dev/zero")?)?;

    let last = restarter.final_state("history");
    tokio::spawn(async move { println!("at the end: {}", text(&last.await)) });
    let state = restarter.state("history").await;
    println!("state: {}", text(&state));
    println!("nothing: {}", text(&restarter.state("nothing").await));
    let inherited = state.ok().flatten().map(|state| state.to_vec()).unwrap_or_default();
    let history = [inherited, format!("{generation},").into_bytes()].concat();
    let (at_end, own) = (history.clone(), beside.clone());
    restarter.provide_state("history", 7, move |out| behave(&own, &history, out))?;
    restarter.provide_final_state("history", 8, move |out| out.write_all(&at_end))?;

    let (handler, log) = (restarter.clone(), Arc::new(log));
    let server = Server::new(
        Config::new(),
        service_fn(move |request| {
            let body = answer(&handler, &request, &log).unwrap_or_else(|error| error.to_string());
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body)))))
        }),
    );
    for address in &addresses {
        let listener = restarter.listen(address)?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    Ok(restarter.run().await?)
}

fn text(state: &Result<Option<State>, StateError>) -> String {
    match state {
        Ok(Some(state)) => format!("tag {}: {}", state.tag(), String::from_utf8_lossy(state)),
        Ok(None) => "none".to_owned(),
        Err(error) => match error.source() {
            Some(source) => format!("error: {error}: {source}"),
            None => format!("error: {error}"),
        },
    }
}

fn behave(program: &Path, history: &[u8], out: &mut StateWriter) -> io::Result<()> {
    let behaviour = std::fs::read_to_string(program.with_file_name("behaviour")).unwrap_or_default();
    println!("provider called: {behaviour}");
    match behaviour.as_str() {
        "panic" => panic!("as told"),
        "fail" => return Err(io::Error::other("the history is being rewritten")),
        "hang" => loop {
            std::thread::park_timeout(Duration::MAX);
        },
        "too-large" => loop {
            out.write_all(&[0; 1000])?;
        },
        "die" => raise(Signal::SIGKILL)?,
        "gate" => drop(File::open(program.with_file_name("gate"))?),
        _ => {}
    }
    out.write_all(history)
}

fn answer(restarter: &Restarter, request: &Request<Incoming>, mut log: &File) -> io::Result<String> {
    Ok(match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        "/generation" => restarter.generation().to_string(),
        "/log" => {
            let mut text = String::new();
            log.seek(SeekFrom::Start(0))?;
            log.read_to_string(&mut text)?;
            text
        }
        "/grandchild" => {
            let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).output()?;
            String::from_utf8_lossy(&listed.stdout).into_owned()
        }
        _ => "Hello World".to_owned(),
    })
}
