//! For [fuzzers](crate::fuzzing): HTTP/1 on connections that are lent.

use super::exchange::Exchange;
use crate::http::fuzzing::part;

/// Both directions of a connection: its parts as they come, and byte by byte.
pub fn http1(bytes: &[u8]) {
    let (mut whole, mut by_byte) = (Connection::new(), Connection::new());
    let mut rest = bytes;
    while let Some((how, part)) = part(&mut rest) {
        let is_ours = how & 1 == 1;
        if is_ours {
            let place = whole.exchange.place_for_last_word(part);
            assert!(place.is_none_or(|place| place <= part.len()));
        }
        whole.say(is_ours, [part]);
        by_byte.say(is_ours, part.chunks(1));
        let [state, same] = [&whole, &by_byte].map(|Connection { exchange, ahead }| {
            (
                exchange.protocol(),
                exchange.is_between(),
                exchange.is_over(),
                exchange.partial().to_vec(),
                ahead.clone(),
            )
        });
        assert_eq!(state, same);
    }
}

struct Connection {
    exchange: Exchange,
    ahead: Vec<u8>,
}

impl Connection {
    fn new() -> Connection {
        Connection { exchange: Exchange::new(), ahead: Vec::new() }
    }

    fn say<'a>(&mut self, is_ours: bool, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            if is_ours {
                self.exchange.written(piece);
            } else {
                self.ahead.extend_from_slice(piece);
                self.give();
            }
        }
        // Who serves it reads on when it has written.
        self.give();
    }

    fn give(&mut self) {
        loop {
            let count = self.exchange.may_give(&self.ahead);
            assert!(count <= self.ahead.len());
            if count == 0 {
                return;
            }
            let given: Vec<_> = self.ahead.drain(..count).collect();
            self.exchange.given(&given);
        }
    }
}
