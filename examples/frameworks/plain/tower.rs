//! A stack of tower's layers around a service: traces, a timeout, compression.

use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tower::ServiceBuilder;
use tower_http::compression::CompressionLayer;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new()
        .route("/", get(|| async { "Hello World" }))
        .route("/pid", get(|| async { std::process::id().to_string() }));
    let service = ServiceBuilder::new()
        .map_response(|response: axum::http::Response<_>| response.map(axum::body::Body::new))
        .layer(TraceLayer::new_for_http())
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(10)))
        .layer(CompressionLayer::new())
        .service(router);
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", listener.local_addr());
    axum::serve(listener, tower::make::Shared::new(service)).await?;
    Ok(())
}
