//! Clients that stay: a WebSocket that is echoed, and a stream of events.
//!
//! A server may end them with a word: a Close frame, the end of the stream. Then they come again, and nothing
//! is lost.

use std::time::Instant;

use super::super::wire::{Symptom, Trouble, Wire};
use super::http1::Exchanged;
use super::{Client, http1};

/// What a WebSocket is told.
struct Frame {
    kind: u8,
    payload: Vec<u8>,
}

impl Client {
    /// One message, and its echo.
    pub(super) fn websocket(&mut self) -> Exchanged {
        for _ in 0..http1::MOST_GOODBYES {
            let mut wire = match self.wire.take() {
                Some(wire) => wire,
                None => self.connect_websocket()?,
            };
            wire.begin(self.deadline());
            wire.waits();
            self.turn += 1;
            let message = format!("heirloom-prove {}", self.turn).into_bytes();
            let began = Instant::now();
            wire.send(&masked(TEXT, &message))?;
            if self.is_echoed(&mut wire, &message)? {
                let exchanged = self.judge(&wire, SWITCHING, began)?;
                self.wire = Some(wire);
                return Ok(exchanged);
            }
            self.record.told(self.kind);
        }
        Err(self.connect_websocket()?.trouble(Symptom::Silent))
    }

    fn connect_websocket(&mut self) -> Result<Wire, Trouble> {
        let mut wire = self.connect()?;
        wire.begin(self.deadline());
        let (path, host) = (self.plan.websocket.as_deref().unwrap_or("/"), &self.plan.url.host);
        // The key is the example's of RFC 6455: nobody's cache is to be fooled here.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        wire.send(request.as_bytes())?;
        let status = wire.upgraded()?;
        if status != SWITCHING {
            return Err(wire.trouble(Symptom::Status(status)));
        }
        wire.answered();
        Ok(wire)
    }

    /// `false` if the server says goodbye instead.
    fn is_echoed(&self, wire: &mut Wire, message: &[u8]) -> Result<bool, Trouble> {
        loop {
            let frame = next(wire)?;
            match frame.kind {
                PING => wire.send(&masked(PONG, &frame.payload))?,
                CLOSE => {
                    // What becomes of the answer is the server's business.
                    let _ = wire.send(&masked(CLOSE, &frame.payload));
                    return Ok(false);
                }
                // Some put a word of their own before it.
                TEXT | BINARY if frame.payload.ends_with(message) => return Ok(true),
                // What it says besides.
                _ => {}
            }
        }
    }

    /// The next event.
    pub(super) fn events(&mut self) -> Exchanged {
        for _ in 0..http1::MOST_GOODBYES {
            let mut wire = match self.wire.take() {
                Some(wire) => wire,
                None => self.connect_events()?,
            };
            wire.begin(self.deadline());
            wire.waits();
            let began = Instant::now();
            if self.is_heard(&mut wire)? {
                let exchanged = self.judge(&wire, OK, began)?;
                self.wire = Some(wire);
                return Ok(exchanged);
            }
            self.record.told(self.kind);
        }
        Err(self.connect_events()?.trouble(Symptom::Silent))
    }

    fn connect_events(&mut self) -> Result<Wire, Trouble> {
        let mut wire = self.connect()?;
        wire.begin(self.deadline());
        let (path, host) = (self.plan.events.as_deref().unwrap_or("/"), &self.plan.url.host);
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n");
        wire.send(request.as_bytes())?;
        let (status, is_chunked) = wire.stream_begins()?;
        if status != OK {
            return Err(wire.trouble(Symptom::Status(status)));
        }
        wire.answered();
        self.is_chunked = is_chunked;
        self.heard.clear();
        Ok(wire)
    }

    /// `false` if the stream is at its end, in good order.
    fn is_heard(&mut self, wire: &mut Wire) -> Result<bool, Trouble> {
        loop {
            let ends = [&b"\n\n"[..], b"\r\n\r\n"].map(|end| {
                let at = self.heard.windows(end.len()).position(|bytes| bytes == end);
                at.map(|at| at + end.len())
            });
            if let Some(end) = ends.into_iter().flatten().min() {
                self.heard.drain(..end);
                return Ok(true);
            }
            let piece = match self.is_chunked {
                true => wire.chunk()?,
                false => wire.whatever_comes()?,
            };
            match piece {
                Some(piece) => self.heard.extend(piece),
                None if self.heard.is_empty() => return Ok(false),
                None => return Err(wire.trouble(Symptom::Closed)),
            }
        }
    }
}

fn next(wire: &mut Wire) -> Result<Frame, Trouble> {
    let head = wire.bytes(2)?;
    let length = match head[1] & 0x7F {
        126 => wire.bytes(2)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
        // No echo is that long.
        127 => return Err(wire.trouble(Symptom::Garbled("a frame of more than 64 KiB".to_owned()))),
        short => usize::from(short),
    };
    if head[1] & 0x80 != 0 {
        return Err(wire.trouble(Symptom::Garbled("a masked frame".to_owned())));
    }
    Ok(Frame { kind: head[0] & 0x0F, payload: wire.bytes(length)? })
}

/// A frame as clients send it. The mask need not be secret here.
fn masked(kind: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
    // Control frames and our messages are shorter than 126 bytes.
    let payload = &payload[..payload.len().min(125)];
    let mut frame = vec![0x80 | kind, 0x80 | payload.len() as u8];
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

const SWITCHING: u16 = 101;
const OK: u16 = 200;

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
