//! A client's WebSocket frames, made and read by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::tcp;
use support::Server;

/// A WebSocket without a library: what it sends is what the test says.
pub(super) fn upgraded(server: &Server, path: &str) -> TcpStream {
    let mut stream = tcp(server);
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("open");
    // One by one: a frame may be right behind it.
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("an answer");
        head.extend_from_slice(&byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
    stream
}

/// A masked frame of a client, the last of its message.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("short");
    assert!(length < 126);
    let mut frame = vec![0x80 | opcode, 0x80 | length, 1, 2, 3, 4];
    frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ [1, 2, 3, 4][at % 4]));
    frame
}

/// The next frame of the server: its opcode and what it carries. `None` at its end.
pub(super) fn next(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).ok()?;
    let length = match header[1] {
        126 => {
            let mut long = [0; 2];
            stream.read_exact(&mut long).ok()?;
            usize::from(u16::from_be_bytes(long))
        }
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).ok()?;
    Some((header[0] & 0x0f, payload))
}

pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// Status 1012.
pub(super) const SERVICE_RESTART: [u8; 2] = [0x03, 0xf4];
