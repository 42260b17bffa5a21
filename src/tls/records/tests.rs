use std::io::{Read, Write};
use std::sync::{Arc, LazyLock};

use proptest::prelude::*;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, ClientConnection, ConnectionTrafficSecrets, NoKeyLog, RootCertStore,
    ServerConfig, ServerConnection, SupportedCipherSuite,
};

use super::super::carried::{self, Facts};
use super::super::witness::Witness;
use super::*;

/// The server's side has been taken out of rustls; the client is rustls to the end.
struct Pair {
    client: ClientConnection,
    server: Records,
    out: BytesMut,
}

struct Handshake {
    client: ClientConnection,
    server: ServerConnection,
    witness: Arc<Witness>,
}

const SUITES: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];

static CERTIFICATE: LazyLock<(CertificateDer<'static>, Vec<u8>)> = LazyLock::new(|| {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    (made.cert.der().clone(), made.signing_key.serialize_der())
});

impl Handshake {
    fn new(suite: CipherSuite) -> Handshake {
        let mut provider = default_provider();
        provider.cipher_suites.retain(|known: &SupportedCipherSuite| known.suite() == suite);
        let provider = Arc::new(provider);
        let (certificate, key) = &*CERTIFICATE;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.clone()));
        let mut server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let witness = Arc::new(Witness::new(Arc::new(NoKeyLog {})));
        (server.key_log, server.enable_secret_extraction) = (witness.clone(), true);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client =
            ClientConnection::new(Arc::new(client), ServerName::try_from("localhost").unwrap()).unwrap();
        let mut shaken =
            Handshake { client, server: ServerConnection::new(Arc::new(server)).unwrap(), witness };
        shaken.exchange();
        assert!(!shaken.client.is_handshaking() && !shaken.server.is_handshaking());
        shaken
    }

    /// Until neither has anything to say.
    fn exchange(&mut self) {
        loop {
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while self.client.wants_write() {
                self.client.write_tls(&mut up).unwrap();
            }
            while self.server.wants_write() {
                self.server.write_tls(&mut down).unwrap();
            }
            if up.is_empty() && down.is_empty() {
                return;
            }
            let (mut up, mut down) = (&up[..], &down[..]);
            while !up.is_empty() {
                self.server.read_tls(&mut up).unwrap();
                self.server.process_new_packets().unwrap();
            }
            while !down.is_empty() {
                self.client.read_tls(&mut down).unwrap();
                self.client.process_new_packets().unwrap();
            }
        }
    }

    fn moved(self) -> Pair {
        let number = self.server.negotiated_cipher_suite().unwrap().suite().into();
        let suite = suite_of(number).unwrap();
        let secrets = self.witness.secrets();
        let extracted = self.server.dangerous_extract_secrets().unwrap();
        let direction = |secret, sequence| Direction { suite, secret, sequence };
        let mut reading = direction(secrets.client, extracted.rx.0);
        let mut writing = direction(secrets.server, extracted.tx.0);
        assert!(reading.catch_up(key(&extracted.rx.1)) && writing.catch_up(key(&extracted.tx.1)));
        Pair { client: self.client, server: Records::new(reading, writing), out: BytesMut::new() }
    }
}

fn key(secrets: &ConnectionTrafficSecrets) -> &[u8] {
    match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, .. }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => key.as_ref(),
        _ => panic!("another suite"),
    }
}

impl Pair {
    /// What the client has to say on the wire.
    fn clients_bytes(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut sent).unwrap();
        }
        sent
    }

    fn says(&mut self, text: &[u8]) -> Vec<u8> {
        self.client.writer().write_all(text).unwrap();
        self.clients_bytes()
    }

    /// What the server has written, as the client understands it.
    fn heard(&mut self) -> Vec<u8> {
        let sent = self.out.split();
        let (mut sent, mut heard) = (&sent[..], Vec::new());
        while !sent.is_empty() {
            self.client.read_tls(&mut sent).unwrap();
            self.client.process_new_packets().unwrap();
            let _ = self.client.reader().read_to_end(&mut heard);
        }
        heard
    }

    fn read(&mut self) -> Vec<u8> {
        let mut read = vec![0; self.server.readable()];
        assert_eq!(self.server.read(&mut read), read.len());
        read
    }

    /// Through the bytes that go to a successor.
    fn moves(self) -> Pair {
        let bytes = carried::encode(&self.server, &Facts::default(), None);
        Pair { server: carried::decode(&bytes).expect("ours").records, ..self }
    }

    fn echoes(&mut self, text: &[u8]) {
        let sent = self.says(text);
        self.server.receive(&sent).unwrap();
        assert_eq!(self.read(), text);
        self.server.write(text, &mut self.out).unwrap();
        assert_eq!(self.heard(), text);
    }

    /// What the client's library says of what the server sends.
    fn alert(&mut self, fault: Fault) -> String {
        self.server.alert(fault, &mut self.out);
        let sent = self.out.split();
        self.client.read_tls(&mut &sent[..]).unwrap();
        self.client.process_new_packets().unwrap_err().to_string()
    }

    /// A record that the client's library would never send.
    fn forged(&mut self, typ: ContentType, data: &[u8]) -> Vec<u8> {
        let reading = &mut self.server.reading;
        let message = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(data),
        };
        reading.encrypter().encrypt(message, reading.sequence).unwrap().encode()
    }
}

