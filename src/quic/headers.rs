//! Which connection a datagram is for: what RFC 8999 says of every version of QUIC, and no more.

use super::ids::{Ids, LENGTH};
use crate::udp::Conversation;

/// What begins a connection has an id that its client chose, of at least 8 bytes (RFC 9000, 7.2).
const CHOSEN: usize = 8;

/// What a datagram belongs to. All packets in one datagram are for one connection, so the first one says it.
pub(super) fn conversation(ids: &Ids, datagram: &[u8]) -> Conversation {
    let Some((first, rest)) = datagram.split_first() else { return Conversation::Unknown };
    if first & 0x80 == 0 {
        // A short header: no length, since whoever gave out the id knows it.
        let id = rest.get(..LENGTH).and_then(|id| ids.generation(id));
        return id.map_or(Conversation::Unknown, Conversation::Of);
    }
    // The version, and the length of the id.
    let Some((&length, rest)) = rest.get(4..).and_then(<[u8]>::split_first) else {
        return Conversation::Unknown;
    };
    let Some(id) = rest.get(..usize::from(length)) else { return Conversation::Unknown };
    match (ids.generation(id), id.first_chunk::<CHOSEN>()) {
        (Some(generation), _) => Conversation::Of(generation),
        (None, Some(chosen)) => Conversation::Begins(u64::from_le_bytes(*chosen)),
        (None, None) => Conversation::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::hmac;

    fn ids() -> Ids {
        Ids::new(hmac::Key::new(hmac::HMAC_SHA256, b"key"), b"seed", 3)
    }

    /// A packet with a long header for this id.
    fn long(id: &[u8]) -> Vec<u8> {
        [&[0xc3, 0, 0, 0, 1, id.len() as u8], id, &[0; 30]].concat()
    }

    #[test]
    fn our_ids_say_whose_it_is_in_either_header() {
        let ids = ids();
        let id = ids.make();
        assert_eq!(conversation(&ids, &long(&id)), Conversation::Of(3));
        assert_eq!(conversation(&ids, &[&[0x40], &id[..], &[0; 30]].concat()), Conversation::Of(3));
    }

    #[test]
    fn a_client_that_begins_is_known_by_what_it_chose() {
        let ids = ids();
        assert_eq!(conversation(&ids, &long(&[1, 0, 0, 0, 0, 0, 0, 0])), Conversation::Begins(1));
        assert_eq!(conversation(&ids, &long(&[1, 0, 0, 0, 0, 0, 0, 0, 9, 9])), Conversation::Begins(1));
    }

    #[test]
    fn what_is_no_quic_is_unknown() {
        let ids = ids();
        let whole = long(&ids.make());
        for datagram in [&b""[..], b"x", &whole[..1], &whole[..5], &whole[..10], &long(&[1; 7]), &[0x40; 30]]
        {
            assert_eq!(conversation(&ids, datagram), Conversation::Unknown, "{datagram:?}");
        }
    }
}
