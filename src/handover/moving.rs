//! Connections on their way to the successor: who may read them, at every moment.
//!
//! A connection has one reader. The predecessor stops reading, sends a duplicate, and keeps its own
//! untouched; it is the successor's reader from TAKEN on, which the successor sends before its first read.
//! Only REFUSED, or the successor's death, gives it back: a timeout would not know whether there is a reader
//! already, and could make two.
//!
//! ```text
//!             departs            MOVE sent             TAKEN
//!   serving ──────────▶ Waiting ───────────▶ Sent ───────────────▶ the successor's
//!      ▲                   │ successor lost   │ REFUSED, successor lost
//!      └───────────────────┴──────────────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};

use super::message::{MAX_FIRST_MESSAGE, MAX_MOVED, Message, Moved, Private};

/// The predecessor's connections on their way; `C` is what it keeps of each.
#[derive(Debug)]
pub struct Moving<C> {
    last_id: u64,
    waiting: VecDeque<(Moved, C)>,
    sent: BTreeMap<u64, C>,
}

/// What is left of a message's bytes when everything but the connections is in it. One with a session may be
/// longer than that, and goes alone.
const ROOM: usize = MAX_FIRST_MESSAGE - 64;

/// What goes along with a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Along {
    /// As in [`Moved::received`].
    pub received: Vec<u8>,
    /// As in [`Moved::state`].
    pub state: Option<Vec<u8>>,
    /// As in [`Moved::session`].
    pub session: Option<Private>,
}

impl Along {
    /// How many bytes it all is.
    pub(crate) fn length(&self) -> usize {
        let state = self.state.as_ref().map_or(0, Vec::len);
        let session = self.session.as_ref().map_or(0, |session| session.len());
        self.received.len() + state + session
    }
}

impl<C> Default for Moving<C> {
    fn default() -> Self {
        Moving { last_id: 0, waiting: VecDeque::new(), sent: BTreeMap::new() }
    }
}

impl<C> Moving<C> {
    /// A connection departs. What goes along is within [`MAX_BAGGAGE`](super::message::MAX_BAGGAGE), or with
    /// a session within [`MAX_SESSION`](super::message::MAX_SESSION).
    pub fn depart(&mut self, listener: u64, along: Along, kept: C) {
        self.depart_with(listener, along, None, kept);
    }

    /// As [`depart`](Self::depart), with so many bytes of what was read in a descriptor of their own.
    pub fn depart_with(&mut self, listener: u64, along: Along, apart: Option<u32>, kept: C) {
        self.last_id += 1;
        let Along { received, state, session } = along;
        self.waiting.push_back((Moved { id: self.last_id, listener, received, state, session, apart }, kept));
    }

