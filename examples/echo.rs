//! A line server without HTTP: a plain accept loop around heirloom's listener, with sessions that survive restarts.
//!
//! `cargo run --example echo -- 127.0.0.1:7000`, talk to it with `nc 127.0.0.1 7000`, and `kill -USR2 PID` as often as
//! you like: the connection stays, and the count of its lines goes on.

use heirloom::drain::Connection;
use heirloom::stream::Stream;
use heirloom::{Ending, Restarter};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

#[tokio::main]
async fn main() -> Result<Ending, Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());

    let restarter = Restarter::new()?;
    let mut listener = restarter.check(restarter.listen(&address)).await?;
    println!("listening on {}", listener.local_addr());

    tokio::spawn(async move {
        while let Some(connection) = listener.accept().await {
            tokio::spawn(async move {
                if let Err(error) = converse(connection).await {
                    eprintln!("a connection failed: {error}");
                }
            });
        }
    });
    Ok(restarter.run().await?)
}

/// Answers every line with its number and itself, until the client leaves or the process drains.
async fn converse(mut connection: Connection<Stream>) -> std::io::Result<()> {
    // A session that began in the predecessor goes on here.
    let state = connection.take_state().and_then(|state| String::from_utf8(state).ok());
    let mut lines: u64 = state.and_then(|state| state.parse().ok()).unwrap_or(0);
    let draining = connection.draining();
    let mut connection = BufReader::new(connection);
    let mut line = Vec::new();
    loop {
        tokio::select! {
            read = connection.read_until(b'\n', &mut line) => {
                if read? == 0 {
                    return Ok(());
                }
                lines += 1;
                connection.write_all(format!("{lines}: ").as_bytes()).await?;
                connection.write_all(&line).await?;
                line.clear();
            }
            () = draining.clone() => break,
        }
    }
    // A half line that was read goes along, and comes first there.
    line.extend_from_slice(connection.buffer());
    match connection.into_inner().move_on(line, Some(lines.to_string().into_bytes())).await {
        Ok(()) => Ok(()),
        Err(mut connection) => {
            connection.write_all(b"goodbye\n").await?;
            connection.close().await
        }
    }
}
