//! An HTTPS server whose certificate lies in `cert.pem` and `key.pem` beside it, and whose tickets and
//! connections outlive restarts; with `--stay` only the tickets do.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use heirloom::Restarter;
use heirloom::http::{Config, Server};
use heirloom::tls::Tls;

#[tokio::main]
pub(crate) async fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_target(false).init();
    let arguments: Vec<String> = std::env::args().collect();
    let beside = |name: &str| PathBuf::from(&arguments[0]).with_file_name(name);
    let restarter = Restarter::builder().probation(Duration::from_millis(200)).start()?;
    let tls = restarter.check(Tls::from_pem_files(beside("cert.pem"), beside("key.pem"))).await?;
    let tls = tls.move_connections(!arguments.iter().any(|argument| argument == "--stay"));
    tls.inherit_tickets(&restarter).await;
    let router = Router::new().route("/", get(|| async { std::process::id().to_string() }));
    let server = Server::tower(Config::new(), router);
    for pair in arguments.windows(2).filter(|pair| pair[0] == "--listen") {
        let listener = restarter.check(restarter.listen(&pair[1])).await?;
        println!("listening on {}", listener.local_addr());
        server.accept_tls_from(listener, &tls);
    }
    Ok(restarter.run().await?.into())
}
