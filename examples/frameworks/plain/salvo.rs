//! salvo's own server.

use salvo::conn::Acceptor;
use salvo::conn::tcp::TcpAcceptor;
use salvo::prelude::*;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let router = Router::new().get(hello).push(Router::with_path("pid").get(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = TcpAcceptor::try_from(tokio::net::TcpListener::bind(address).await?)?;
    println!("listening on {:?}", listener.holdings());
    Server::new(listener).try_serve(router).await?;
    Ok(())
}

#[handler]
async fn hello() -> &'static str {
    "Hello World"
}

#[handler]
async fn pid() -> String {
    std::process::id().to_string()
}