    /// Whether there is something to send.
    pub fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// How many are on their way.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// How many the successor has been sent and has not answered for.
    pub fn unanswered(&self) -> usize {
        self.sent.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the next message and has it sent, with what is kept of its connections, in order. `None` if
    /// there is nothing to send; after an error it is as if it had not been called.
    pub fn send_next<E>(
        &mut self,
        send: impl FnOnce(&Message, &[&C]) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let sums = self.waiting.iter().scan((0, 0), |(bytes, descriptors), (moved, _)| {
            *bytes += moved.size();
            *descriptors += moved.descriptors();
            Some((*bytes, *descriptors))
        });
        let fits = |(bytes, descriptors): &(usize, usize)| *bytes <= ROOM && *descriptors <= MAX_MOVED;
        let count = sums.take_while(fits).count().max(1);
        let batch = || self.waiting.iter().take(count);
        let connections: Vec<Moved> = batch().map(|(moved, _)| moved.clone()).collect();
        let kept: Vec<&C> = batch().map(|(_, kept)| kept).collect();
        if connections.is_empty() {
            return None;
        }
        let outcome = send(&Message::Move { connections }, &kept);
        if outcome.is_ok() {
            self.sent.extend(self.waiting.drain(..count).map(|(moved, kept)| (moved.id, kept)));
        }
        Some(outcome)
    }

    /// The successor answered: these are no longer on their way. An id that was not sent, or answered before,
    /// is passed over.
    pub fn answered(&mut self, ids: &[u64]) -> Vec<C> {
        ids.iter().filter_map(|id| self.sent.remove(id)).collect()
    }

    /// Nothing more can be sent to the successor: these were not, so that nobody else reads them.
    pub fn unsent(&mut self) -> Vec<C> {
        self.waiting.drain(..).map(|(_, kept)| kept).collect()
    }

    /// The successor is gone, and all that it had said was heard: nobody else reads these.
    pub fn lost(&mut self) -> Vec<C> {
        let mut back = self.unsent();
        back.extend(std::mem::take(&mut self.sent).into_values());
        back
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::{MAX_BAGGAGE, MAX_MESSAGE, MAX_SESSION};
    use super::*;

    fn ids(message: &Message) -> Vec<u64> {
        let Message::Move { connections } = message else { panic!("{message:?}") };
        connections.iter().map(|moved| moved.id).collect()
    }

    /// Sends, and says what.
    fn send<C>(moving: &mut Moving<C>) -> Option<Vec<u64>> {
        let mut sent = Vec::new();
        let outcome = moving.send_next(|message, kept| {
            sent = ids(message);
            assert_eq!(sent.len(), kept.len());
            assert!(message.encode().len() <= MAX_MESSAGE);
            let Message::Move { connections } = message else { panic!("{message:?}") };
            assert!(connections.iter().map(Moved::descriptors).sum::<usize>() <= MAX_MOVED);
            Ok::<(), ()>(())
        });
        outcome.map(|_| sent)
    }

    #[test]
    fn what_was_not_sent_is_sent_again_and_what_was_is_not() {
        let mut moving = Moving::default();
        assert_eq!(send(&mut moving), None);
        for name in ["a", "b"] {
            moving.depart(7, Along::default(), name);
        }
        assert_eq!(moving.send_next(|_, kept| Err(kept.len())), Some(Err(2)));
        assert!(moving.has_waiting());
        assert_eq!(send(&mut moving), Some(vec![1, 2]));
        assert_eq!(send(&mut moving), None);
        assert_eq!(moving.len(), 2, "sent is not taken");
    }

    #[test]
    fn an_answer_counts_once_and_for_what_was_sent() {
        let mut moving = Moving::default();
        moving.depart(7, Along::default(), "a");
        assert_eq!(moving.answered(&[1]), Vec::<&str>::new(), "never sent: it has no other reader");
        send(&mut moving);
        assert_eq!(moving.answered(&[99, 1, 1]), ["a"]);
        assert!(moving.is_empty());
    }

    #[test]
    fn a_lost_successor_gives_everything_back_and_a_cut_channel_what_was_not_sent() {
        for cut in [false, true] {
            let mut moving = Moving::default();
            moving.depart(7, Along::default(), "sent");
            send(&mut moving);
            moving.depart(7, Along::default(), "waiting");
            if cut {
                assert_eq!(moving.unsent(), ["waiting"]);
                assert_eq!(moving.len(), 1, "what was sent may have a reader");
            } else {
                assert_eq!(moving.lost(), ["waiting", "sent"]);
                assert!(moving.is_empty());
            }
        }
    }

    #[test]
    fn a_message_is_within_its_bounds() {
        let mut moving = Moving::default();
        for _ in 0..10 {
            moving.depart(7, Along { received: vec![b'x'; MAX_BAGGAGE], ..Along::default() }, ());
        }
        for _ in 0..1000 {
            moving.depart(7, Along { state: Some(vec![0; 10]), ..Along::default() }, ());
        }
        moving.depart(7, Along { session: Some(vec![0; MAX_SESSION].into()), ..Along::default() }, ());
        moving.depart(7, Along::default(), ());
        for _ in 0..300 {
            moving.depart_with(7, Along::default(), Some(1), ());
        }
        let messages: Vec<_> = std::iter::from_fn(|| send(&mut moving)).collect();
        assert!(messages.iter().all(|ids| ids.len() <= MAX_MOVED));
        assert_eq!(messages.iter().map(Vec::len).sum::<usize>(), 1312);
    }
}
