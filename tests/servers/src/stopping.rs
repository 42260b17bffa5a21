//! A server with a readiness endpoint, and requests that last until it drains, or for ever.

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use heirloom::{Restarter, SignalMap};
use tokio::sync::Semaphore;

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let value = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let mut map = SignalMap::default();
    if let Some(signal) = value("--hangs") {
        map = map.before(signal.parse()?, || {
            loop {
                std::thread::park();
            }
        });
    }
    let mut builder = Restarter::bare().signals(map);
    if let Some(notice) = value("--notice") {
        builder = builder.shutdown_notice(humantime::parse_duration(&notice)?);
    }
    if let Some(deadline) = value("--deadline") {
        builder = builder.shutdown_timeout(humantime::parse_duration(&deadline)?);
    }
    let restarter = builder.start()?;
    let listener = restarter.listen(value("--listen").ok_or("--listen is missing")?)?;
    println!("listening on {}", listener.local_addr());
    if std::env::args().any(|argument| argument == "--stops-early") {
        return Ok(restarter.shutdown(None).await.into());
    }

    let prober = restarter.clone();
    let draining = restarter.draining();
    let (forever, held) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let begun = held.clone();
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/ready", get(move || async move { prober.is_ready().to_string() }))
        .route(
            "/sleep",
            get(|| async move {
                draining.await;
                // Longer than the drain takes to tell of itself.
                tokio::time::sleep(std::time::Duration::from_millis(1500)).await; // allow: sleep
                "slept"
            }),
        )
        .route(
            "/forever",
            get(move || async move {
                begun.add_permits(1);
                drop(forever.acquire().await);
            }),
        )
        // Answers once somebody waits for ever.
        .route("/held", get(move || async move { drop(held.acquire().await) }));
    heirloom::http::serve(listener, router);
    Ok(restarter.run().await?.into())
}
