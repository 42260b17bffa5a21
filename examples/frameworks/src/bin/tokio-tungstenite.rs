//! tokio-tungstenite, on sockets of its own. Each message is answered with its number.

use heirloom_frameworks::tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::{Error, Message};

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom::Restarter::new()?;
    let mut listener = restarter.listen(address)?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(converse(stream));
        }
    });
    Ok(restarter.run().await?)
}

async fn converse(stream: heirloom::drain::Connection<heirloom::stream::Stream>) -> Result<(), Error> {
    let mut socket = accept_async(stream).await?;
    let mut count = socket.state().and_then(|state| state.try_into().ok()).map_or(0, u64::from_le_bytes);
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            count += 1;
            let answer = format!("{count} {} {text}", std::process::id());
            socket.send(Message::text(answer)).await?;
        }
    }
    socket.move_on(count.to_le_bytes()).await;
    Ok(())
}
