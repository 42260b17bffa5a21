//! A server of Redis's protocol, with its data in memory.

use std::io;
use std::sync::Arc;

use heirloom_frameworks::resp::{Data, command};
use tokio::io::{AsyncWriteExt, BufReader};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let data = Arc::new(Data::default());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(BufReader::new(stream), data.clone()));
        }
    });
    tokio::signal::ctrl_c().await?;
    Ok(())
}

async fn serve(mut stream: BufReader<tokio::net::TcpStream>, data: Arc<Data>) -> io::Result<()> {
    while let Some(command) = command(&mut stream).await? {
        let answer = data.answer(&command);
        stream.write_all(&answer).await?;
    }
    Ok(())
}
