//! What a small server needs of Redis's protocol: PING, GET, SET, INCR and INFO.

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// A command with its arguments.
pub type Words = Vec<Vec<u8>>;

/// Keys and their values.
#[derive(Debug, Default)]
pub struct Data(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

impl Data {
    /// Does what a command says, and answers it.
    pub fn answer(&self, command: &[Vec<u8>]) -> Vec<u8> {
        let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
        match *words {
            [b"PING"] => b"+PONG\r\n".to_vec(),
            [b"GET", key] => match self.values().get(key) {
                Some(value) => bulk(value),
                None => b"$-1\r\n".to_vec(),
            },
            [b"SET", key, value] => {
                self.values().insert(key.to_owned(), value.to_owned());
                b"+OK\r\n".to_vec()
            }
            [b"INCR", key] => self.increase(key),
            [b"INFO"] => bulk(format!("process_id:{}\r\n", std::process::id()).as_bytes()),
            _ => b"-ERR unknown command\r\n".to_vec(),
        }
    }

    /// As many commands that make the same data.
    pub fn commands(&self) -> Vec<u8> {
        let mut commands = Vec::new();
        for (key, value) in &*self.values() {
            commands.extend_from_slice(b"*3\r\n$3\r\nSET\r\n");
            commands.extend(bulk(key));
            commands.extend(bulk(value));
        }
        commands
    }

    fn increase(&self, key: &[u8]) -> Vec<u8> {
        let mut values = self.values();
        let old = values.get(key).map_or(Some(0), |value| str::from_utf8(value).ok()?.parse::<i64>().ok());
        let Some(new) = old.and_then(|old| old.checked_add(1)) else {
            return b"-ERR value is not an integer or out of range\r\n".to_vec();
        };
        values.insert(key.to_owned(), new.to_string().into_bytes());
        format!(":{new}\r\n").into_bytes()
    }

    /// Every change is one insert.
    fn values(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the next command; `None` at the end.
pub async fn command(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Words>> {
    let Some(count) = number(stream, b'*', MAX_WORDS).await? else { return Ok(None) };
    let mut words = Vec::new();
    for _ in 0..count {
        let length = number(stream, b'$', MAX_LENGTH).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut word = vec![0; length + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(length);
        words.push(word);
    }
    Ok(Some(words))
}

async fn number(
    stream: &mut (impl AsyncBufRead + Unpin),
    mark: u8,
    limit: usize,
) -> io::Result<Option<usize>> {
    let mut line = Vec::new();
    if stream.take(MAX_LINE).read_until(b'\n', &mut line).await? == 0 {
        return Ok(None);
    }
    let digits = line.strip_prefix(&[mark]).and_then(|rest| rest.strip_suffix(b"\r\n"));
    let number = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    match number {
        Some(number) if number <= limit => Ok(Some(number)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "this is not Redis's protocol, or too much")),
    }
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Of a command: none that is known has more.
const MAX_WORDS: usize = 8;

/// Of a word, in bytes.
const MAX_LENGTH: usize = 1 << 20;

/// In bytes: a mark, a number, and the end.
const MAX_LINE: u64 = 16;
