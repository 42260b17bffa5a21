//! Any bytes from the peer of a TLS connection that has moved, in any pieces: no panic, and an end to
//! what is held.
//!
//! The first byte says how long the pieces are. The rest is what the peer sends: taken as it is, and as
//! what it has sealed with the right keys, so that what is inside is seen as well.
//!
//! How to run it stands in `message.rs`; put `records` for `message`.
#![no_main]

use bytes::BytesMut;
use heirloom::tls::records::Records;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, rest)) = bytes.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    receive(rest, piece);
    receive(&sealed(rest), piece);
});

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
