//! tokio-tungstenite, on sockets of its own. Each message is answered with its number.

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream));
        }
    });
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn converse(stream: tokio::net::TcpStream) -> Result<(), Error> {
    let mut socket = accept_async(stream).await?;
    let mut count: u64 = 0;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            count += 1;
            let answer = format!("{count} {} {text}", std::process::id());
            socket.send(Message::text(answer)).await?;
        }
    }
    Ok(())
}
