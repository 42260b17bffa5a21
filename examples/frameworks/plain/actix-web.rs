//! actix-web, with a worker for each processor.

use actix_web::{App, web};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = || App::new().route("/", web::get().to(hello)).route("/pid", web::get().to(pid));
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let server = actix_web::HttpServer::new(app).bind(address)?;
    println!("listening on {:?}", server.addrs());
    server.run().await?;
    Ok(())
}

async fn hello() -> &'static str {
    "Hello World"
}

async fn pid() -> String {
    std::process::id().to_string()
}
