//! TLS for clients: whom they believe, and what they offer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
};

use crate::prove::wire::Socket;

/// What a client needs to shake hands.
#[derive(Clone, Debug)]
pub(in crate::prove) struct Tls {
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Believes the certificates of this file, or anybody.
    pub(in crate::prove) fn new(ca: Option<&Path>, name: &str) -> Result<Tls, String> {
        let provider = Arc::new(ring::default_provider());
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| error.to_string())?;
        let config = match ca {
            Some(path) => builder.with_root_certificates(roots(path)?).with_no_client_auth(),
            None => {
                let anybody = Arc::new(Anybody(provider));
                builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth()
            }
        };
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name =
            ServerName::try_from(name).map_err(|error| format!("no name for a certificate: {error}"))?;
        let offering = |protocol: &[u8]| {
            let mut config = config.clone();
            config.alpn_protocols = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Ok(Tls { http1: offering(b"http/1.1"), http2: offering(b"h2"), name })
    }

    /// Shakes hands, as long as the socket's timeouts let it.
    pub(super) fn secure(&self, mut tcp: TcpStream, is_http2: bool) -> io::Result<Box<dyn Socket>> {
        let config = if is_http2 { &self.http2 } else { &self.http1 };
        let connection = ClientConnection::new(Arc::clone(config), self.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        if is_http2 && connection.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not take HTTP/2"));
        }
        Ok(Box::new(Secured(StreamOwned::new(connection, tcp))))
    }
}

#[derive(Debug)]
struct Secured(StreamOwned<ClientConnection, TcpStream>);

impl Socket for Secured {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.sock.as_fd()
    }

    fn read_now(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.sock.set_nonblocking(true)?;
        let read = self.read(bytes);
        self.0.sock.set_nonblocking(false)?;
        read
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.0.conn.send_close_notify();
        self.0.flush()
    }
}

impl Read for Secured {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self.0.read(bytes) {
            // A close without the word of TLS is one all the same: what was complete is known from HTTP.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
}

impl Write for Secured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let failed = |error: String| format!("{}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    for certificate in read {
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(failed("no certificate is in it".to_owned())),
        false => Ok(roots),
    }
}

/// With --insecure: what is tested is the server's restart, and not its name.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
