//! tonic, with a health service.

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
    heirloom::http::serve_with(heirloom_frameworks::tonic::config(), listener, routes);
    tokio::spawn(heirloom_frameworks::tonic::tell_health::<EchoServer<Echo>>(restarter.clone(), reporter));
    Ok(restarter.run().await?)
}
