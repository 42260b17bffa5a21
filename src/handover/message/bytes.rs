//! A [message](Message) as bytes, and back.

use std::time::Duration;

use super::numbers::{kind, tag};
use super::{
    KeptSocket, MAX_MESSAGE, MAX_MOVED, MAX_REASON, MAX_SOCKETS, MAX_WORDS, Message, MessageError, Moved,
    OPTIONAL, Private, Takes, Told, VERSION, cut,
};
use crate::handover::fields;
use crate::handover::moves::Moves;
use crate::handover::state_reply::{MAX_NAME, StateAnswer, Withheld};

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, self.kind()];
        match self {
            Message::Ready { unclaimed, takes, answers } => {
                if !unclaimed.is_empty() {
                    let value: Vec<u8> = unclaimed.iter().flat_map(|index| index.to_le_bytes()).collect();
                    fields::push(&mut bytes, tag::UNCLAIMED, &value);
                }
                takes.push(&mut bytes);
                if *answers {
                    fields::push(&mut bytes, tag::ANSWERS, &[]);
                }
            }
            Message::Move { connections } => {
                let mut value = Vec::with_capacity(connections.iter().map(Moved::size).sum());
                connections.iter().for_each(|moved| moved.encode(&mut value));
                let value = Private::from(value);
                // At once: a buffer that grows leaves copies behind, and there may be keys in it.
                bytes.reserve(1 + 4 + value.len());
                fields::push(&mut bytes, tag::CONNECTIONS, &value);
            }
            Message::Taken { ids } | Message::Refused { ids } => {
                let value: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                fields::push(&mut bytes, tag::IDS, &value);
            }
            Message::Failed { reason } => {
                fields::push(&mut bytes, tag::REASON, cut(reason, MAX_REASON).as_bytes())
            }
            Message::Commit { probation } => {
                let millis = u64::try_from(probation.as_millis()).unwrap_or(u64::MAX);
                fields::push(&mut bytes, tag::PROBATION, &millis.to_le_bytes());
            }
            Message::Settled { restart_again: true } => fields::push(&mut bytes, tag::RESTART_AGAIN, &[]),
            Message::Successor { pid } => fields::push(&mut bytes, tag::PID, &pid.to_le_bytes()),
            Message::Pause { unclaimed } => push_cookies(&mut bytes, unclaimed),
            Message::HandOver { unclaimed, takes } => {
                push_cookies(&mut bytes, unclaimed);
                takes.push(&mut bytes);
            }
            Message::Restarted(told) => fields::push(&mut bytes, tag::TOLD, &told.encode()),
            Message::Keep(socket) => fields::push(&mut bytes, tag::SOCKET, &socket.encode()),
            Message::HandDown { name } | Message::Withhold { name } => {
                fields::push(&mut bytes, tag::NAME, cut(name, MAX_NAME).as_bytes());
            }
            Message::StateRequest { id, name, at_end } => {
                fields::push(&mut bytes, tag::ID, &id.to_le_bytes());
                fields::push(&mut bytes, tag::NAME, cut(name, MAX_NAME).as_bytes());
                if *at_end {
                    fields::push(&mut bytes, tag::AT_END, &[]);
                }
            }
            Message::State { id, answer } => {
                fields::push(&mut bytes, tag::ID, &id.to_le_bytes());
                match answer {
                    StateAnswer::Given { tag, length } => {
                        fields::push(&mut bytes, tag::GIVEN, &StateAnswer::encode_given(*tag, *length));
                    }
                    StateAnswer::Withheld(why) => fields::push(&mut bytes, tag::WITHHELD, &why.encode()),
                }
            }
            Message::Words { text } => fields::push(&mut bytes, tag::WORDS, cut(text, MAX_WORDS).as_bytes()),
            Message::Drained { took, moved, aborted, moves } => {
                let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let value = [millis, *moved, *aborted].map(u64::to_le_bytes).concat();
                fields::push(&mut bytes, tag::FIGURES, &value);
                if !moves.is_empty() {
                    fields::push(&mut bytes, tag::MOVES, moves.encode().as_bytes());
                }
            }
            _ => {}
        }
        bytes
    }

    /// Reads a message; `None` for one that this release may skip.
    pub fn decode(bytes: &[u8]) -> Result<Option<Message>, MessageError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(MessageError::TooLong { length: bytes.len() });
        }
        let [version, kind, rest @ ..] = bytes else { return Err(MessageError::Truncated) };
        if *version != VERSION {
            return Err(MessageError::Version { version: *version });
        }
        let message = match *kind {
            kind::READY => Message::Ready { unclaimed: Vec::new(), takes: Takes::default(), answers: false },
            kind::FAILED => Message::Failed { reason: String::new() },
            kind::LEAVING => Message::Leaving,
            kind::COMMIT => Message::Commit { probation: Duration::ZERO },
            kind::ACCEPTING => Message::Accepting,
            kind::PROBE => Message::Probe,
            kind::SETTLED => Message::Settled { restart_again: false },
            kind::STOP => Message::Stop,
            kind::MOVE => Message::Move { connections: Vec::new() },
            kind::TAKEN => Message::Taken { ids: Vec::new() },
            kind::REFUSED => Message::Refused { ids: Vec::new() },
            kind::STATE_REQUEST => Message::StateRequest { id: 0, name: String::new(), at_end: false },
            // Without a field for it, nothing was given.
            kind::STATE => Message::State { id: 0, answer: StateAnswer::Withheld(Withheld::NoSuchName) },
            kind::SUCCESSOR => Message::Successor { pid: 0 },
            kind::PAUSE => Message::Pause { unclaimed: Vec::new() },
            kind::RESUME => Message::Resume,
            kind::HAMMER => Message::Hammer,
            kind::HAND_OVER => Message::HandOver { unclaimed: Vec::new(), takes: Takes::default() },
            kind::RESTART => Message::Restart,
            kind::RESTARTED => Message::Restarted(Told::Stopped),
            kind::KEEP => Message::Keep(KeptSocket::default()),
            kind::HAND_DOWN => Message::HandDown { name: String::new() },
            kind::WITHHOLD => Message::Withhold { name: String::new() },
            kind::WORDS => Message::Words { text: String::new() },
            kind::FOLLOWERS => Message::Followers,
            kind::DRAINED => {
                Message::Drained { took: Duration::ZERO, moved: 0, aborted: 0, moves: Moves::default() }
            }
            kind if kind >= OPTIONAL => return Ok(None),
            kind => return Err(MessageError::Kind { kind }),
        };
        message.with_fields(*kind, rest).map(Some)
    }

    fn with_fields(mut self, kind: u8, mut rest: &[u8]) -> Result<Message, MessageError> {
        let mut seen = [false; 256];
        while let Some((tag, value)) = fields::next(&mut rest)? {
            let unfit = MessageError::Field { kind, tag };
            if std::mem::replace(&mut seen[usize::from(tag)], true) {
                return Err(unfit);
            }
            match (&mut self, tag) {
                (
                    Message::Ready { takes, .. } | Message::HandOver { takes, .. },
                    tag::TAKES_MOVES | tag::TAKES_SESSIONS | tag::TAKES_HTTP2 | tag::TAKES_APART,
                ) => takes.read(tag),
                (Message::Ready { answers, .. }, tag::ANSWERS) => *answers = true,
                (Message::Move { connections }, tag::CONNECTIONS) => {
                    let mut rest = value;
                    while !rest.is_empty() {
                        connections.push(Moved::decode(&mut rest).ok_or_else(|| unfit.clone())?);
                    }
                    if connections.len() > MAX_MOVED {
                        return Err(unfit);
                    }
                }
                (Message::Taken { ids } | Message::Refused { ids }, tag::IDS) => {
                    let (numbers, rest) = value.as_chunks::<8>();
                    if !rest.is_empty() {
                        return Err(unfit);
                    }
                    *ids = numbers.iter().map(|id| u64::from_le_bytes(*id)).collect();
                }
                (Message::Ready { unclaimed, .. }, tag::UNCLAIMED) => {
                    let (indexes, rest) = value.as_chunks::<2>();
                    if !rest.is_empty() || indexes.len() > MAX_SOCKETS {
                        return Err(unfit);
                    }
                    *unclaimed = indexes.iter().map(|index| u16::from_le_bytes(*index)).collect();
                }
                (Message::Failed { reason }, tag::REASON) => {
                    *reason = cut(&String::from_utf8_lossy(value), MAX_REASON).to_owned();
                }
                (Message::Commit { probation }, tag::PROBATION) => {
                    let millis = value.try_into().map_err(|_| unfit)?;
                    *probation = Duration::from_millis(u64::from_le_bytes(millis));
                }
                (Message::Settled { restart_again }, tag::RESTART_AGAIN) => *restart_again = true,
                (Message::StateRequest { id, .. } | Message::State { id, .. }, tag::ID) => {
                    *id = u64::from_le_bytes(value.try_into().map_err(|_| unfit)?);
                }
                (
                    Message::StateRequest { name, .. }
                    | Message::HandDown { name }
                    | Message::Withhold { name },
                    tag::NAME,
                ) => {
                    let text = str::from_utf8(value).ok().filter(|text| text.len() <= MAX_NAME);
                    *name = text.ok_or(unfit)?.to_owned();
                }
                (Message::StateRequest { at_end, .. }, tag::AT_END) => *at_end = true,
                (Message::State { answer, .. }, tag::GIVEN) => {
                    *answer = StateAnswer::decode_given(value).ok_or(unfit)?;
                }
                (Message::State { answer, .. }, tag::WITHHELD) => {
                    *answer = Withheld::decode(value).map(StateAnswer::Withheld).ok_or(unfit)?;
                }
                (Message::Successor { pid }, tag::PID) => {
                    *pid = u32::from_le_bytes(value.try_into().map_err(|_| unfit)?);
                }
                (Message::Pause { unclaimed } | Message::HandOver { unclaimed, .. }, tag::COOKIES) => {
                    let (cookies, rest) = value.as_chunks::<8>();
                    if !rest.is_empty() || cookies.len() > MAX_SOCKETS {
                        return Err(unfit);
                    }
                    *unclaimed = cookies.iter().map(|cookie| u64::from_le_bytes(*cookie)).collect();
                }
                (Message::Restarted(told), tag::TOLD) => *told = Told::decode(value).ok_or(unfit)?,
                (Message::Keep(socket), tag::SOCKET) => {
                    *socket = KeptSocket::decode(value).ok_or(unfit)?;
                }
                (Message::Words { text }, tag::WORDS) => {
                    *text = cut(&String::from_utf8_lossy(value), MAX_WORDS).to_owned();
                }
                (Message::Drained { took, moved, aborted, .. }, tag::FIGURES) => {
                    // More of them are a later release's.
                    let (&[millis, first, second, ..], _) = value.as_chunks::<8>() else { return Err(unfit) };
                    *took = Duration::from_millis(u64::from_le_bytes(millis));
                    (*moved, *aborted) = (u64::from_le_bytes(first), u64::from_le_bytes(second));
                }
                // In a form that this release does not know, it goes without.
                (Message::Drained { moves, .. }, tag::MOVES) => {
                    *moves = str::from_utf8(value).ok().and_then(Moves::decode).unwrap_or_default();
                }
                (_, tag) if tag >= OPTIONAL => {}
                _ => return Err(unfit),
            }
        }
        Ok(self)
    }

    fn kind(&self) -> u8 {
        match self {
            Message::Ready { .. } => kind::READY,
            Message::Accepting => kind::ACCEPTING,
            Message::Probe => kind::PROBE,
            Message::Failed { .. } => kind::FAILED,
            Message::Leaving => kind::LEAVING,
            Message::Commit { .. } => kind::COMMIT,
            Message::Settled { .. } => kind::SETTLED,
            Message::Stop => kind::STOP,
            Message::Move { .. } => kind::MOVE,
            Message::Taken { .. } => kind::TAKEN,
            Message::Refused { .. } => kind::REFUSED,
            Message::StateRequest { .. } => kind::STATE_REQUEST,
            Message::State { .. } => kind::STATE,
            Message::Successor { .. } => kind::SUCCESSOR,
            Message::Pause { .. } => kind::PAUSE,
            Message::Resume => kind::RESUME,
            Message::Hammer => kind::HAMMER,
            Message::HandOver { .. } => kind::HAND_OVER,
            Message::Restart => kind::RESTART,
            Message::Restarted(_) => kind::RESTARTED,
            Message::Keep(_) => kind::KEEP,
            Message::HandDown { .. } => kind::HAND_DOWN,
            Message::Withhold { .. } => kind::WITHHOLD,
            Message::Drained { .. } => kind::DRAINED,
            Message::Words { .. } => kind::WORDS,
            Message::Followers => kind::FOLLOWERS,
        }
    }
}

fn push_cookies(bytes: &mut Vec<u8>, cookies: &[u64]) {
    if !cookies.is_empty() {
        let value: Vec<u8> = cookies.iter().flat_map(|cookie| cookie.to_le_bytes()).collect();
        fields::push(bytes, tag::COOKIES, &value);
    }
}
