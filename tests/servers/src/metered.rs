//! A server that shows what a recorder of metrics got: over HTTP at `/metrics`, and at its end on standard output, each line
//! with its generation. `metered --listen ADDRESS --probation 1s`

use std::error::Error;

use crate::recorded::lines;
use axum::Router;
use axum::routing::get;
use heirloom::{Ending, Restarter, SignalMap};
use metrics_util::debugging::DebuggingRecorder;

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install()?;
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1].clone());
    let mut builder = Restarter::bare().signals(SignalMap::default());
    if let Some(probation) = value("--probation") {
        builder = builder.probation(humantime::parse_duration(&probation)?);
    }
    let restarter = builder.start()?;
    let listener = restarter.listen(value("--listen").ok_or("--listen is missing")?.as_str())?;
    println!("listening on {}", listener.local_addr());
    let generation = restarter.generation();
    let shown = snapshotter.clone();
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/generation", get(move || async move { generation.to_string() }))
        .route("/metrics", get(move || async move { lines(&shown).join("\n") }));
    heirloom::http::serve(listener, router);
    let ending = restarter.run().await?;
    lines(&snapshotter).iter().for_each(|line| println!("metric {generation} {line}"));
    println!("{generation} ended");
    Ok(ending)
}
