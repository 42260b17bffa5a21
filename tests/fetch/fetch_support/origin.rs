//! An HTTP server with ETags, by path, that remembers what it was asked.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use hyper::body::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, crypto::ring::default_provider};

pub use super::body::Fate;
use super::body::Sent;

/// A running server; gone with the runtime.
#[derive(Clone, Debug)]
pub struct Origin {
    address: SocketAddr,
    scheme: &'static str,
    /// What a client of an https one must trust.
    pub certificate: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    replies: HashMap<String, Reply>,
    asked: Vec<Asked>,
}

/// What is said at a path.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    body: Bytes,
    headers: Vec<(&'static str, String)>,
    fate: Fate,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub path: String,
    pub headers: HeaderMap,
    /// What was answered.
    pub status: u16,
}

impl Reply {
    /// A file, with its ETag.
    pub fn file(bytes: impl Into<Vec<u8>>) -> Reply {
        let body = Bytes::from(bytes.into());
        let etag = format!("\"{}\"", heirloom::fetch::Digest::of(&body));
        Reply { status: 200, body, headers: vec![("etag", etag)], fate: Fate::Whole }
    }

    pub fn status(status: u16) -> Reply {
        Reply { status, body: Bytes::new(), headers: vec![], fate: Fate::Whole }
    }

    pub fn redirect(to: impl Into<String>) -> Reply {
        Reply::status(302).header("location", to)
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value.into()));
        self
    }

    pub fn without(mut self, name: &str) -> Reply {
        self.headers.retain(|(other, _)| *other != name);
        self
    }

    pub fn fate(mut self, fate: Fate) -> Reply {
        self.fate = fate;
        self
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }
}

impl Origin {
    pub async fn http() -> Origin {
        Origin::start(None, String::new()).await
    }

    pub async fn https() -> Origin {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        Origin::start(Some(TlsAcceptor::from(Arc::new(config))), made.cert.pem()).await
    }

    /// Says this at `path` from now on.
    pub fn put(&self, path: &str, reply: Reply) {
        self.shared.lock().unwrap().replies.insert(path.to_owned(), reply);
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// The same server by another name: another origin.
    pub fn other_url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    /// What was asked at `path`.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        let shared = self.shared.lock().unwrap();
        shared.asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    pub fn statuses(&self, path: &str) -> Vec<u16> {
        self.asked(path).iter().map(|asked| asked.status).collect()
    }

    async fn start(tls: Option<TlsAcceptor>, certificate: String) -> Origin {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let origin = Origin { address, scheme, certificate, shared: Arc::default() };
        let serving = origin.clone();
        tokio::spawn(async move {
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let (origin, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => origin.serve(stream).await,
                        // A client that does not trust us says so by going away.
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => origin.serve(stream).await,
                            Err(error) => println!("a handshake that failed: {error}"),
                        },
                    }
                });
            }
        });
        origin
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = service_fn(|request| {
            let response = self.answer(&request);
            async { Ok::<_, Infallible>(response) }
        });
        // An error is a body that was cut as it should be.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    fn answer(&self, request: &Request<hyper::body::Incoming>) -> Response<Sent> {
        let mut shared = self.shared.lock().unwrap();
        let path = request.uri().path().to_owned();
        let mut reply = shared.replies.get(&path).cloned().unwrap_or(Reply::status(404));
        let unchanged = |condition: &str, validator: &str| {
            let condition = request.headers().get(condition).and_then(|value| value.to_str().ok());
            condition.is_some() && condition == reply.value(validator)
        };
        if reply.value("x-no-conditions").is_none()
            && (unchanged("if-none-match", "etag") || unchanged("if-modified-since", "last-modified"))
        {
            reply = Reply { status: 304, body: Bytes::new(), ..reply };
        }
        shared.asked.push(Asked { path, headers: request.headers().clone(), status: reply.status });
        let mut response = Response::builder().status(reply.status);
        for (name, value) in reply.headers {
            response = response.header(name, value);
        }
        response.body(Sent::new(reply.body, reply.fate)).unwrap()
    }
}
