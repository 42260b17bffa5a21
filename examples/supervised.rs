//! A server under a parent with a stable PID: `supervised 127.0.0.1:8080`, then `kill -USR2` to the PID that it prints.

use std::process::ExitCode;

use axum::{Router, routing::get};
use heirloom::{Ending, Restarter, Supervisor, SupervisorError};

fn main() -> Result<ExitCode, SupervisorError> {
    // Both processes come by here; with RUST_LOG they could say more.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    Supervisor::new()
        // In the parent, once: what can be asked of it. Here only its own number.
        .started(|_handle| println!("restart me with: kill -USR2 {}", std::process::id()))
        // In the parent, before each restart that somebody asks for: a reason not to.
        .before_restart(|| match std::path::Path::new("/run/no-restarts-today").exists() {
            true => Err("/run/no-restarts-today is there".to_owned()),
            false => Ok(()),
        })
        .run(program)
}

/// The worker. It knows its generation, its supervisor, and nothing else that a plain server would not.
#[tokio::main]
async fn program(restarter: Restarter) -> Result<Ending, Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("usage: supervised ADDRESS")?;
    let generation = restarter.generation();
    let router = Router::new()
        .route("/", get(move || async move { format!("Hello from generation {generation}\n") }))
        .route("/pid", get(|| async { std::process::id().to_string() }));

    // An address that cannot be had, or anything else that fails here, is told to the supervisor: the old worker stays.
    let listener = restarter.check(restarter.listen(&address)).await?;
    println!("listening on {}", listener.local_addr());
    heirloom::http::serve(listener, router);
    Ok(restarter.run().await?)
}
