//! A server as a unit of systemd, for tests: `unit --listen [NAME=]127.0.0.1:0 --probation 100ms --drain 60s --shutdown 9s
//! --init-delay 0s`. What the file `listen` beside it names, one in a line, it listens on as well.
//! `/ready` is for probes. `/drop` ends the last listener's accept loop, `/fail` makes `main` return an error. `/restart` answers with the outcome, and with status 500 if it is a failure; `/freeze` blocks its runtime; `/metrics`
//! shows what a recorder got.

use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::get;
use heirloom::systemd::Systemd;
use heirloom::{Ending, Listen, Restarter, SignalMap};
use tokio::sync::mpsc::Sender;
use tokio::task::JoinHandle;

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let duration = |name: &str| value(name).map(|text| humantime::parse_duration(&text)).transpose();
    let watched = Systemd::new().runtime(tokio::runtime::Handle::current());
    let mut builder = Restarter::bare().signals(SignalMap::default()).systemd(watched).control(true);
    if let Some(probation) = duration("--probation")? {
        builder = builder.probation(probation);
    }
    if let Some(limit) = duration("--drain")? {
        builder = builder.drain_timeout(limit);
    }
    if let Some(limit) = duration("--shutdown")? {
        builder = builder.shutdown_timeout(limit);
    }
    let restarter = builder.start()?;
    let (fail, mut failed) = tokio::sync::mpsc::channel(1);
    let loops = Arc::<Mutex<Vec<JoinHandle<()>>>>::default();
    let beside = std::fs::read_to_string(std::path::Path::new(&arguments[0]).with_file_name("listen"));
    let beside = beside.unwrap_or_default();
    let pairs = arguments.windows(2).filter(|pair| pair[0] == "--listen");
    for listen in pairs.map(|pair| pair[1].as_str()).chain(beside.lines()) {
        let (name, address) = listen.split_once('=').unwrap_or(("", listen));
        let listener = restarter.listen(address.parse::<Listen>()?.name(name))?;
        println!("listening on {}", listener.local_addr());
        let router = router(restarter.clone(), Arc::clone(&loops), fail.clone());
        loops.lock().unwrap().push(heirloom::http::serve(listener, router));
    }
    if let Some(delay) = duration("--init-delay")? {
        tokio::time::sleep(delay).await; // allow: sleep
    }
    let ending = tokio::select! {
        ending = restarter.run() => ending?,
        _ = failed.recv() => return Err("as told".into()),
    };
    println!("generation {} ended", restarter.generation());
    Ok(ending)
}

fn router(restarter: Restarter, loops: Arc<Mutex<Vec<JoinHandle<()>>>>, fail: Sender<()>) -> Router {
    let (generation, prober) = (restarter.generation().to_string(), restarter.clone());
    Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/generation", get(move || async move { generation }))
        .route(
            "/ready",
            get(move || async move {
                if prober.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
            }),
        )
        .route("/fail", get(|| async move { fail.try_send(()).is_ok().to_string() }))
        .route(
            "/drop",
            get(move || async move {
                if let Some(last) = loops.lock().unwrap().pop() {
                    last.abort();
                }
            }),
        )
        .route(
            "/restart",
            get(move || async move {
                match restarter.restart().await {
                    Ok(outcome) => (StatusCode::OK, format!("{outcome:?}")),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
                }
            }),
        )
        .route(
            "/sleep/{millis}",
            get(|Path(millis): Path<u64>| async move {
                tokio::time::sleep(Duration::from_millis(millis)).await; // allow: sleep
                "slept"
            }),
        )
        // The process lives on, and answers nobody.
        .route(
            "/freeze",
            get(|| async {
                println!("frozen");
                std::thread::park()
            }),
        )
}
