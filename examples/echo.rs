//! A line-echo server without HTTP: a plain accept loop around heirloom's listener.
//!
//! `cargo run --example echo -- 127.0.0.1:7000`, then `kill -USR2 PID` as often as you like.

use heirloom::drain::Connection;
use heirloom::stream::Stream;
use heirloom::{Ending, Restarter};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());

    let restarter = Restarter::new()?;
    let mut listener = restarter.check(restarter.listen(&address)).await?;
    println!("listening on {}", listener.local_addr());

    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            tokio::spawn(async move {
                if let Err(error) = echo(connection).await {
                    eprintln!("a connection failed: {error}");
                }
            });
        }
    });
    Ok(restarter.run().await?)
}

/// Sends every line back. Once the process drains, the next line is the last: the client is told so, and reconnects.
async fn echo(connection: Connection<Stream>) -> std::io::Result<()> {
    let draining = connection.draining();
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    while connection.read_line(&mut line).await? > 0 {
        if draining.is_raised() {
            line.insert_str(0, "last: ");
        }
        connection.write_all(line.as_bytes()).await?;
        if draining.is_raised() {
            break;
        }
        line.clear();
    }
    connection.into_inner().close().await
}
