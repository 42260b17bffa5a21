//! For [fuzzers](crate::fuzzing): what comes over a TLS connection that has moved, and what came with it.

use bytes::BytesMut;

use super::carried::{decode, encode};
use super::records::Records;

/// Any bytes from the peer, in any pieces: there is an end to what is held.
///
/// The first byte says how long the pieces are. The rest is what the peer sends: taken as it is, and as what
/// it has sealed with the right keys, so that what is inside is seen as well.
pub fn records(bytes: &[u8]) {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    receive(rest, piece);
    receive(&sealed(rest), piece);
}

fn receive(bytes: &[u8], piece: usize) {
    let mut records = Records::with_known_secrets(0x1303, 1, 2).expect("ChaCha20");
    let (mut scrap, mut read, mut out) = ([0; 1024], 0, BytesMut::new());
    for piece in bytes.chunks(piece) {
        let received = records.receive(piece);
        while records.readable() > 0 {
            read += records.read(&mut scrap);
        }
        assert_eq!(received.err(), records.fault());
        if let Some(fault) = records.fault() {
            records.alert(fault, &mut out);
            break;
        }
        records.write(b"answer", &mut out).expect("it can be sealed");
    }
    assert!(read <= bytes.len());
}

/// Records of the kind and length that the bytes say, as the peer would seal them.
fn sealed(mut bytes: &[u8]) -> Vec<u8> {
    let mut peer = Records::with_known_secrets(0x1303, 2, 1).expect("ChaCha20");
    let mut out = BytesMut::new();
    while let Some(([kind, length], rest)) = bytes.split_first_chunk::<2>() {
        let data = &rest[..usize::from(*length).min(rest.len())];
        bytes = &rest[data.len()..];
        peer.seal_as(*kind, data, &mut out);
    }
    out.to_vec()
}

/// What goes with a TLS connection: what was understood is written as it was read.
pub fn tls_carried(bytes: &[u8]) {
    let Some(carried) = decode(bytes) else { return };
    let written = encode(&carried.records, &carried.facts, carried.session.as_deref());
    let again = decode(&written).expect("our own");
    assert_eq!(again.facts, carried.facts);
    assert_eq!(again.session.as_deref(), carried.session.as_deref());
    assert_eq!(again.records.unread(), carried.records.unread());
    assert_eq!(encode(&again.records, &again.facts, again.session.as_deref())[..], written[..]);
}