fn pairs() -> impl Iterator<Item = Pair> {
    SUITES.into_iter().map(|suite| Handshake::new(suite).moved())
}

#[test]
fn it_goes_on_in_both_directions_and_through_more_than_one_successor() {
    for mut pair in pairs() {
        for length in [1, 16 << 10, (16 << 10) + 1, 100_000] {
            let text: Vec<u8> = (0..length).map(|at: u32| at as u8).collect();
            // The client's library sends so much at once, and no more.
            for part in text.chunks(50_000) {
                pair.echoes(part);
            }
            pair = pair.moves();
        }
    }
}

#[test]
fn keys_are_updated_by_both_sides_before_and_after() {
    for suite in SUITES {
        let mut shaken = Handshake::new(suite);
        for _ in 0..3 {
            shaken.client.refresh_traffic_keys().unwrap();
            shaken.exchange();
            // Its answer waits for this.
            assert_eq!(shaken.server.writer().write(&[]).unwrap(), 0);
            shaken.exchange();
        }
        shaken.server.refresh_traffic_keys().unwrap();
        shaken.exchange();
        let mut pair = shaken.moved();
        for _ in 0..3 {
            pair.echoes(b"hello");
            pair.client.refresh_traffic_keys().unwrap();
            let sent = pair.clients_bytes();
            pair.server.receive(&sent).unwrap();
            // The update that it owes is not forgotten on the way.
            assert!(pair.server.owes_update());
            pair = pair.moves();
            assert!(pair.server.owes_update());
            pair.echoes(b"hello");
            assert!(!pair.server.owes_update());
            pair.server.update(true, &mut pair.out).unwrap();
            assert_eq!(pair.heard(), b"");
            // The client's answer comes with what it says next.
            pair.echoes(b"hello");
            pair = pair.moves();
        }
    }
}

#[test]
fn keys_are_updated_before_they_are_used_up() {
    let limit = suite_of(0x1302).unwrap().common.confidentiality_limit;
    let mut pair = Handshake::new(SUITES[0]).moved();
    let first = pair.server.writing.secret.clone();
    pair.server.writing.sequence = limit - 2;
    pair.server.write(b"the last but one", &mut pair.out).unwrap();
    assert_eq!(*pair.server.writing.secret, *first);
    pair.server.write(b"more", &mut pair.out).unwrap();
    assert_ne!(*pair.server.writing.secret, *first);
    assert_eq!(pair.server.writing.sequence, 1);
}

#[test]
fn goodbyes_are_heard_and_said() {
    for mut pair in pairs() {
        let mut sent = pair.says(b"last");
        pair.client.send_close_notify();
        sent.extend(pair.clients_bytes());
        // What comes after a goodbye is nobody's.
        sent.extend_from_slice(b"garbage");
        pair.server.receive(&sent).unwrap();
        assert!(pair.server.is_ended());
        assert_eq!(pair.read(), b"last");
        pair.server.write(b"bye", &mut pair.out).unwrap();
        pair.server.close(&mut pair.out);
        assert_eq!(pair.heard(), b"bye");
        assert_eq!(pair.client.reader().read(&mut [0; 1]).unwrap(), 0, "a clean end");
    }
}

