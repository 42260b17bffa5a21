//! A server of Redis's protocol, with its data in memory.

use std::io;
use std::sync::Arc;

use heirloom_frameworks::key_value::{Asking, Kept, command, move_on};
use tokio::io::{AsyncWriteExt, BufReader};

#[tokio::main]
async fn main() -> Result<heirloom::Ending, Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("an address is missing")?;
    let restarter = heirloom_frameworks::key_value::restarter()?;
    let data = Kept::over_restarts(&restarter)?;
    let mut listener = restarter.listen(address)?;
    println!("listening on {:?}", listener.local_addr());
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(serve(BufReader::new(stream), data.clone()));
        }
    });
    Ok(restarter.run().await?)
}

async fn serve(mut stream: Asking, data: Arc<Kept>) -> io::Result<()> {
    while let Some(command) = command(&mut stream).await? {
        let answer = data.answer(&command).await;
        stream.write_all(&answer).await?;
    }
    move_on(stream).await
}
