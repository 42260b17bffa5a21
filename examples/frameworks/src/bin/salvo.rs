//! salvo's own server.

use salvo::conn::Acceptor;
use salvo::prelude::*;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let router = Router::new().get(hello).push(Router::with_path("pid").get(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = heirloom_frameworks::salvo::Lending::new(restarter.listen(address)?);
    println!("listening on {:?}", listener.holdings());
    let serve = |_| Server::new(listener).try_serve(router);
    Ok(restarter.run_with(serve).await?)
}

#[handler]
async fn hello() -> &'static str {
    "Hello World"
}

#[handler]
async fn pid() -> String {
    std::process::id().to_string()
}
