//! What is spoken on a connection, followed in both directions, without any I/O: what of the input a library
//! may have now, and whether the connection is between two messages or chunks.

use super::frames::Frames;
use super::head::{ResponseHead, SWITCHING};
use crate::http::carried::{Carried, SessionKind};
use crate::http::framing::{Chunks, HeadEnd, up_to};

/// Both directions of one connection.
#[derive(Debug)]
pub(super) struct Following {
    inbound: Inbound,
    outbound: Outbound,
    /// Of the last request, as far as it was given to hyper: its head, and its body if it may become a
    /// session.
    request: Vec<u8>,
    is_head_whole: bool,
    /// More of its body was given out than is kept.
    is_body_too_long: bool,
    /// What the request under way may become or has become.
    kind: Option<SessionKind>,
    /// What the head of its response said.
    terms: Vec<String>,
    keeps_context: bool,
    /// A session has come from a predecessor, and nothing was written since.
    is_resumed: bool,
}

/// What comes from the client.
#[derive(Debug)]
enum Inbound {
    /// A request's head. What is behind it stays here until it is known what follows.
    Head(HeadEnd),
    Body(u64),
    Chunks(Chunks),
    /// Nothing is given out until the response is known, or over: hyper would keep it.
    Held,
    Frames(Frames),
    /// Whatever it is, it is none of ours.
    Through,
}

#[derive(Debug)]
enum Outbound {
    Through,
    Head(Head),
    /// The client has had it from a predecessor.
    Swallowed(Head, Vec<String>),
    /// It was another one than the client had.
    Wrong,
    Frames(Frames),
    Chunks(Chunks),
}

#[derive(Debug, Default)]
struct Head {
    bytes: Vec<u8>,
    end: HeadEnd,
}

/// What hyper says of a request.
#[derive(Clone, Copy, Debug)]
pub(in crate::http) struct Begins {
    /// What it may become.
    pub(in crate::http) kind: Option<SessionKind>,
    pub(in crate::http) body: RequestBody,
    /// Something that is not followed.
    pub(in crate::http) may_upgrade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum RequestBody {
    None,
    Length(u64),
    Chunks,
}

/// Whether a session can go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    Ready,
    NotYet,
    /// It ends by itself.
    Ending,
    /// Only its library knows what its compression remembers.
    Bound,
    /// Its request is too long to be played again.
    TooLong,
}

impl Following {
    /// A connection that is about to speak HTTP.
    pub(super) fn new() -> Self {
        Following {
            inbound: Inbound::Head(HeadEnd::default()),
            outbound: Outbound::Through,
            request: Vec::new(),
            is_head_whole: false,
            is_body_too_long: false,
            kind: None,
            terms: Vec::new(),
            keeps_context: false,
            is_resumed: false,
        }
    }

    /// One that a predecessor has been speaking on: the request, which comes once more, is answered once
    /// more.
    pub(super) fn resumed(carried: &Carried) -> Self {
        let outbound = Outbound::Swallowed(Head::default(), carried.terms.clone());
        Following { outbound, kind: Some(carried.kind), is_resumed: true, ..Following::new() }
    }

    /// hyper has a request. Whether it may become a session that can move.
    pub(super) fn begin(&mut self, begins: Begins, is_flushed: bool) -> bool {
        let is_replay = matches!(self.outbound, Outbound::Swallowed(..));
        let kind = begins.kind.filter(|kind| {
            let is_known = self.is_head_whole && is_flushed && self.request.len() <= LONGEST_HEAD;
            is_known && begins.body.may_come_again(*kind)
        });
        let is_as_before = !is_replay || kind == self.kind;
        if !is_replay {
            self.kind = kind;
            self.terms.clear();
            self.outbound = match kind {
                Some(_) => Outbound::Head(Head::default()),
                None => Outbound::Through,
            };
        }
        self.is_body_too_long = false;
        self.inbound = match begins.body {
            RequestBody::Length(length) if !begins.may_upgrade => Inbound::Body(length),
            RequestBody::Chunks if !begins.may_upgrade => Inbound::Chunks(Chunks::default()),
            _ if kind.is_none() && begins.may_upgrade && !is_replay => Inbound::Through,
            _ => self.behind_request(),
        };
        kind.is_some() && is_as_before
    }

    /// What comes from the client once all of a request was given out.
    fn behind_request(&self) -> Inbound {
        match self.kind {
            Some(_) => Inbound::Held,
            None => Inbound::Head(HeadEnd::default()),
        }
    }

    /// How many of these bytes, which come next, may be given out now. `hold`: no further message.
    pub(super) fn may_give(&self, bytes: &[u8], hold: bool) -> usize {
        match &self.inbound {
            Inbound::Head(end) => end.within(bytes),
            Inbound::Body(left) => up_to(*left, bytes),
            Inbound::Chunks(chunks) => chunks.within(bytes),
            Inbound::Held => 0,
            Inbound::Frames(frames) if hold && frames.is_between_messages() => 0,
            Inbound::Frames(frames) => frames.whole(bytes, LONGEST_WHOLE),
            Inbound::Through => bytes.len(),
        }
    }

