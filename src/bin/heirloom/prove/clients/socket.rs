//! A client's socket, with TLS or without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};

/// What bytes go through.
#[derive(Debug)]
pub(super) enum Socket {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::rustls::StreamOwned<tokio_rustls::rustls::ClientConnection, TcpStream>>),
}

impl Socket {
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => &stream.sock,
        }
    }

    /// Shakes hands, as long as the socket's timeouts let it.
    #[cfg(feature = "tls")]
    pub(super) fn secure(mut tcp: TcpStream, tls: &super::Tls, is_http2: bool) -> io::Result<Socket> {
        let mut connection = tls.connection(is_http2).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        if is_http2 && connection.alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not take HTTP/2"));
        }
        Ok(Socket::Tls(Box::new(tokio_rustls::rustls::StreamOwned::new(connection, tcp))))
    }

    /// Nothing more will be sent.
    pub(super) fn end_sending(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(tcp) => tcp.shutdown(Shutdown::Write),
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.read(bytes),
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => match stream.read(bytes) {
                // A close without the word of TLS is one all the same: what was complete is known from HTTP.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Plain(tcp) => tcp.write(bytes),
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Socket::Plain(tcp) => tcp.flush(),
            #[cfg(feature = "tls")]
            Socket::Tls(stream) => stream.flush(),
        }
    }
}
