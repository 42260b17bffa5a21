//! Restarts the tokio-tungstenite program under load.

use std::process::ExitCode;

use futures_util::{SinkExt, StreamExt};
use heirloom_frameworks::load::{Client, Failable, drive};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

#[tokio::main]
async fn main() -> Failable<ExitCode> {
    drive::<Talker>().await
}

struct Talker {
    number: u64,
}

struct Talk {
    socket: WebSocketStream<TcpStream>,
    said: u64,
}

impl Client for Talker {
    type Connection = Talk;

    fn new(number: u64) -> Talker {
        Talker { number }
    }

    async fn connect(&self, address: &str) -> Failable<Talk> {
        let stream = TcpStream::connect(address).await?;
        let (socket, _) = client_async(format!("ws://{address}/"), stream).await?;
        Ok(Talk { socket, said: 0 })
    }

    async fn ask(&mut self, talk: &mut Talk) -> Failable<u32> {
        talk.said += 1;
        let text = format!("{} says {}", self.number, talk.said);
        talk.socket.send(Message::text(text.clone())).await?;
        let answer = talk.socket.next().await.ok_or("no answer")??.into_text()?;
        let words: Vec<&str> = answer.splitn(3, ' ').collect();
        match *words {
            [count, pid, same] if same == text && count == talk.said.to_string() => Ok(pid.parse()?),
            _ => Err(format!("{text:?} was answered with {answer:?}").into()),
        }
    }
}
