//! tonic's own server, with a health service, on connections that are lent to it.

use heirloom_frameworks::echo::{Echo, EchoServer};
use tonic::service::Routes;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<EchoServer<Echo>>().await;
    let routes = Routes::new(health).add_service(EchoServer::new(Echo));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = restarter.listen(address)?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(heirloom_frameworks::tonic::tell_health::<EchoServer<Echo>>(restarter.clone(), reporter));
    let server = tonic::transport::Server::builder().add_routes(routes);
    Ok(heirloom_frameworks::tonic_incoming::serve(&restarter, listener, server).await?)
}
