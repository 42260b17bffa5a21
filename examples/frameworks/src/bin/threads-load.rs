//! Restarts the program with threads under load.

use std::process::ExitCode;

use heirloom_frameworks::load::{Client, Failable, drive};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Failable<ExitCode> {
    drive::<Lines>().await
}

struct Lines {
    number: u64,
    asked: u64,
}

impl Client for Lines {
    type Connection = BufReader<TcpStream>;

    fn new(number: u64) -> Lines {
        Lines { number, asked: 0 }
    }

    async fn connect(&self, address: &str) -> Failable<BufReader<TcpStream>> {
        Ok(BufReader::new(TcpStream::connect(address).await?))
    }

    async fn ask(&mut self, connection: &mut BufReader<TcpStream>) -> Failable<u32> {
        self.asked += 1;
        let line = format!("{} asks {}\n", self.number, self.asked);
        connection.write_all(line.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_line(&mut answer).await?;
        match answer.split_once(' ') {
            Some((pid, same)) if same == line => Ok(pid.parse()?),
            _ => Err(format!("{line:?} was answered with {answer:?}").into()),
        }
    }
}
