//! The record layer of TLS 1.3 after the handshake, without I/O: what goes on with a connection that
//! another process has shaken hands on. The cryptography is rustls's own.
//!
//! Bytes from the peer go in by [`receive`](Records::receive), what they say comes out of
//! [`read`](Records::read). What is to be sent goes through [`write`](Records::write) into a buffer of
//! the caller's. After a [`Fault`] the peer is told by [`alert`](Records::alert), and the connection is
//! over.

mod direction;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::{Buf, BytesMut};
use thiserror::Error;
use tokio_rustls::rustls::crypto::cipher::{
    InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use tokio_rustls::rustls::crypto::ring::cipher_suite::{
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};
use tokio_rustls::rustls::{ContentType, Error as RustlsError, ProtocolVersion, Tls13CipherSuite};

pub(super) use direction::Direction;

/// Both directions of a connection. Has no `Debug` of what it holds, which is the keys.
pub struct Records {
    pub(super) reading: Direction,
    pub(super) writing: Direction,
    decrypter: Box<dyn MessageDecrypter>,
    encrypter: Box<dyn MessageEncrypter>,
    /// Of the record that is not whole yet.
    unread: BytesMut,
    /// What the peer said and nobody has read.
    plain: BytesMut,
    /// The peer has asked for new keys in our direction. It gets them with the next record.
    owes_update: bool,
    /// Records in a row that said nothing to the program.
    idle_records: u32,
    is_ended: bool,
    fault: Option<Fault>,
    longest: usize,
}

/// What is wrong with what the peer sent. It harms this connection alone.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Fault {
    /// Longer than a record may be.
    #[error("the peer sent a record that is too long")]
    Overflow,
    /// Not sealed with the right key.
    #[error("the peer sent a record that cannot be decrypted")]
    Mac,
    /// No record that belongs here.
    #[error("the peer sent a message that does not belong after a handshake")]
    Unexpected,
    /// No form that it may have.
    #[error("the peer sent a message that cannot be read")]
    Decode,
    /// Key updates, warnings or empty records without end.
    #[error("the peer sent too many records that say nothing")]
    Flood,
    /// It says that it cannot go on.
    #[error("the peer ended the connection with alert {0}")]
    Alert(u8),
    /// Nothing the peer has done.
    #[error("a record could not be encrypted")]
    Encrypt,
}

impl Records {
    pub(super) fn new(reading: Direction, writing: Direction) -> Records {
        Records {
            decrypter: reading.decrypter(),
            encrypter: writing.encrypter(),
            reading,
            writing,
            unread: BytesMut::new(),
            plain: BytesMut::new(),
            owes_update: false,
            idle_records: 0,
            is_ended: false,
            fault: None,
            longest: MAX_PLAIN,
        }
    }

    /// For a fuzz target: with secrets that everybody knows. `None` without a suite of that number.
    #[doc(hidden)]
    pub fn with_known_secrets(suite: u16, reading: u8, writing: u8) -> Option<Records> {
        let suite = suite_of(suite)?;
        let direction =
            |byte| Direction { suite, secret: vec![byte; suite.secret_length()].into(), sequence: 0 };
        Some(Records::new(direction(reading), direction(writing)))
    }

    /// For a fuzz target: a record of any type.
    #[doc(hidden)]
    pub fn seal_as(&mut self, typ: u8, data: &[u8], out: &mut BytesMut) {
        let _ = self.seal(ContentType::from(typ), data, out);
    }

    /// Sends records of at most this many bytes, as [`max_fragment_size`] has it.
    ///
    /// [`max_fragment_size`]: tokio_rustls::rustls::ServerConfig::max_fragment_size
    pub(super) fn with_max_fragment_size(mut self, size: Option<usize>) -> Records {
        if let Some(size) = size {
            self.longest = size.saturating_sub(HEADER).clamp(1, MAX_PLAIN);
        }
        self
    }

    pub(super) fn with_unread(mut self, unread: &[u8], owes_update: bool) -> Records {
        self.unread.extend_from_slice(unread);
        self.owes_update = owes_update;
        self
    }

