//! A server for browsers and slow clients: a page that asks and reports, an answer too large for any buffer, bodies read
//! to their end.

use std::future::pending;
use std::process::ExitCode;
use std::sync::LazyLock;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::DefaultBodyLimit;
use axum::response::Html;
use axum::routing::{get, post};
use heirloom::{Restarter, SignalMap};

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let value = |name: &str| std::env::args().skip_while(|argument| argument != name).nth(1);
    let mut builder = Restarter::bare().signals(SignalMap::default());
    if let Some(limit) = value("--drain-timeout") {
        builder = builder.drain_timeout(humantime::parse_duration(&limit)?);
    }
    if let Some(length) = value("--probation") {
        builder = builder.probation(humantime::parse_duration(&length)?);
    }
    let restarter = builder.start()?;
    let listener = restarter.listen(value("--listen").ok_or("--listen is missing")?)?;
    println!("listening on {}", listener.local_addr());

    let generation = restarter.generation();
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }).post(echo_pid))
        .route("/generation", get(move || async move { generation.to_string() }))
        .route("/page", get(|| async { Html(PAGE) }))
        .route("/tell", post(tell))
        .route("/large", get(|| async { Body::from(LARGE.clone()) }))
        .route("/upload", post(|body: Bytes| async move { body.len().to_string() }))
        .route("/forever", get(pending::<()>))
        .layer(DefaultBodyLimit::disable());
    heirloom::http::serve(listener, router);
    Ok(restarter.run().await?.into())
}

async fn echo_pid(body: Bytes) -> String {
    drop(body);
    std::process::id().to_string()
}

/// Says to the test what the page says.
async fn tell(words: String) {
    println!("the page says {words}");
}

/// Six loops, as many connections as a browser opens to one host, so that none is ever spare.
const PAGE: &str = r#"<!doctype html><title>asking</title><script>
const asked = Number(new URLSearchParams(location.search).get("generations"));
const pids = new Set(), failures = [];
let requests = 0, after = 0;
async function loop(method) {
  while (pids.size < asked || after < 100) {
    requests++;
    try {
      const answer = await fetch("/pid", { method, cache: "no-store", body: method == "POST" ? "body" : undefined });
      const pid = await answer.text();
      if (answer.status != 200 || !/^[0-9]+$/.test(pid)) throw new Error(answer.status + " " + pid);
      if (pids.size == asked) after++;
      if (!pids.has(pid)) {
        pids.add(pid);
        await fetch("/tell", { method: "POST", body: "new pid " + pid });
      }
    } catch (error) {
      failures.push(String(error));
      if (failures.length > 20) return;
    }
  }
}
Promise.all(["GET", "GET", "GET", "GET", "POST", "POST"].map(loop)).then(() => {
  const words = `report requests=${requests} pids=${pids.size} failed=${failures.length} ${failures.join("; ")}`;
  return fetch("/tell", { method: "POST", body: words });
});
</script>"#;

/// Above what the buffers of two sockets hold (4 MiB to send, 6 MiB to receive, by the kernel's defaults) many times over.
static LARGE: LazyLock<Bytes> = LazyLock::new(|| vec![0; 64 << 20].into());