#[test]
fn what_does_not_belong_is_a_fault_and_the_client_hears_why() {
    let key_update = |bytes: &[u8]| [&[KEY_UPDATE, 0, 0], bytes].concat();
    let cases: [(ContentType, Vec<u8>, Fault, &str); 8] = [
        (ContentType::Handshake, vec![1, 0, 0, 0], Fault::Unexpected, "UnexpectedMessage"),
        (ContentType::Handshake, vec![], Fault::Unexpected, "UnexpectedMessage"),
        (ContentType::Handshake, key_update(&[1, 2]), Fault::Decode, "DecodeError"),
        (ContentType::Handshake, key_update(&[1, 0, 0]), Fault::Decode, "DecodeError"),
        (ContentType::ChangeCipherSpec, vec![1], Fault::Unexpected, "UnexpectedMessage"),
        (ContentType::Alert, vec![1], Fault::Decode, "DecodeError"),
        (ContentType::Alert, vec![2, 40], Fault::Alert(40), ""),
        (ContentType::Heartbeat, vec![1], Fault::Unexpected, "UnexpectedMessage"),
    ];
    for (typ, data, fault, told) in cases {
        let mut pair = Handshake::new(SUITES[1]).moved();
        let forged = pair.forged(typ, &data);
        assert_eq!(pair.server.receive(&forged), Err(fault), "{typ:?} {data:?}");
        assert_eq!(pair.server.receive(b""), Err(fault), "for good");
        if told.is_empty() {
            pair.server.alert(fault, &mut pair.out);
            assert!(pair.out.is_empty(), "an alert is not answered");
        } else {
            let heard = pair.alert(fault);
            assert!(heard.contains(told), "{heard}");
        }
    }
}

#[test]
fn records_are_neither_too_long_nor_plain_nor_tampered_with() {
    let cases: [(&[u8], Fault); 4] = [
        (b"\x17\x03\x03\x41\x01", Fault::Overflow),
        (b"\x15\x03\x03\x00\x02\x01\x00", Fault::Unexpected),
        (b"\x14\x03\x03\x00\x01\x01", Fault::Unexpected),
        (b"G", Fault::Unexpected),
    ];
    for (bytes, fault) in cases {
        let mut pair = Handshake::new(SUITES[0]).moved();
        assert_eq!(pair.server.receive(bytes), Err(fault), "{bytes:?}");
    }
    let mut pair = Handshake::new(SUITES[0]).moved();
    let mut sent = pair.says(b"hello");
    *sent.last_mut().unwrap() ^= 1;
    assert_eq!(pair.server.receive(&sent), Err(Fault::Mac));
    assert!(pair.alert(Fault::Mac).contains("BadRecordMac"));
    // And a record twice.
    let mut pair = Handshake::new(SUITES[0]).moved();
    let sent = pair.says(b"hello");
    assert_eq!(pair.server.receive(&sent), Ok(()));
    assert_eq!(pair.server.receive(&sent), Err(Fault::Mac));
}

#[test]
fn records_that_say_nothing_have_an_end() {
    for (typ, data) in [
        (ContentType::ApplicationData, &b""[..]),
        (ContentType::Alert, &[WARNING, USER_CANCELED]),
        (ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, 1]),
    ] {
        let mut pair = Handshake::new(SUITES[1]).moved();
        for round in 0..MOST_IDLE_RECORDS {
            let forged = pair.forged(typ, data);
            assert_eq!(pair.server.receive(&forged), Ok(()), "{typ:?} {round}");
        }
        let forged = pair.forged(typ, data);
        assert_eq!(pair.server.receive(&forged), Err(Fault::Flood), "{typ:?}");
    }
}

#[test]
fn records_are_as_short_as_the_server_is_told() {
    let mut pair = Handshake::new(SUITES[0]).moved();
    pair.server = pair.server.with_max_fragment_size(Some(105));
    pair.server.write(&[7; 1000], &mut pair.out).unwrap();
    assert_eq!(record_length(&pair.out), Some(HEADER + 100 + 17));
    assert_eq!(pair.heard(), [7; 1000]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Messages of any length, cut anywhere, moved at any of the cuts, with key updates in between.
    #[test]
    fn records_may_be_cut_anywhere(
        steps in proptest::collection::vec((0_usize..3000, any::<bool>(), 1_usize..700, any::<bool>()), 1..12),
        chacha in any::<bool>(),
    ) {
        let mut pair = Handshake::new(SUITES[usize::from(chacha)]).moved();
        let (mut expected, mut read) = (Vec::new(), Vec::new());
        for (length, updates, cut, moves) in steps {
            if updates {
                pair.client.refresh_traffic_keys().unwrap();
            }
            let text: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let sent = pair.says(&text);
            expected.extend(text);
            for piece in sent.chunks(cut) {
                pair.server.receive(piece).unwrap();
                read.extend(pair.read());
                if moves {
                    pair = pair.moves();
                }
            }
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn garbage_is_a_fault_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut records = Records::with_known_secrets(0x1303, 1, 2).unwrap();
        let _ = records.receive(&bytes);
        prop_assert_eq!(records.readable(), 0);
    }
}
