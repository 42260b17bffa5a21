//! A TLS connection: of this process's own handshake, or of a predecessor's.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::{ConnectionTrafficSecrets, ProtocolVersion, ServerConnection};
use tokio_rustls::server;

use super::carried::Facts;
use super::followed::Followed;
use super::records::{Direction, Records, suite_of};
use super::resumed::Resumed;
use super::witness::{Secrets, Witness};
use crate::drain::stream::Stream;

/// What [`Tls::shake_hands`](super::Tls::shake_hands) makes of a connection: what is read from it and
/// written to it is encrypted, and at a restart it can move to the successor.
///
/// The handshake may have been a predecessor's. What that found out is known here as well.
pub struct TlsStream {
    way: Way,
    /// Whether it may leave this process.
    may_move: bool,
}

enum Way {
    /// rustls has shaken hands, and goes on.
    Fresh(Box<Fresh>),
    Resumed(Box<(Resumed, Facts)>),
}

struct Fresh {
    tls: server::TlsStream<Followed>,
    /// `None` where nothing moves.
    witness: Option<Arc<Witness>>,
}

/// A connection taken apart, to go on elsewhere. Has no `Debug`: it holds the keys.
pub(super) struct Parts {
    pub(super) stream: Stream,
    pub(super) records: Records,
    pub(super) facts: Facts,
}

impl TlsStream {
    pub(super) fn fresh(tls: server::TlsStream<Followed>, witness: Option<Arc<Witness>>) -> TlsStream {
        let may_move = witness.is_some() && is_movable(tls.get_ref().1);
        TlsStream { way: Way::Fresh(Box::new(Fresh { tls, witness })), may_move }
    }

    pub(super) fn resumed(parts: Parts, may_move: bool) -> TlsStream {
        let Parts { stream, records, facts } = parts;
        let way = Way::Resumed(Box::new((Resumed::new(stream, records), facts)));
        TlsStream { way, may_move }
    }

    /// Whether this process went on with a handshake of a predecessor's.
    pub fn has_moved(&self) -> bool {
        matches!(self.way, Way::Resumed(_))
    }

    /// The protocol that both sides agreed on by ALPN: `h2`, say.
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        match &self.way {
            Way::Fresh(fresh) => fresh.session().alpn_protocol(),
            Way::Resumed(resumed) => resumed.1.alpn_protocol.as_deref(),
        }
    }

    /// The name of the server that the client asked for.
    pub fn server_name(&self) -> Option<&str> {
        match &self.way {
            Way::Fresh(fresh) => fresh.session().server_name(),
            Way::Resumed(resumed) => resumed.1.server_name.as_deref(),
        }
    }

    /// What the client has shown of itself, its own certificate first. `None` if it was not asked, or had
    /// nothing.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match &self.way {
            Way::Fresh(fresh) => fresh.session().peer_certificates(),
            Way::Resumed(resumed) => resumed.1.peer_certificates.as_deref(),
        }
    }

    /// rustls's side of it, for whatever else that knows (keying material for exporters, say). `None` for
    /// a connection that has moved: rustls has never seen it in this process.
    pub fn server_connection(&self) -> Option<&ServerConnection> {
        match &self.way {
            Way::Fresh(fresh) => Some(fresh.session()),
            Way::Resumed(_) => None,
        }
    }

    /// The socket below.
    pub fn stream(&self) -> &Stream {
        match &self.way {
            Way::Fresh(fresh) => fresh.tls.get_ref().0.stream(),
            Way::Resumed(resumed) => resumed.0.stream(),
        }
    }

    /// Whether it may go to a successor: TLS 1.3, a suite whose keys can be made again, and nobody has
    /// said no.
    pub(crate) fn may_move(&self) -> bool {
        self.may_move
    }

    /// Gives what was decrypted and not read, and says whether the connection can go now: nothing is left
    /// to write.
    pub(super) fn prepare_to_go(&mut self, cx: &mut Context<'_>, plain: &mut Vec<u8>) -> bool {
        match &mut self.way {
            Way::Fresh(fresh) => fresh.prepare_to_go(cx, plain),
            Way::Resumed(resumed) => resumed.0.prepare_to_go(plain),
        }
    }

    /// Only when it [can go](Self::prepare_to_go).
    ///
    /// # Errors
    ///
    /// The socket alone, of which nobody has the keys any more.
    pub(super) fn into_parts(self) -> Result<Parts, Stream> {
        match self.way {
            Way::Fresh(fresh) => fresh.into_parts(),
            Way::Resumed(resumed) => {
                let (resumed, facts) = *resumed;
                let (stream, records) = resumed.into_parts();
                Ok(Parts { stream, records, facts })
            }
        }
    }
}