    /// How many bytes may be given out without a look at them.
    pub(super) fn passes(&self) -> u64 {
        match self.inbound {
            Inbound::Body(left) => left,
            Inbound::Through => u64::MAX,
            _ => 0,
        }
    }

    /// Whether more of the request's body is to come.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.inbound, Inbound::Body(_) | Inbound::Chunks(_))
    }

    /// Whether what comes next is, or goes on, a request's head.
    #[cfg(any(test, fuzzing))]
    pub(super) fn is_in_head(&self) -> bool {
        matches!(self.inbound, Inbound::Head(_))
    }

    /// Whether every request that was begun was given out in full, and nothing of a next one.
    pub(super) fn is_between_requests(&self) -> bool {
        matches!(self.inbound, Inbound::Head(_)) && (self.is_head_whole || self.request.is_empty())
    }

    /// Whether what waits is not for now, and its sender's end not either.
    pub(super) fn is_held(&self) -> bool {
        matches!(self.inbound, Inbound::Held)
    }

    /// These were given out. Never more than [`may_give`](Self::may_give) or [`passes`](Self::passes)
    /// allowed.
    pub(super) fn given(&mut self, bytes: &[u8]) {
        match &mut self.inbound {
            Inbound::Head(end) => {
                if std::mem::take(&mut self.is_head_whole) {
                    self.request.clear();
                }
                let whole = end.follow(bytes).is_some();
                if self.request.len() <= LONGEST_HEAD {
                    self.request.extend_from_slice(bytes);
                }
                self.is_head_whole = whole;
            }
            Inbound::Body(left) => {
                *left -= bytes.len() as u64;
                if *left == 0 {
                    self.inbound = self.behind_request();
                }
                self.keep(bytes);
            }
            Inbound::Chunks(chunks) => {
                chunks.follow(bytes);
                match chunks {
                    Chunks::Over => self.inbound = self.behind_request(),
                    // hyper ends the connection.
                    Chunks::Broken => self.inbound = Inbound::Through,
                    _ => {}
                }
                self.keep(bytes);
            }
            Inbound::Frames(frames) => frames.follow(bytes),
            Inbound::Held | Inbound::Through => {}
        }
    }

    /// Keeps a part of a request's body as long as it may be wanted again.
    fn keep(&mut self, bytes: &[u8]) {
        if self.kind.is_none() || self.is_body_too_long {
            return;
        }
        self.is_body_too_long = self.request.len() + bytes.len() > LONGEST_REQUEST;
        if self.is_body_too_long {
            self.request = Vec::new();
        } else {
            self.request.extend_from_slice(bytes);
        }
    }

    /// Whether what is written next goes nowhere.
    pub(super) fn swallows(&self) -> bool {
        matches!(self.outbound, Outbound::Swallowed(..))
    }

    /// Takes what is written, up to the end of the response's head. How many bytes that is.
    pub(super) fn swallow(&mut self, bytes: &[u8]) -> usize {
        let Outbound::Swallowed(head, _) = &mut self.outbound else { return 0 };
        let end = head.follow(bytes);
        let count = end.unwrap_or(bytes.len());
        if end.is_some() || head.bytes.len() > LONGEST_HEAD {
            let Outbound::Swallowed(head, terms) = std::mem::replace(&mut self.outbound, Outbound::Wrong)
            else {
                unreachable!("it was swallowed")
            };
            match ResponseHead::parse(&head.bytes) {
                Some(response) if response.is_interim() => {
                    self.outbound = Outbound::Swallowed(Head::default(), terms);
                }
                Some(response) if response.terms == terms => {
                    self.becomes_session(&response);
                }
                _ => {}
            }
        }
        count
    }

    /// Whether the response to a request that was played again is not the one that the client has.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self.outbound, Outbound::Wrong)
    }

    /// What the request under way may become or has become.
    pub(super) fn kind(&self) -> Option<SessionKind> {
        self.kind
    }

    /// Whether what is written next is the first that the client hears of this process.
    pub(super) fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Its handler begins anew what a predecessor had begun.
    pub(super) fn goes_wrong(&mut self) {
        self.outbound = Outbound::Wrong;
    }

    /// Follows what was written. Whether more may be given out now.
    pub(super) fn written(&mut self, mut bytes: &[u8]) -> bool {
        let mut opens = false;
        self.is_resumed &= bytes.is_empty();
        while !bytes.is_empty() {
            match &mut self.outbound {
                Outbound::Head(head) => {
                    let end = head.follow(bytes);
                    if end.is_some() || head.bytes.len() > LONGEST_HEAD {
                        let head = std::mem::take(head);
                        match ResponseHead::parse(&head.bytes) {
                            Some(response) if response.is_interim() => {}
                            Some(response) if self.becomes_session(&response) => {}
                            _ => self.is_over(),
                        }
                        opens |= !self.is_held();
                    }
                    bytes = &bytes[end.unwrap_or(bytes.len())..];
                }
                Outbound::Chunks(chunks) => {
                    let count = chunks.follow(bytes);
                    if *chunks == Chunks::Over {
                        self.is_over();
                        opens = true;
                    }
                    bytes = &bytes[count..];
                }
                Outbound::Frames(frames) => {
                    frames.follow(bytes);
                    if let (Some(pong), Inbound::Frames(inbound)) = (frames.take_pong(), &mut self.inbound)
                        && inbound.ping() == Some(&pong)
                    {
                        inbound.answered();
                    }
                    return opens;
                }
                Outbound::Through | Outbound::Swallowed(..) | Outbound::Wrong => return opens,
            }
        }
        opens
    }

    /// Whether the response is one with which the request becomes a session.
    fn becomes_session(&mut self, response: &ResponseHead) -> bool {
        match self.kind {
            Some(SessionKind::WebSocket) if response.status == SWITCHING => {
                self.keeps_context = response.keeps_context();
                self.inbound = Inbound::Frames(Frames::default());
                self.outbound = Outbound::Frames(Frames::default());
            }
            Some(SessionKind::Stream) if response.is_chunked => {
                self.outbound = Outbound::Chunks(Chunks::default())
            }
            _ => return false,
        }
        self.terms.clone_from(&response.terms);
        true
    }

    /// Nothing of the request under way can move any more.
    fn is_over(&mut self) {
        self.kind = None;
        self.outbound = Outbound::Through;
        // The rest of a body that was answered already is still followed.
        if self.is_held() {
            self.inbound = self.behind_request();
        }
        // Idle connections are many, and a body is larger than a head.
        if self.request.len() > LONGEST_HEAD {
            self.request = Vec::new();
        }
    }

    /// Whether the session can go as it stands.
    pub(super) fn readiness(&self) -> Readiness {
        match (&self.inbound, &self.outbound) {
            _ if self.keeps_context => Readiness::Bound,
            _ if self.is_body_too_long => Readiness::TooLong,
            // Its handler has answered before it had all of the request.
            (Inbound::Body(_) | Inbound::Chunks(_), Outbound::Chunks(_)) => Readiness::NotYet,
            (Inbound::Frames(inbound), Outbound::Frames(outbound)) => {
                if inbound.is_ending() || outbound.is_ending() {
                    Readiness::Ending
                } else if inbound.is_between_messages() && outbound.is_between_messages() {
                    Readiness::Ready
                } else {
                    Readiness::NotYet
                }
            }
            (_, Outbound::Chunks(chunks)) if chunks.is_between() => Readiness::Ready,
            (_, Outbound::Chunks(Chunks::Broken) | Outbound::Wrong | Outbound::Through) => Readiness::Ending,
            _ => Readiness::NotYet,
        }
    }

    /// Whether a Close frame can be put where it stands.
    pub(super) fn can_close(&self) -> bool {
        matches!(&self.outbound, Outbound::Frames(frames) if frames.is_between_frames() && !frames.is_ending())
    }

    /// What a ping carried that has no answer yet: its library may be about to give one.
    pub(super) fn unanswered(&self) -> Option<&[u8]> {
        match &self.inbound {
            Inbound::Frames(frames) => frames.ping(),
            _ => None,
        }
    }

    /// That ping has its answer.
    pub(super) fn answered(&mut self) {
        if let Inbound::Frames(frames) = &mut self.inbound {
            frames.answered();
        }
    }

    /// What its successor needs to know.
    pub(super) fn carried(&self, state: Vec<u8>) -> Option<Carried> {
        let kind = self.kind?;
        Some(Carried { kind, request: self.request.clone(), terms: self.terms.clone(), state })
    }
}

impl Head {
    fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let end = self.end.follow(bytes);
        self.bytes.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
        end
    }
}

impl RequestBody {
    /// Whether a session of that kind can begin with it once more.
    fn may_come_again(self, kind: SessionKind) -> bool {
        match (self, kind) {
            (RequestBody::None, _) => true,
            (_, SessionKind::WebSocket) => false,
            (RequestBody::Length(length), _) => length <= LONGEST_BODY as u64,
            // How long it is will be seen.
            (RequestBody::Chunks, _) => true,
        }
    }
}

/// In bytes: of a request whose session can move, and of its response. Browsers send some 2 KiB, and 8 with
/// many cookies.
const LONGEST_HEAD: usize = 16 * 1024;

/// In bytes, on the wire: of a request whose stream can move. A question to a language model with what was
/// said before is some ten KiB; with a picture in it, more than can go along.
const LONGEST_BODY: usize = 64 * 1024;

/// What is kept of a request, in bytes.
const LONGEST_REQUEST: usize = LONGEST_HEAD + LONGEST_BODY;

/// In bytes: a frame is given out whole up to here, so that no library keeps a part of it. Beyond that its
/// rest is waited for when the session is to move.
pub(super) const LONGEST_WHOLE: usize = 16 * 1024;

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
