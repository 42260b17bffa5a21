//! A client of HTTP/2: one connection, one stream after the other.
//!
//! It speaks no more of the protocol than it needs. Its requests are not compressed, and it allows the
//! server no table for compression, so a status can be read without one.

use std::time::Instant;

use super::super::wire::{Look, Symptom, Trouble, Wire};
use super::Client;
use super::http1::{Exchanged, MOST_GOODBYES};

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// What became of a request.
enum Outcome {
    /// With this status; and whether the connection takes no more.
    Answered(u16, bool),
    /// The server says that it has not looked at it.
    NotTaken,
}

impl Client {
    /// Another connection is made when the server says that this one ends. A request that the server says it
    /// has not taken is asked again there, as the protocol has it (RFC 9113, 8.7).
    pub(super) fn http2(&mut self) -> Exchanged {
        let began = Instant::now();
        for _ in 0..MOST_GOODBYES {
            let mut wire = match self.wire.take() {
                Some(wire) => match self.still_there(wire) {
                    Some(wire) => wire,
                    None => self.connect_http2()?,
                },
                None => self.connect_http2()?,
            };
            wire.begin(self.deadline());
            let stream = self.turn;
            self.turn += 2;
            wire.send(&self.headers(stream))?;
            match self.answered(&mut wire, stream)? {
                Outcome::NotTaken => self.record.told(self.kind),
                Outcome::Answered(status, closes) => {
                    wire.answered();
                    let exchanged = self.judge(&wire, status, began)?;
                    match closes {
                        true => self.record.told(self.kind),
                        false => self.wire = Some(wire),
                    }
                    return Ok(exchanged);
                }
            }
        }
        // It takes no request on any connection.
        let wire = self.connect_http2()?;
        Err(wire.trouble(Symptom::Silent))
    }

    fn connect_http2(&mut self) -> Result<Wire, Trouble> {
        let mut wire = self.connect()?;
        wire.begin(self.deadline());
        self.turn = 1;
        let mut hello = PREFACE.to_vec();
        // No table for compression, and no pushed streams.
        hello.extend(frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0]));
        wire.send(&hello)?;
        Ok(wire)
    }

    /// Reads what has come since, as clients do that wait for nothing; `None` if the connection is over.
    fn still_there(&self, mut wire: Wire) -> Option<Wire> {
        wire.begin(self.deadline());
        loop {
            match wire.look() {
                Look::Quiet => return Some(wire),
                Look::Closed | Look::Reset => {
                    self.found_closed(&wire);
                    return None;
                }
                Look::Spoke => {
                    let is_goodbye = match next(&mut wire) {
                        Ok(frame) if frame.kind == GOAWAY => true,
                        Ok(frame) => reply(&mut wire, &frame).is_err(),
                        Err(_) => true,
                    };
                    if is_goodbye {
                        self.record.told(self.kind);
                        return None;
                    }
                }
            }
        }
    }

    fn answered(&self, wire: &mut Wire, stream: u32) -> Result<Outcome, Trouble> {
        wire.waits();
        let (mut status, mut closes) = (None, false);
        loop {
            let frame = next(wire)?;
            reply(wire, &frame)?;
            let is_ours = frame.stream == stream;
            match frame.kind {
                GOAWAY if number(&frame.payload) < stream => return Ok(Outcome::NotTaken),
                GOAWAY => closes = true,
                RST_STREAM if is_ours => match number(&frame.payload) {
                    REFUSED_STREAM => return Ok(Outcome::NotTaken),
                    // The answer was complete, and the rest of the request is not wanted.
                    NO_ERROR if status.is_some() => {}
                    code => return Err(wire.trouble(Symptom::Cancelled(code))),
                },
                HEADERS if is_ours => {
                    wire.answer_begins();
                    let read = status_in(fragment(&frame));
                    let read =
                        read.ok_or_else(|| wire.trouble(Symptom::Garbled("an odd status".to_owned())))?;
                    // Trailers have none, and one that begins with 1 announces another.
                    status = status.or((read >= 200).then_some(read));
                }
                _ => {}
            }
            let ends = matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0;
            if let Some(status) = status.filter(|_| is_ours && ends) {
                return Ok(Outcome::Answered(status, closes));
            }
        }
    }

    fn headers(&self, stream: u32) -> Vec<u8> {
        let (url, mut block) =
            (&self.plan.url, vec![METHOD_GET, if self.plan.is_tls() { HTTPS } else { HTTP }]);
        for (name, value) in [(AUTHORITY, &url.host), (PATH, &url.path)] {
            block.push(name);
            length(value.len(), &mut block);
            block.extend(value.as_bytes());
        }
        frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
    }
}

