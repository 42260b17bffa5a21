//! An ordinary axum program, made restartable by the lines that are marked.
//!
//! `cargo run --example axum`, ask it with `curl localhost:3000`, and `kill -USR2 PID` as often as you like.

use axum::Router;
use axum::routing::get;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    // 1: was Result<(), ...>
    let router = Router::new().route("/", get(|| async { "Hello World" }));
    let restarter = heirloom::Restarter::new()?; // 2: new
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = restarter.listen(address)?; // 3: was tokio::net::TcpListener::bind(address).await?
    println!("listening on {}", listener.local_addr());
    heirloom::http::serve(listener, router); // 4: was axum::serve(listener, router).await?
    Ok(restarter.run().await?) // 5: was Ok(())
}
