//! warp's filters.

use warp::Filter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pid = warp::path!("pid").map(|| std::process::id().to_string());
    let routes = warp::path::end().map(|| "Hello World").or(pid);
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", listener.local_addr());
    warp::serve(routes).incoming(listener).run().await;
    Ok(())
}
