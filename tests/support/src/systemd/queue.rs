//! Clients in a listener's queue.

use std::time::Instant;

use super::super::PATIENCE;
use super::super::load::{Socket, Target};
use super::Unit;

/// A client that has sent its request.
#[derive(Debug)]
pub struct Waiting {
    socket: Box<dyn Socket>,
}

/// Sends a request on a connection of its own.
pub fn ask(target: &Target, path: &str) -> Waiting {
    let mut socket = target.socket(Instant::now() + PATIENCE).expect("a queue with room");
    // As one: a simple server answers the first piece that it reads.
    socket
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
        .expect("a connection");
    Waiting { socket }
}

impl Waiting {
    /// The whole of it; nothing if it was cut off.
    pub fn answer(mut self) -> String {
        let mut answer = String::new();
        let _ = self.socket.read_to_string(&mut answer);
        answer
    }
}

/// More than a server under test accepts at once.
pub fn queue(target: &Target) -> Vec<Waiting> {
    (0..20).map(|_| ask(target, "/pid")).collect()
}

/// Checks that another process than `pid` has answered each of them.
#[track_caller]
pub fn answered_by_another(unit: &Unit, waiting: Vec<Waiting>, pid: i32) {
    let count = waiting.len();
    for connection in waiting {
        let answer = connection.answer();
        let by: Option<i32> = answer.lines().last().and_then(|line| line.parse().ok());
        assert!(by.is_some_and(|by| by != pid), "{answer:?}, and {pid} was killed");
    }
    println!("{}: {count} queued connections answered", unit.name);
}
