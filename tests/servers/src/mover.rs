//! A server whose requests last as long as a test about moving connections needs. Answers are the pid.
//!
//! ```text
//! GET  /pid, /generation   at once
//! GET  /drained            when this process drains
//! POST /upload             when the body has been read
//! POST /early              at once; the body is read to its end meanwhile
//! POST /sip, /spit         at once; of the body the first piece is read, and the rest when an early one has been read
//!                          (to its end, or it is dropped)
//! GET  /count              at once: how many such requests the connection has had
//! GET  /hoard              at once; from then on there is more to move than can be
//! GET  /stay               at once; from then on the connection does not move
//!
//! --stay                   connections do not move
//! --lent                   hyper-util serves them
//! --sessions               event streams would move: heirloom follows the bytes
//! --drop-later             from the second generation on, only the first --listen is listened on
//! ```

use std::convert::Infallible;
use std::error::Error;

use heirloom::http::{Baggage, Config, Lent, Server};
use heirloom::{Ending, Listener, Restarter, SignalMap};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::sync::Semaphore;

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let (mut addresses, mut config) = (Vec::new(), Config::new().baggage(true));
    let (mut drops_later, mut stays, mut lends) = (false, false, false);
    let mut builder = Restarter::bare();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or("a value is missing");
        match argument.as_str() {
            "--listen" => addresses.push(value()?),
            "--probation" => builder = builder.probation(humantime::parse_duration(&value()?)?),
            "--drain-timeout" => builder = builder.drain_timeout(humantime::parse_duration(&value()?)?),
            "--idle-linger" => builder = builder.idle_linger(humantime::parse_duration(&value()?)?),
            "--stay" => {
                stays = true;
                config = config.move_connections(false);
            }
            "--lent" => lends = true,
            "--sessions" => config = config.move_streams(true),
            "--drop-later" => drops_later = true,
            other => return Err(format!("no option {other}").into()),
        }
    }
    let restarter = builder.signals(SignalMap::default()).start()?;
    if drops_later && restarter.generation() > 1 {
        addresses.truncate(1);
    }
    let handler = restarter.clone();
    let server = Server::new(config, service_fn(move |request| answer(handler.clone(), request)));
    for address in &addresses {
        let listener = restarter.check(restarter.listen(address)).await?;
        println!("listening on {}", listener.local_addr());
        if lends {
            tokio::spawn(lend(listener, restarter.clone(), stays));
        } else {
            server.accept_from(listener);
        }
    }
    Ok(restarter.run().await?)
}

/// As a program does that accepts and serves by itself.
async fn lend(mut listener: Listener, restarter: Restarter, stays: bool) {
    while let Some(connection) = listener.accept().await {
        let io = TokioIo::new(if stays { Lent::staying(connection) } else { Lent::new(connection) });
        let handler = restarter.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| answer(handler.clone(), request));
            let served =
                auto::Builder::new(TokioExecutor::new()).serve_connection_with_upgrades(io, service).await;
            if let Err(error) = served {
                eprintln!("a connection has ended: {error}");
            }
        });
    }
}

async fn answer(
    restarter: Restarter,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = std::process::id().to_string();
    match request.uri().path() {
        "/generation" => body = restarter.generation().to_string(),
        "/count" => body = count(baggage(&request)),
        "/hoard" => baggage(&request).set([0; 20_000]),
        "/stay" => baggage(&request).stay(),
        "/drained" => restarter.draining().await,
        // A client that leaves in the middle gets no answer either way.
        "/upload" => drop(request.into_body().collect().await),
        "/early" => drop(tokio::spawn(async {
            let _ = request.into_body().collect().await;
            READ.add_permits(1);
        })),
        "/sip" | "/spit" => {
            let is_to_be_read = request.uri().path() == "/sip";
            drop(tokio::spawn(sip(request.into_body(), is_to_be_read)));
        }
        _ => {}
    }
    Ok(Response::new(Full::new(body.into())))
}

async fn sip(mut body: Incoming, is_to_be_read: bool) {
    let _ = body.frame().await;
    READ.acquire().await.expect("never closed").forget();
    if is_to_be_read {
        let _ = body.collect().await;
    }
}

/// How many bodies of early ones were read, and nobody has waited for that.
static READ: Semaphore = Semaphore::const_new(0);

fn baggage(request: &Request<Incoming>) -> &Baggage {
    request.extensions().get().expect("asked for")
}

fn count(baggage: &Baggage) -> String {
    let before = String::from_utf8(baggage.bytes()).expect("as written");
    let count = (before.parse().unwrap_or(0u32) + 1).to_string();
    baggage.set(count.clone());
    count
}
