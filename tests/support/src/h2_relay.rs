//! A relay that reads the HTTP/2 frames it passes on: which streams were asked for, and which answered.
//!
//! Clients count differently what a GOAWAY kept them from sending; on the wire there is no doubt.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What went over one connection.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Streams that the client opened and the server has not answered to the end.
    pub unanswered: BTreeSet<u32>,
    pub answered: usize,
    /// Streams that the server reset.
    pub reset: Vec<u32>,
    pub goaways: usize,
}

/// A running relay; its threads end with their connections.
#[derive(Debug)]
pub struct Relay {
    pub address: SocketAddr,
    connections: Arc<Mutex<Vec<Arc<Mutex<Seen>>>>>,
}

impl Relay {
    pub fn to(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::<Mutex<Vec<_>>>::default();
        let relay = Relay { address, connections: Arc::clone(&connections) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let seen = Arc::<Mutex<Seen>>::default();
                connections.lock().unwrap().push(Arc::clone(&seen));
                let server = TcpStream::connect(server).expect("a connection to the server");
                let (back, forth) = (Arc::clone(&seen), seen);
                pass(&client, &server, PREFACE, move |frame| forth.lock().unwrap().asked(frame));
                pass(&server, &client, 0, move |frame| back.lock().unwrap().told(frame));
            }
        });
        relay
    }

    /// What was seen on each connection so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.connections.lock().unwrap().iter().map(|seen| seen.lock().unwrap().clone()).collect()
    }
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
}

impl Seen {
    fn asked(&mut self, frame: &Frame) {
        if frame.kind == HEADERS {
            self.unanswered.insert(frame.stream);
        }
    }

    fn told(&mut self, frame: &Frame) {
        match frame.kind {
            DATA | HEADERS if frame.flags & END_STREAM != 0 => {
                self.answered += usize::from(self.unanswered.remove(&frame.stream));
            }
            RST_STREAM => self.reset.push(frame.stream),
            GOAWAY => self.goaways += 1,
            _ => (),
        }
    }
}

/// Passes frames on, each seen before it is sent; the end of one side becomes the other's.
fn pass(from: &TcpStream, to: &TcpStream, preface: usize, see: impl Fn(&Frame) + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().expect("a descriptor"), to.try_clone().expect("a descriptor"));
    to.set_nodelay(true).expect("a connected socket");
    std::thread::spawn(move || {
        let mut relay = || -> io::Result<()> {
            let mut bytes = vec![0; preface];
            from.read_exact(&mut bytes)?;
            to.write_all(&bytes)?;
            loop {
                bytes.resize(HEAD, 0);
                from.read_exact(&mut bytes)?;
                let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
                let stream = u32::from_be_bytes([bytes[5] & 0x7F, bytes[6], bytes[7], bytes[8]]);
                see(&Frame { kind: bytes[3], flags: bytes[4], stream });
                bytes.resize(HEAD + length, 0);
                from.read_exact(&mut bytes[HEAD..])?;
                to.write_all(&bytes)?;
            }
        };
        // Every end is an error here; what it cost stands in `Seen`.
        let _ = relay();
        let _ = to.shutdown(Shutdown::Write);
    });
}

/// RFC 9113, section 3.4: `PRI * HTTP/2.0` and so on.
const PREFACE: usize = 24;

/// RFC 9113, section 4.1.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
