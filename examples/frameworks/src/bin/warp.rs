//! warp's filters.

use warp::Filter;

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let pid = warp::path!("pid").map(|| std::process::id().to_string());
    let routes = warp::path::end().map(|| "Hello World").or(pid);
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let listener = restarter.listen(address)?;
    println!("listening on {:?}", listener.local_addr());
    heirloom::http::serve(listener, warp::service(routes));
    Ok(restarter.run().await?)
}
