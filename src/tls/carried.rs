//! What goes to the successor with a TLS connection, in bytes that later releases read too.
//!
//! They are secret: who has them can read the connection, and write to it. `[version][kind]` and then
//! [fields]. A tag of [`OPTIONAL`] or above that the reader does not know is skipped; below it, the
//! connection cannot go on. The kind tells them from what the HTTP layer has to say of a session, which
//! lies in a field of its own.

use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::records::{Direction, HEADER, MAX_SEALED, Records, SecretLength, suite_of};
use crate::handover::fields::{self, OPTIONAL};
use crate::handover::message::Private;

/// What the handshake found out beside the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) alpn_protocol: Option<Vec<u8>>,
    pub(super) server_name: Option<String>,
    pub(super) peer_certificates: Option<Vec<CertificateDer<'static>>>,
}

/// A connection's own part of what goes along, and what was in it for those above.
pub(super) struct Carried {
    pub(super) records: Records,
    pub(super) facts: Facts,
    pub(super) session: Option<Private>,
}

impl Facts {
    pub(super) fn of(session: &ServerConnection) -> Facts {
        Facts {
            alpn_protocol: session.alpn_protocol().map(<[u8]>::to_vec),
            server_name: session.server_name().map(str::to_owned),
            peer_certificates: session.peer_certificates().map(<[_]>::to_vec),
        }
    }
}

