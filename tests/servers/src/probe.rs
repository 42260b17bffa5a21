//! A server that shows what the library tells it: prints its events, hooks and ending, restarts and stops when asked
//! over HTTP, and lets a child show what it inherited. `--map default|endless|none|held` chooses the signal map; with `held`
//! the first hook goes on when somebody asks for `/release`.

use std::convert::Infallible;
use std::error::Error;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use heirloom::http::{Config, Server};
use heirloom::{Ending, Event, Reaction, Restarter, Signal, SignalMap};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::sync::{broadcast, mpsc};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let values = |name: &str| {
        let pairs = arguments.windows(2).filter(move |pair| pair[0] == name);
        pairs.map(|pair| pair[1].clone()).collect::<Vec<_>>()
    };
    let mut builder = Restarter::bare().signals(map(values("--map").first().map(String::as_str)));
    if let Some(probation) = values("--probation").first() {
        builder = builder.probation(humantime::parse_duration(probation)?);
    }
    let restarter = builder.start()?;
    let printer = tokio::spawn(print_events(restarter.generation(), restarter.events()));
    let (stop, mut stops) = mpsc::unbounded_channel();
    let handler = restarter.clone();
    let service = service_fn(move |request| answer(handler.clone(), stop.clone(), request));
    let server = Server::new(Config::new(), service);
    for address in values("--listen") {
        let listener = restarter.listen(&address)?;
        println!("listening on {}", listener.local_addr());
        server.accept_from(listener);
    }
    restarter.ready().await?;
    let ending = tokio::select! {
        ending = restarter.run() => ending?,
        Some(within) = stops.recv() => restarter.shutdown(within).await,
    };
    printer.await?;
    println!("{} ending {:?} aborted {}", restarter.generation(), ending.reason, ending.aborted.len());
    Ok(ending)
}

fn map(name: Option<&str>) -> SignalMap {
    let map = match name {
        Some("none") => return SignalMap::none(),
        Some("endless") => SignalMap::endless(),
        Some("held") => {
            let map = SignalMap::none().on(Signal::USR1, Reaction::Hooks).on(Signal::TSTP, Reaction::Hooks);
            map.before(Signal::USR1, || drop(RELEASED.1.wait_while(RELEASED.0.lock().unwrap(), |is| !*is)))
        }
        _ => return SignalMap::default(),
    };
    let signals = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::TSTP, Signal::TERM, Signal::INT];
    signals.into_iter().fold(map, |map, signal| {
        map.before(signal, move || println!("before {signal}"))
            .after(signal, move || println!("after {signal}"))
    })
}

/// Whether the hook that waits for it may go on.
static RELEASED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());

/// Each event by its name, until the last.
async fn print_events(generation: u64, mut events: broadcast::Receiver<Event>) {
    while let Ok(event) = events.recv().await {
        let text = format!("{event:?}");
        println!("{generation} event {}", text.split([' ', '(']).next().unwrap_or_default());
        if matches!(event, Event::Ended { .. }) {
            return;
        }
    }
}

async fn answer(
    restarter: Restarter,
    stop: mpsc::UnboundedSender<Option<Duration>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let query = request.uri().query().map(humantime::parse_duration).and_then(Result::ok);
    let body = match request.uri().path() {
        "/pid" => std::process::id().to_string(),
        "/generation" => restarter.generation().to_string(),
        "/sleep" => {
            tokio::time::sleep(query.unwrap_or_default()).await;
            "slept".to_owned()
        }
        "/restart" => match restarter.restart().await {
            Ok(outcome) => format!("{outcome:?}"),
            Err(error) => match error.source() {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
        },
        "/shutdown" => {
            let _ = stop.send(query);
            "stopping".to_owned()
        }
        "/release" => {
            *RELEASED.0.lock().unwrap() = true;
            RELEASED.1.notify_all();
            "released".to_owned()
        }
        "/child" => {
            let listed = Command::new("ls").args(["-l", "/proc/self/fd"]).stderr(Stdio::null()).output();
            listed.map_or_else(
                |error| error.to_string(),
                |out| String::from_utf8_lossy(&out.stdout).into_owned(),
            )
        }
        _ => "probe".to_owned(),
    };
    Ok(Response::new(Full::new(body.into())))
}
