//! axum's own `serve`.

use axum::Router;
use axum::routing::get;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", axum::serve::Listener::local_addr(&listener));
    axum::serve(listener, router).await?;
    Ok(())
}
