//! Clients in a listener's queue.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use super::super::PATIENCE;
use super::super::load::{Target, unix_address};
use super::Unit;

/// A client that has sent its request.
#[derive(Debug)]
pub struct Waiting<S> {
    stream: S,
}

/// Sends a request on a connection of its own.
pub fn ask(target: &Target, path: &str) -> Waiting<Box<dyn ReadWrite>> {
    let mut stream: Box<dyn ReadWrite> = match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).expect("a queue with room");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            Box::new(stream)
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect_addr(&unix_address(path).expect("an address"));
            let stream = stream.expect("a queue with room");
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            Box::new(stream)
        }
    };
    // As one: a simple server answers the first piece that it reads.
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("a connection");
    Waiting { stream }
}

/// A stream of either kind.
pub trait ReadWrite: Read + Write + Debug {}

impl<S: Read + Write + Debug> ReadWrite for S {}

impl<S: Read> Waiting<S> {
    /// The whole of it; nothing if it was cut off.
    pub fn answer(mut self) -> String {
        let mut answer = String::new();
        let _ = self.stream.read_to_string(&mut answer);
        answer
    }
}

/// More than a server under test accepts at once.
pub fn queue(target: &Target) -> Vec<Waiting<Box<dyn ReadWrite>>> {
    (0..20).map(|_| ask(target, "/pid")).collect()
}

/// Checks that another process than `pid` has answered each of them.
#[track_caller]
pub fn answered_by_another(unit: &Unit, waiting: Vec<Waiting<Box<dyn ReadWrite>>>, pid: i32) {
    let count = waiting.len();
    for connection in waiting {
        let answer = connection.answer();
        let by: Option<i32> = answer.lines().last().and_then(|line| line.parse().ok());
        assert!(by.is_some_and(|by| by != pid), "{answer:?}, and {pid} was killed");
    }
    println!("{}: {count} queued connections answered", unit.name);
}
