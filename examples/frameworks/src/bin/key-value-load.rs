//! Restarts the server of Redis's protocol under load. Each client counts with a key of its own, so that a
//! write that is lost, or read too early, shows at once.

use std::process::ExitCode;

use heirloom_frameworks::load::{Client, Failable, drive};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::main]
async fn main() -> Failable<ExitCode> {
    drive::<Counter>().await
}

struct Counter {
    number: u64,
    count: u64,
}

impl Client for Counter {
    type Connection = BufReader<TcpStream>;

    fn new(number: u64) -> Counter {
        Counter { number, count: 0 }
    }

    async fn connect(&self, address: &str) -> Failable<BufReader<TcpStream>> {
        Ok(BufReader::new(TcpStream::connect(address).await?))
    }

    /// Four commands in one piece, as clients send them that do not wait for each answer.
    async fn ask(&mut self, connection: &mut BufReader<TcpStream>) -> Failable<u32> {
        let (counted, written) = (format!("count-{}", self.number), format!("last-{}", self.number));
        let last = self.count.to_string();
        self.count += 1;
        let commands = [
            command(&["GET", &written]),
            command(&["INCR", &counted]),
            command(&["SET", &written, &self.count.to_string()]),
            command(&["INFO"]),
        ];
        connection.write_all(commands.concat().as_bytes()).await?;
        let before =
            if last == "0" { "$-1\r\n".to_owned() } else { format!("${}\r\n{last}\r\n", last.len()) };
        let wanted = format!("{before}:{}\r\n+OK\r\n", self.count);
        let mut answer = vec![0; wanted.len()];
        connection.read_exact(&mut answer).await?;
        if answer != wanted.as_bytes() {
            return Err(format!("{wanted:?} became {:?}", String::from_utf8_lossy(&answer)).into());
        }
        let mut info = [const { String::new() }; 3];
        for line in &mut info {
            connection.read_line(line).await?;
        }
        let pid = info[1].trim_end().strip_prefix("process_id:").ok_or("INFO says no pid")?;
        Ok(pid.parse()?)
    }
}

fn command(words: &[&str]) -> String {
    let bulk: String = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len())).collect();
    format!("*{}\r\n{bulk}", words.len())
}