impl Fresh {
    fn session(&self) -> &ServerConnection {
        self.tls.get_ref().1
    }

    fn prepare_to_go(&mut self, cx: &mut Context<'_>, plain: &mut Vec<u8>) -> bool {
        let session = self.tls.get_mut().1;
        // Whoever has said that no more comes has no use for a successor.
        let is_open = match session.reader().read_to_end(plain) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        // rustls keeps its answer to a key update for the next write, and has its new key already.
        if session.writer().write(&[]).is_err() {
            return false;
        }
        let is_flushed = matches!(Pin::new(&mut self.tls).poll_flush(cx), Poll::Ready(Ok(())));
        let session = self.session();
        is_open && is_flushed && !session.wants_write() && !session.is_handshaking()
    }

    fn into_parts(self) -> Result<Parts, Stream> {
        let (followed, session) = self.tls.into_inner();
        let (stream, tail) = followed.into_parts();
        let facts = Facts::of(&session);
        match self.witness.and_then(|witness| extract(session, witness.secrets())) {
            Some(records) => Ok(Parts { stream, records: records.with_unread(&tail, false), facts }),
            None => Err(stream),
        }
    }
}

/// Takes the keys out of rustls. It has read whole records only, for all that they count.
fn extract(session: ServerConnection, secrets: Secrets) -> Option<Records> {
    let suite = suite_of(session.negotiated_cipher_suite()?.suite().into())?;
    let extracted = session.dangerous_extract_secrets().ok()?;
    let direction = |secret, sequence| Direction { suite, secret, sequence };
    let mut reading = direction(secrets.client, extracted.rx.0);
    let mut writing = direction(secrets.server, extracted.tx.0);
    let is_known = reading.catch_up(key(&extracted.rx.1)) && writing.catch_up(key(&extracted.tx.1));
    is_known.then(|| Records::new(reading, writing))
}

fn is_movable(session: &ServerConnection) -> bool {
    let suite = session.negotiated_cipher_suite().and_then(|suite| suite_of(suite.suite().into()));
    session.protocol_version() == Some(ProtocolVersion::TLSv1_3) && suite.is_some()
}

fn key(secrets: &ConnectionTrafficSecrets) -> &[u8] {
    match secrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, .. }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, .. } => key.as_ref(),
        _ => &[],
    }
}

impl AsyncRead for TlsStream {
    #[inline]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Fresh(fresh) => Pin::new(&mut fresh.tls).poll_read(cx, buf),
            Way::Resumed(resumed) => resumed.0.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TlsStream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Fresh(fresh) => Pin::new(&mut fresh.tls).poll_write(cx, buf),
            Way::Resumed(resumed) => resumed.0.poll_write(cx, &[IoSlice::new(buf)]),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().way {
            Way::Fresh(fresh) => Pin::new(&mut fresh.tls).poll_write_vectored(cx, bufs),
            Way::Resumed(resumed) => resumed.0.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Fresh(fresh) => Pin::new(&mut fresh.tls).poll_flush(cx),
            Way::Resumed(resumed) => resumed.0.poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().way {
            Way::Fresh(fresh) => Pin::new(&mut fresh.tls).poll_shutdown(cx),
            Way::Resumed(resumed) => resumed.0.poll_shutdown(cx),
        }
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("stream", self.stream())
            .field("has_moved", &self.has_moved())
            .finish_non_exhaustive()
    }
}
