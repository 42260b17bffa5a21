//! poem's own server.

use poem::listener::Acceptor;
use poem::{Route, Server, get, handler};

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let routes = Route::new().at("/", get(hello)).at("/pid", get(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = heirloom_frameworks::poem::Lending::new(restarter.listen(address)?);
    println!("listening on {:?}", listener.local_addr());
    let serve = |told| Server::new_with_acceptor(listener).run_with_graceful_shutdown(routes, told, None);
    Ok(restarter.run_with(serve).await?)
}

#[handler]
fn hello() -> &'static str {
    "Hello World"
}

#[handler]
fn pid() -> String {
    std::process::id().to_string()
}
