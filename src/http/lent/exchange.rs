//! Requests and responses on one connection, followed from their bytes in both directions, without any I/O:
//! what of the input whoever serves it may have now, and whether it holds nothing of it.

use crate::http::framing::{Body, Chunks, HeadEnd, RequestHead, ResponseHead, up_to};

/// Both directions of one connection.
#[derive(Debug)]
pub(super) struct Exchange {
    inbound: Inbound,
    outbound: Outbound,
    /// What was given out of a request's head that is not whole yet.
    partial: Vec<u8>,
    protocol: Protocol,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http1,
    Http2,
    /// A WebSocket, a tunnel.
    Upgraded,
    /// Nothing that could be followed.
    Other,
}

/// What comes from the client.
#[derive(Debug)]
enum Inbound {
    Head(HeadEnd),
    Body(u64),
    Chunks(Chunks),
    /// The next request waits until this one is answered: its reader would keep it.
    Held,
    Through,
}

/// What goes to the client.
#[derive(Debug)]
enum Outbound {
    /// Nothing is asked.
    Between,
    Head(RequestHead, Head),
    Body(u64, End),
    Chunks(Chunks, End),
    /// The response ends with the connection.
    UntilEnd,
    /// The last response is out: only the end can follow.
    Last,
    Through,
}

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    end: HeadEnd,
}

/// What follows a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Next,
    Close,
}

impl Exchange {
    pub(super) fn new() -> Self {
        Exchange {
            inbound: Inbound::Head(HeadEnd::default()),
            outbound: Outbound::Between,
            partial: Vec::new(),
            protocol: Protocol::Http1,
        }
    }

    pub(super) fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Whether every request that was begun is answered in full, and what was given out of a next one is
    /// [`partial`](Self::partial).
    pub(super) fn is_between(&self) -> bool {
        matches!((&self.inbound, &self.outbound), (Inbound::Head(_), Outbound::Between))
    }

