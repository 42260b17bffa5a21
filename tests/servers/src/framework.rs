//! A server whose accept loop is axum's own: `framework --listen ADDR [--probation 100ms] [HOW]`, where HOW is one of
//!
//! ```text
//! --serve-first   serves before anybody has said ready
//! --ends          the loop ends by itself
//! --fails         the loop fails
//! --lent          heirloom lends it the connections
//! --deaf          it does, and the loop is told nothing
//! ```
//!
//! `/pid` answers at once, `/who` with the client's address; `/drained` does a while after the drain has begun.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use heirloom::{Ending, Restarter, SignalMap};

#[tokio::main]
pub(crate) async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let of = |flag: &str| arguments.windows(2).find(|pair| pair[0] == flag).map(|pair| pair[1].clone());
    let builder = Restarter::bare().signals(SignalMap::default()).probation(Duration::from_millis(100));
    let restarter = builder.start()?;
    let listener = restarter.listen(of("--listen").ok_or("--listen is missing")?)?;
    println!("listening on {}", listener.local_addr());
    let handler = restarter.clone();
    let drained = || async move {
        handler.draining().await;
        tokio::time::sleep(AFTER).await;
        std::process::id().to_string()
    };
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }))
        .route("/drained", get(drained))
        .route("/who", get(|ConnectInfo(who): ConnectInfo<SocketAddr>| async move { who.to_string() }))
        .into_make_service_with_connect_info::<SocketAddr>();
    if has("--deaf") {
        let listener = listener.into_axum()?;
        return Ok(restarter.run_with(|_| async move { axum::serve(listener, router).await }).await?);
    }
    if has("--lent") {
        let listener = listener.into_axum()?;
        let serve = |told| async move { axum::serve(listener, router).with_graceful_shutdown(told).await };
        return Ok(restarter.run_with(serve).await?);
    }
    let listener = listener.into_tokio()?;
    if has("--serve-first") {
        axum::serve(listener, router).await?;
        return Err("axum::serve has returned".into());
    }
    let serve = |draining| async move {
        match () {
            () if has("--ends") => Ok(()),
            () if has("--fails") => Err(io::Error::other("no accept loop today")),
            () => axum::serve(listener, router).with_graceful_shutdown(draining).await,
        }
    };
    Ok(restarter.run_with(serve).await?)
}

/// Far longer than a process that waits for nothing takes to end.
const AFTER: Duration = Duration::from_millis(500);
