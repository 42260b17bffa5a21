//! tonic, with a health service.

use heirloom_frameworks::echo::{Echo, EchoServer};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<EchoServer<Echo>>().await;
    let routes = Routes::new(health).add_service(EchoServer::new(Echo));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = TcpIncoming::bind(address.parse()?)?;
    println!("listening on {:?}", listener.local_addr());
    tonic::transport::Server::builder().add_routes(routes).serve_with_incoming(listener).await?;
    Ok(())
}