    /// Whether the last response is out.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.outbound, Outbound::Last)
    }

    pub(super) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// How many of these bytes, which come next, may be given out now.
    pub(super) fn may_give(&self, bytes: &[u8]) -> usize {
        match &self.inbound {
            Inbound::Head(end) => end.within(bytes),
            Inbound::Body(left) => up_to(*left, bytes),
            Inbound::Chunks(chunks) => chunks.within(bytes),
            Inbound::Held => 0,
            Inbound::Through => bytes.len(),
        }
    }

    /// These were given out, no more than [`may_give`](Self::may_give) allowed.
    pub(super) fn given(&mut self, bytes: &[u8]) {
        match &mut self.inbound {
            Inbound::Head(end) => {
                let is_whole = end.follow(bytes).is_some();
                if is_whole && self.partial.is_empty() {
                    self.asked(RequestHead::parse(bytes), bytes);
                    return;
                }
                self.partial.extend_from_slice(bytes);
                if is_whole {
                    let head = std::mem::take(&mut self.partial);
                    self.asked(RequestHead::parse(&head), &head);
                } else if self.partial.len() > LONGEST_HEAD {
                    self.let_through(Protocol::Other);
                }
            }
            Inbound::Body(left) => {
                *left -= bytes.len() as u64;
                if *left == 0 {
                    self.body_ended();
                }
            }
            Inbound::Chunks(chunks) => {
                chunks.follow(bytes);
                match chunks {
                    Chunks::Over => self.body_ended(),
                    Chunks::Broken => self.let_through(Protocol::Other),
                    _ => {}
                }
            }
            Inbound::Held | Inbound::Through => {}
        }
    }

    /// Follows what was written. Whether more may be given out now.
    pub(super) fn written(&mut self, mut bytes: &[u8]) -> bool {
        let held = matches!(self.inbound, Inbound::Held);
        while !bytes.is_empty() {
            let count = match &mut self.outbound {
                Outbound::Head(request, head) => {
                    let request = *request;
                    match head.follow(bytes) {
                        Some((count, response)) => {
                            self.answered(request, response);
                            count
                        }
                        None => {
                            if head.bytes.len() > LONGEST_HEAD {
                                self.let_through(Protocol::Other);
                            }
                            break;
                        }
                    }
                }
                Outbound::Body(left, end) => {
                    let count = up_to(*left, bytes);
                    *left -= count as u64;
                    let is_over = *left == 0;
                    let end = *end;
                    if is_over {
                        self.response_ended(end);
                    }
                    count
                }
                Outbound::Chunks(chunks, end) => {
                    let count = chunks.follow(bytes);
                    let end = *end;
                    match chunks {
                        Chunks::Over => self.response_ended(end),
                        Chunks::Broken => self.let_through(Protocol::Other),
                        _ => {}
                    }
                    count
                }
                // Nobody has asked: that a request took too long, or was none.
                Outbound::Between => {
                    self.let_through(Protocol::Other);
                    break;
                }
                Outbound::UntilEnd | Outbound::Last | Outbound::Through => break,
            };
            bytes = &bytes[count..];
        }
        held && !matches!(self.inbound, Inbound::Held)
    }

    /// Where in these bytes, which are to be written next, a field can be put into the head of a response, to
    /// say that it is the last.
    pub(super) fn place_for_last_word(&self, bytes: &[u8]) -> Option<usize> {
        let Outbound::Head(request, head) = &self.outbound else { return None };
        let mut end = head.end;
        let end = end.follow(bytes)?;
        let place = end.checked_sub(2).filter(|place| bytes[*place..end] == *b"\r\n")?;
        let whole = [&head.bytes, &bytes[..end]].concat();
        let response = ResponseHead::parse(&whole)?;
        let is_unsaid = !response.is_interim() && !response.switches(*request) && !response.closes(*request);
        is_unsaid.then_some(place)
    }

    /// A head is whole.
    fn asked(&mut self, request: Option<RequestHead>, head: &[u8]) {
        let Some(request) = request else {
            let is_http2 = head == HTTP2;
            return self.let_through(if is_http2 { Protocol::Http2 } else { Protocol::Other });
        };
        self.outbound = Outbound::Head(request, Head::default());
        self.inbound = match request.body {
            Body::Length(0) => Inbound::Held,
            Body::Length(length) => Inbound::Body(length),
            Body::Chunks => Inbound::Chunks(Chunks::default()),
            // No request has such a one.
            Body::UntilEnd => Inbound::Through,
        };
    }

    fn body_ended(&mut self) {
        // It may have been answered before it had come in full.
        self.inbound = match self.outbound {
            Outbound::Between => Inbound::Head(HeadEnd::default()),
            _ => Inbound::Held,
        };
    }

    fn answered(&mut self, request: RequestHead, response: Option<ResponseHead>) {
        let Some(response) = response else { return self.let_through(Protocol::Other) };
        if response.is_interim() {
            self.outbound = Outbound::Head(request, Head::default());
            return;
        }
        if response.switches(request) {
            return self.let_through(Protocol::Upgraded);
        }
        let end = if response.closes(request) { End::Close } else { End::Next };
        match response.body(request) {
            Body::Length(0) => self.response_ended(end),
            Body::Length(length) => self.outbound = Outbound::Body(length, end),
            Body::Chunks => self.outbound = Outbound::Chunks(Chunks::default(), end),
            Body::UntilEnd => self.outbound = Outbound::UntilEnd,
        }
    }

    fn response_ended(&mut self, end: End) {
        match end {
            End::Close => self.outbound = Outbound::Last,
            End::Next => {
                self.outbound = Outbound::Between;
                if let Inbound::Held = self.inbound {
                    self.inbound = Inbound::Head(HeadEnd::default());
                }
            }
        }
    }

    fn let_through(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.partial = Vec::new();
        (self.inbound, self.outbound) = (Inbound::Through, Outbound::Through);
    }
}

impl Head {
    /// Behind which of the bytes it ends, and what it says.
    fn follow(&mut self, bytes: &[u8]) -> Option<(usize, Option<ResponseHead>)> {
        let Some(end) = self.end.follow(bytes) else {
            self.bytes.extend_from_slice(bytes);
            return None;
        };
        if self.bytes.is_empty() {
            return Some((end, ResponseHead::parse(&bytes[..end])));
        }
        self.bytes.extend_from_slice(&bytes[..end]);
        Some((end, ResponseHead::parse(&self.bytes)))
    }
}

/// How a client begins that knows that HTTP/2 is spoken: what looks like a head of its preface.
pub(super) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

/// In bytes: servers refuse longer ones. What has come of a head is kept until it is whole.
const LONGEST_HEAD: usize = 64 * 1024;

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