pub(super) fn encode(records: &Records, facts: &Facts, session: Option<&[u8]>) -> Private {
    let Records { reading, writing, .. } = records;
    let suite = u16::from(reading.suite.common.suite).to_le_bytes();
    let [read, written] = [reading, writing].map(|direction| direction.sequence.to_le_bytes());
    let mut fields: Vec<(u8, &[u8])> = vec![
        (SUITE, &suite),
        (READ_SECRET, &reading.secret),
        (READ_SEQUENCE, &read),
        (WRITE_SECRET, &writing.secret),
        (WRITE_SEQUENCE, &written),
    ];
    if records.owes_update() {
        fields.push((OWES_UPDATE, &[]));
    }
    if !records.unread().is_empty() {
        fields.push((UNREAD, records.unread()));
    }
    fields.extend(session.map(|session| (SESSION, session)));
    fields.extend(facts.alpn_protocol.as_deref().map(|name| (ALPN_PROTOCOL, name)));
    fields.extend(facts.server_name.as_deref().map(|name| (SERVER_NAME, name.as_bytes())));
    let certificates = facts.peer_certificates.iter().flatten();
    fields.extend(certificates.map(|certificate| (PEER_CERTIFICATE, certificate.as_ref())));
    // All at once: a buffer that grows leaves copies behind.
    let length = fields.iter().map(|(_, value)| fields::OVERHEAD + value.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(2 + length);
    bytes.extend_from_slice(&[VERSION, TLS]);
    for (tag, value) in fields {
        fields::push(&mut bytes, tag, value);
    }
    bytes.into()
}

/// `None` for what this release cannot go on with.
pub(super) fn decode(bytes: &[u8]) -> Option<Carried> {
    let mut rest = bytes.strip_prefix(&[VERSION, TLS])?;
    let (mut suite, mut secrets, mut sequences) = (None, [const { None }; 2], [None; 2]);
    let (mut owes_update, mut unread, mut session, mut facts) = (false, &[][..], None, Facts::default());
    while let Some((tag, value)) = fields::next(&mut rest).ok()? {
        match tag {
            SUITE => suite = suite_of(u16::from_le_bytes(value.try_into().ok()?)),
            READ_SECRET => secrets[0] = Some(value),
            WRITE_SECRET => secrets[1] = Some(value),
            READ_SEQUENCE => sequences[0] = Some(u64::from_le_bytes(value.try_into().ok()?)),
            WRITE_SEQUENCE => sequences[1] = Some(u64::from_le_bytes(value.try_into().ok()?)),
            OWES_UPDATE => owes_update = true,
            UNREAD => unread = value,
            SESSION => session = Some(value.to_vec().into()),
            ALPN_PROTOCOL => facts.alpn_protocol = Some(value.to_vec()),
            SERVER_NAME => facts.server_name = Some(str::from_utf8(value).ok()?.to_owned()),
            PEER_CERTIFICATE => {
                facts.peer_certificates.get_or_insert_default().push(value.to_vec().into());
            }
            tag if tag >= OPTIONAL => {}
            _ => return None,
        }
    }
    let suite = suite?;
    let direction = |at: usize| {
        let secret = secrets[at].filter(|secret| secret.len() == suite.secret_length())?;
        // One that is used up has never been sent.
        let sequence = sequences[at].filter(|sequence| *sequence < u64::MAX / 2)?;
        Some(Direction { suite, secret: secret.to_vec().into(), sequence })
    };
    let (reading, writing) = (direction(0)?, direction(1)?);
    // A whole record would have been read.
    if unread.len() >= HEADER + MAX_SEALED {
        return None;
    }
    let records = Records::new(reading, writing).with_unread(unread, owes_update);
    Some(Carried { records, facts, session })
}

const VERSION: u8 = 1;
/// 1 and 2 are a WebSocket and a stream without TLS.
const TLS: u8 = 3;

const SUITE: u8 = 1;
const READ_SECRET: u8 = 2;
const READ_SEQUENCE: u8 = 3;
const WRITE_SECRET: u8 = 4;
const WRITE_SEQUENCE: u8 = 5;
const OWES_UPDATE: u8 = 6;
const UNREAD: u8 = 7;
const SESSION: u8 = 8;
const ALPN_PROTOCOL: u8 = OPTIONAL;
const SERVER_NAME: u8 = OPTIONAL + 1;
const PEER_CERTIFICATE: u8 = OPTIONAL + 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes as the first release that has them writes them. Never edit a line; add lines for new releases.
    #[test]
    fn g7_recorded_bytes_are_written_and_read() {
        let mut bytes = b"\x01\x03\x01\x02\0\0\0\x03\x13".to_vec();
        bytes.extend([&b"\x02\x20\0\0\0"[..], &[b'r'; 32], b"\x03\x08\0\0\0\x07\0\0\0\0\0\0\0"].concat());
        bytes.extend([&b"\x04\x20\0\0\0"[..], &[b'w'; 32], b"\x05\x08\0\0\0\0\x01\0\0\0\0\0\0"].concat());
        bytes.extend(b"\x06\0\0\0\0\x07\x03\0\0\0\x17\x03\x03\x08\x02\0\0\0\x01\x01");
        bytes.extend(b"\x80\x08\0\0\0http/1.1\x81\x04\0\0\0name\x82\x01\0\0\0a\x82\x02\0\0\0bc");
        let carried = decode(&bytes).expect("ours");
        assert_eq!(carried.records.reading.sequence, 7);
        assert_eq!(carried.records.writing.sequence, 256);
        assert!(carried.records.owes_update());
        assert_eq!(carried.records.unread(), b"\x17\x03\x03");
        assert_eq!(carried.facts.server_name.as_deref(), Some("name"));
        assert_eq!(carried.facts.peer_certificates.as_ref().map(Vec::len), Some(2));
        assert_eq!(carried.session.as_deref(), Some(&[1, 1][..]));
        let again = encode(&carried.records, &carried.facts, carried.session.as_deref());
        assert_eq!(again[..], bytes);
    }

    #[test]
    fn g7_what_may_be_skipped_is_skipped_and_nothing_else() {
        let records = Records::with_known_secrets(0x1302, 1, 2).unwrap();
        let known = encode(&records, &Facts::default(), None).to_vec();
        assert!(decode(&[&known[..], b"\xff\x01\0\0\0x"].concat()).is_some());
        for more in
            [&b"\x09\0\0\0\0"[..], b"\xff\x02\0\0\0x", b"\x02\x01\0\0\0x", b"\x01\x02\0\0\0\x01\x13", b"\x01"]
        {
            assert!(decode(&[&known[..], more].concat()).is_none(), "{more:?}");
        }
        assert!(decode(&known[..20]).is_none());
        assert!(decode(b"\x01\x03").is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[b"\x01\x03", &bytes[..]].concat());
        }
    }
}
