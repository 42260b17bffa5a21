//! A request of one connection that is sent and not waited for.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::PATIENCE;
use crate::load::Target;

/// A request that the server has got, and not yet answered.
pub struct Request(TcpStream);

impl Request {
    pub fn send(target: &Target, path: &str) -> Request {
        let Target::Tcp(address) = target else { panic!("not TCP: {target}") };
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).unwrap();
        Request(stream)
    }

    /// Everything until the end; empty when it was aborted.
    pub fn answer(mut self) -> String {
        let mut text = Vec::new();
        let _ = self.0.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}