    pub(super) fn unread(&self) -> &[u8] {
        &self.unread
    }

    pub(super) fn owes_update(&self) -> bool {
        self.owes_update
    }

    /// Takes what came from the peer, in whatever pieces.
    ///
    /// # Errors
    ///
    /// The connection is over; every further call says so again.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if self.is_ended {
            return Ok(());
        }
        self.unread.extend_from_slice(bytes);
        let opened = self.open_all();
        self.fault = opened.err();
        if self.unread.is_empty() {
            // An idle connection holds no memory for what it may be sent.
            self.unread = BytesMut::new();
        }
        opened
    }

    /// Gives what the peer said: at most as much as fits, and nothing if there is nothing.
    pub fn read(&mut self, into: &mut [u8]) -> usize {
        let count = self.plain.len().min(into.len());
        into[..count].copy_from_slice(&self.plain[..count]);
        self.plain.advance(count);
        if self.plain.is_empty() {
            self.plain = BytesMut::new();
        }
        count
    }

    /// How many bytes there are to read.
    pub fn readable(&self) -> usize {
        self.plain.len()
    }

    /// The peer has said that it will say no more.
    pub fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Why the connection is over.
    pub fn fault(&self) -> Option<Fault> {
        self.fault
    }

    /// Seals `data`, in as many records as it takes.
    ///
    /// # Errors
    ///
    /// [`Fault::Encrypt`] only.
    pub fn write(&mut self, data: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
        for part in data.chunks(self.longest) {
            // One record of what the keys may seal is for the update itself.
            let is_used_up = self.writing.sequence + 1 >= self.writing.suite.common.confidentiality_limit;
            if self.owes_update || is_used_up {
                self.update(false, out)?;
                self.owes_update = false;
            }
            self.seal(ContentType::ApplicationData, part, out)?;
        }
        Ok(())
    }

    /// Goes on with new keys in our direction, and with `ask` has the peer do so in its own.
    ///
    /// # Errors
    ///
    /// [`Fault::Encrypt`] only.
    pub fn update(&mut self, ask: bool, out: &mut BytesMut) -> Result<(), Fault> {
        self.seal(ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, u8::from(ask)], out)?;
        self.writing.update();
        self.encrypter = self.writing.encrypter();
        Ok(())
    }

    /// Says that we will say no more.
    pub fn close(&mut self, out: &mut BytesMut) {
        // What cannot be sealed would be the last word anyway.
        let _ = self.seal(ContentType::Alert, &[WARNING, CLOSE_NOTIFY], out);
    }

    /// Tells the peer what was wrong with what it sent.
    pub fn alert(&mut self, fault: Fault, out: &mut BytesMut) {
        let description = match fault {
            Fault::Overflow => RECORD_OVERFLOW,
            Fault::Mac => BAD_RECORD_MAC,
            Fault::Unexpected | Fault::Flood => UNEXPECTED_MESSAGE,
            Fault::Decode => DECODE_ERROR,
            Fault::Encrypt => INTERNAL_ERROR,
            Fault::Alert(_) => return,
        };
        let _ = self.seal(ContentType::Alert, &[FATAL, description], out);
    }

    fn seal(&mut self, typ: ContentType, data: &[u8], out: &mut BytesMut) -> Result<(), Fault> {
        let payload = OutboundChunks::Single(data);
        let message = OutboundPlainMessage { typ, version: ProtocolVersion::TLSv1_2, payload };
        let sealed = self.encrypter.encrypt(message, self.writing.sequence).map_err(|_| Fault::Encrypt)?;
        self.writing.sequence += 1;
        out.extend_from_slice(&sealed.encode());
        Ok(())
    }

    fn open_all(&mut self) -> Result<(), Fault> {
        while !self.is_ended
            && let Some(length) = whole_record(&self.unread)?
        {
            let mut record = self.unread.split_to(length);
            self.open(&mut record)?;
        }
        Ok(())
    }

    fn open(&mut self, record: &mut [u8]) -> Result<(), Fault> {
        let sealed = InboundOpaqueMessage::new(
            ContentType::ApplicationData,
            ProtocolVersion::TLSv1_2,
            &mut record[HEADER..],
        );
        let opened = self.decrypter.decrypt(sealed, self.reading.sequence).map_err(why)?;
        self.reading.sequence += 1;
        let is_data = opened.typ == ContentType::ApplicationData && !opened.payload.is_empty();
        self.idle_records = if is_data { 0 } else { self.idle_records + 1 };
        if self.idle_records > MOST_IDLE_RECORDS {
            return Err(Fault::Flood);
        }
        match (opened.typ, opened.payload) {
            (ContentType::ApplicationData, data) => self.plain.extend_from_slice(data),
            (ContentType::Alert, &[_, CLOSE_NOTIFY]) => self.is_ended = true,
            (ContentType::Alert, &[WARNING, USER_CANCELED]) => {}
            (ContentType::Alert, &[_, description]) => return Err(Fault::Alert(description)),
            (ContentType::Alert, _) => return Err(Fault::Decode),
            (ContentType::Handshake, &[KEY_UPDATE, 0, 0, 1, ask @ (0 | 1)]) => self.updated(ask == 1),
            (ContentType::Handshake, &[KEY_UPDATE, ..]) => return Err(Fault::Decode),
            // Renegotiation, late authentication, tickets: nothing that a server is sent.
            _ => return Err(Fault::Unexpected),
        }
        Ok(())
    }

    /// The peer goes on with new keys.
    fn updated(&mut self, is_asked: bool) {
        self.reading.update();
        self.decrypter = self.reading.decrypter();
        self.owes_update |= is_asked;
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("fault", &self.fault).finish_non_exhaustive()
    }
}

