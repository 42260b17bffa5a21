//! poem's own server.

use poem::listener::Acceptor;
use poem::{Route, Server, get, handler};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let routes = Route::new().at("/", get(hello)).at("/pid", get(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = poem::listener::TcpAcceptor::from_tokio(tokio::net::TcpListener::bind(address).await?)?;
    println!("listening on {:?}", listener.local_addr());
    Server::new_with_acceptor(listener).run(routes).await?;
    Ok(())
}

#[handler]
fn hello() -> &'static str {
    "Hello World"
}

#[handler]
fn pid() -> String {
    std::process::id().to_string()
}
