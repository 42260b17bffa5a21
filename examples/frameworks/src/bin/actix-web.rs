//! actix-web, with a worker for each processor.

use actix_web::{App, web};

#[actix_web::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let app = || App::new().route("/", web::get().to(hello)).route("/pid", web::get().to(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let server = heirloom_frameworks::actix_web::HttpServer::new(app, restarter.listen(address)?);
    println!("listening on {:?}", server.addrs());
    Ok(restarter.run_with(|_| server.run()).await?)
}

async fn hello() -> &'static str {
    "Hello World"
}

async fn pid() -> String {
    std::process::id().to_string()
}