fn next(wire: &mut Wire) -> Result<Frame, Trouble> {
    let head = wire.bytes(9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    if length > LONGEST {
        return Err(wire.trouble(Symptom::Garbled(String::from_utf8_lossy(&head).into_owned())));
    }
    let (kind, flags, stream) = (head[3], head[4], number(&head[5..]) & STREAMS);
    Ok(Frame { kind, flags, stream, payload: wire.bytes(length)? })
}

/// What the protocol asks of whoever gets such a frame.
fn reply(wire: &mut Wire, got: &Frame) -> Result<(), Trouble> {
    match got.kind {
        SETTINGS if got.flags & ACK == 0 => wire.send(&frame(SETTINGS, ACK, 0, &[])),
        PING if got.flags & ACK == 0 => wire.send(&frame(PING, ACK, 0, &got.payload)),
        // The room for all streams; one stream alone has plenty.
        DATA if !got.payload.is_empty() => {
            wire.send(&frame(WINDOW_UPDATE, 0, 0, &(got.payload.len() as u32).to_be_bytes()))
        }
        _ => Ok(()),
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block without padding and priority.
fn fragment(frame: &Frame) -> &[u8] {
    let mut skipped = 0;
    if frame.flags & PADDED != 0 {
        skipped += 1;
    }
    if frame.flags & PRIORITY != 0 {
        skipped += 5;
    }
    frame.payload.get(skipped..).unwrap_or_default()
}

/// The status comes first, or behind a new size of the table. Trailers have none: 0 then.
fn status_in(mut block: &[u8]) -> Option<u16> {
    while let [first, rest @ ..] = block
        && first & 0xE0 == 0x20
    {
        block = rest;
    }
    match block {
        [indexed @ 0x88..=0x8E, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
        // Literally, by the name's number in the static table: 8, or one of its neighbours to 14.
        [0x48..=0x4E | 0x08..=0x0E | 0x18..=0x1E, length, value @ ..] => {
            let value = value.get(..usize::from(length & 0x7F))?;
            match length & 0x80 == 0 {
                true => str::from_utf8(value).ok()?.parse().ok(),
                false => digits(value),
            }
        }
        _ => Some(0),
    }
}

/// Three digits in HPACK's code: 0 to 2 have five bits each, the others six.
fn digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let (mut at, mut number) = (0, 0);
    let take = |at: usize, count: usize| -> Option<u16> {
        Some(bits.get(at..at + count)?.iter().fold(0, |sum, bit| sum << 1 | u16::from(*bit)))
    };
    for _ in 0..3 {
        let digit = match take(at, 5)? {
            short @ 0..=2 => {
                at += 5;
                short
            }
            _ => {
                let long = take(at, 6)?.checked_sub(0b01_1001)?;
                at += 6;
                long + 3
            }
        };
        number = number * 10 + Some(digit).filter(|digit| *digit < 10)?;
    }
    Some(number)
}

/// Of a string that is not compressed.
fn length(length: usize, block: &mut Vec<u8>) {
    const MOST: usize = 0x7F;
    if length < MOST {
        return block.push(length as u8);
    }
    block.push(MOST as u8);
    let mut rest = length - MOST;
    while rest >= 0x80 {
        block.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    block.push(rest as u8);
}

fn number(bytes: &[u8]) -> u32 {
    bytes.get(..4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

/// A stream's number, without the bit that is reserved.
const STREAMS: u32 = 0x7FFF_FFFF;

// HPACK: these are in its table, or only their names are.
const METHOD_GET: u8 = 0x82;
const HTTP: u8 = 0x86;
const HTTPS: u8 = 0x87;
const AUTHORITY: u8 = 0x01;
const PATH: u8 = 0x04;

/// As the protocol has it, unless a client allows more.
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_every_form() {
        assert_eq!(status_in(&[0x88, 0x5F]), Some(200));
        assert_eq!(status_in(&[0x20, 0x8D]), Some(404));
        assert_eq!(status_in(b"\x08\x03503"), Some(503));
        // RFC 7541, C.6.1 and C.6.2.
        assert_eq!(status_in(&[0x48, 0x82, 0x64, 0x02]), Some(302));
        assert_eq!(status_in(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
        assert_eq!(status_in(&[0x08, 0x82, 0x6c]), None);
        assert_eq!(status_in(b"\x00\x01a\x01b"), Some(0));
    }

    #[test]
    fn lengths_are_written_as_hpack_has_them() {
        let written = |count: usize| {
            let mut block = Vec::new();
            length(count, &mut block);
            block
        };
        assert_eq!((written(5), written(126)), (vec![5], vec![126]));
        assert_eq!((written(127), written(127 + 1337)), (vec![127, 0], vec![127, 0xB9, 0x0A]));
    }
}