/// The suite of that number, if a connection with it can be gone on with.
pub(super) fn suite_of(number: u16) -> Option<&'static Tls13CipherSuite> {
    [TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256]
        .into_iter()
        .filter_map(|suite| suite.tls13())
        .find(|suite| u16::from(suite.common.suite) == number)
}

/// How long the first record is, if it is whole.
fn whole_record(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    // After the handshake everything is sealed, and says so.
    if bytes.first().is_some_and(|typ| *typ != u8::from(ContentType::ApplicationData)) {
        return Err(Fault::Unexpected);
    }
    let Some(length) = record_length(bytes) else { return Ok(None) };
    if length > HEADER + MAX_SEALED {
        return Err(Fault::Overflow);
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// With its header, as that says; `None` before it is whole.
pub(super) fn record_length(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = bytes.first_chunk::<HEADER>()?;
    Some(HEADER + usize::from(u16::from_be_bytes([*high, *low])))
}

fn why(error: RustlsError) -> Fault {
    match error {
        RustlsError::DecryptError => Fault::Mac,
        RustlsError::PeerSentOversizedRecord => Fault::Overflow,
        _ => Fault::Unexpected,
    }
}

/// How long the secrets of a suite are: as its hash.
pub(super) trait SecretLength {
    fn secret_length(&self) -> usize;
}

impl SecretLength for Tls13CipherSuite {
    fn secret_length(&self) -> usize {
        self.common.hash_provider.output_len()
    }
}

/// Type, version, length.
pub(super) const HEADER: usize = 5;
/// RFC 8446, sections 5.1 and 5.2.
const MAX_PLAIN: usize = 1 << 14;
pub(super) const MAX_SEALED: usize = MAX_PLAIN + 256;

const KEY_UPDATE: u8 = 24;

const WARNING: u8 = 1;
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const RECORD_OVERFLOW: u8 = 22;
const DECODE_ERROR: u8 = 50;
const INTERNAL_ERROR: u8 = 80;
const USER_CANCELED: u8 = 90;

/// As rustls has it for key updates. Each costs more to deal with than to send.
const MOST_IDLE_RECORDS: u32 = 32;
