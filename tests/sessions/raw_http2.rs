//! A client of HTTP/2 of which every frame is the test's.

use std::io::{Read, Write};
use std::net::TcpStream;

use support::Server;

use super::tcp;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `GET http://x/pid`: from the static table, and literals that are not to be kept.
pub(super) const GET_PID: &[u8] = b"\x82\x86\x04\x04/pid\x01\x01x";
/// The same, with a field that is kept in the table, where it is number 62; and with that number.
pub(super) const GET_PID_KEEPING: &[u8] = b"\x82\x86\x04\x04/pid\x01\x01x\x40\x03x-a\x01b";
pub(super) const GET_PID_KEPT: &[u8] = b"\x82\x86\x04\x04/pid\x01\x01x\xbe";
/// `GET http://x/events`, three seconds of them.
pub(super) const GET_EVENTS: &[u8] = b"\x82\x86\x04\x1c/events?every=10ms&count=300\x01\x01x";
/// `POST http://x/echo`.
pub(super) const POST_ECHO: &[u8] = b"\x83\x86\x04\x05/echo\x01\x01x";
/// The table has no size any more.
pub(super) const NO_TABLE: u8 = 0x20;

pub(super) struct Raw {
    pub(super) stream: TcpStream,
    pub(super) streams: u32,
}

#[derive(Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Raw {
    /// Behind the handshake.
    pub(super) fn new(server: &Server) -> Raw {
        let mut raw = Raw { stream: tcp(server), streams: 0 };
        raw.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..]].concat());
        raw.hear(|frame| frame.kind == SETTINGS && frame.flags == 0);
        raw.write(&frame(SETTINGS, ACK, 0, &[]));
        raw.hear(|frame| frame.kind == SETTINGS && frame.flags == ACK);
        raw
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("open");
    }

    /// Begins a request, and says on which stream.
    pub(super) fn ask(&mut self, block: &[u8], flags: u8) -> u32 {
        self.streams += 1;
        let stream = self.streams * 2 - 1;
        self.write(&frame(HEADERS, END_HEADERS | flags, stream, block));
        stream
    }

    pub(super) fn asks_and_hears(&mut self, block: &[u8]) -> String {
        let stream = self.ask(block, END_STREAM);
        self.body_of(stream)
    }

    /// In one frame.
    pub(super) fn body_of(&mut self, stream: u32) -> String {
        let data =
            self.hear(|frame| frame.kind == DATA && frame.stream == stream && !frame.payload.is_empty());
        String::from_utf8(data.payload).expect("text")
    }

    /// The next such frame; what else comes before is passed over.
    pub(super) fn hear(&mut self, is_it: impl Fn(&Frame) -> bool) -> Frame {
        let mut passed = Vec::new();
        loop {
            let frame = self.next().unwrap_or_else(|| panic!("ended behind {passed:?}"));
            if is_it(&frame) {
                return frame;
            }
            passed.push(frame);
        }
    }

    /// Answers a ping. `None` at the end, polite or not.
    pub(super) fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.stream.read_exact(&mut payload).ok()?;
        if kind == PING && flags == 0 {
            let _ = self.stream.write_all(&frame(PING, ACK, 0, &payload));
        }
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    /// The server asks it to forget its table.
    pub(super) fn hears_the_barrier(&mut self) {
        let settings = self.hear(|frame| frame.kind == SETTINGS);
        assert_eq!((settings.flags, &*settings.payload), (0, &[0, 1, 0, 0, 0, 0][..]));
    }

    /// The error of the last GOAWAY, at the end.
    pub(super) fn goodbye(&mut self) -> u32 {
        let frames: Vec<_> = std::iter::from_fn(|| self.next()).collect();
        let last = frames.iter().rfind(|frame| frame.kind == GOAWAY);
        let last = last.unwrap_or_else(|| panic!("no GOAWAY in {frames:?}"));
        u32::from_be_bytes(last.payload[4..8].try_into().expect("an error"))
    }
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}
