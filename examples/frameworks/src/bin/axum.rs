//! axum's own `serve`.

use axum::Router;
use axum::routing::get;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = restarter.listen(address)?.into_axum()?;
    println!("listening on {:?}", axum::serve::Listener::local_addr(&listener));
    let serve = |told| async { axum::serve(listener, router).with_graceful_shutdown(told).await };
    Ok(restarter.run_with(serve).await?)
}
