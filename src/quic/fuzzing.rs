//! What a fuzzer feeds: packets of clients, and what another generation has left.

use ring::hmac;

use super::headers::conversation;
use super::ids::{Ids, LENGTH};
use super::sessions::{MOST, Sessions};
use crate::udp::Conversation;

/// A datagram, whose conversation is told; and with an id of ours where its own is, that one's generation.
pub fn quic_headers(bytes: &[u8]) {
    const GENERATION: u64 = 7;
    let ids = Ids::new(hmac::Key::new(hmac::HMAC_SHA256, b"key"), b"seed", GENERATION);
    let seen = conversation(&ids, bytes);
    // One in 2^48 would be taken for ours: none that a fuzzer finds.
    assert!(!matches!(seen, Conversation::Of(_)), "{bytes:?}");
    let ours = ids.make();
    let mut routed = bytes.to_vec();
    let at = match routed.first() {
        None => return,
        Some(first) if first & 0x80 == 0 => 1,
        Some(_) => 6,
    };
    if at == 6 && routed.get(5).is_none_or(|length| usize::from(*length) != LENGTH) {
        return;
    }
    let Some(id) = routed.get_mut(at..at + LENGTH) else { return };
    id.copy_from_slice(&ours);
    assert_eq!(conversation(&ids, &routed), Conversation::Of(GENERATION));
}

/// The sessions that a generation leaves: what was understood is left as it was found.
pub fn quic_sessions(bytes: &[u8]) {
    let (found, again) = (Sessions::new(MOST), Sessions::new(MOST));
    found.arrive(bytes);
    let left = found.leave();
    again.arrive(&left);
    assert_eq!(*again.leave(), *left);
}
