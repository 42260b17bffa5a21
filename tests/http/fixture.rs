//! A server whose handlers wait for the test, and a client that sends and reads exactly what it is told.
#![allow(dead_code, unreachable_pub)] // Each test binary uses its part of it.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use heirloom::Address;
use heirloom::drain::{Kind, Tracker};
use heirloom::http::{Config, Server};
use heirloom::stream::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

pub const SECOND: Duration = Duration::from_secs(1);
pub const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Longer than anything here takes, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// What handlers tell, and wait for.
pub struct Stage {
    entered: mpsc::UnboundedSender<String>,
    pub release: Notify,
    /// The bodies of `/early` requests, kept by the handler after it answered.
    pub kept: Mutex<Vec<Incoming>>,
    pub dropped: Arc<Notify>,
}

pub struct Fixture {
    pub tracker: Tracker,
    pub address: SocketAddr,
    pub stage: Arc<Stage>,
    entered: mpsc::UnboundedReceiver<String>,
}

impl Fixture {
    pub async fn start(config: Config) -> Fixture {
        let (tell, entered) = mpsc::unbounded_channel();
        let stage = Arc::new(Stage {
            entered: tell,
            release: Notify::new(),
            kept: Mutex::default(),
            dropped: Arc::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let tracker = Tracker::new();
        let handler = stage.clone();
        let server = Server::new(
            config,
            service_fn(move |request| {
                let stage = handler.clone();
                async move { Ok::<_, Infallible>(answer(request, stage).await) }
            }),
        );
        let accepting = tracker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                server.spawn(accepting.track(Stream::from(stream), Kind::Http1));
            }
        });
        Fixture { tracker, address, stage, entered }
    }

    pub async fn client(&self) -> Client {
        let client = Client::connect(self.address).await;
        let local = Address::Inet(client.stream.local_addr().unwrap());
        // Accepted, so that a drain that begins now finds it.
        self.until("a connection to be accepted", |tracker| {
            tracker.snapshot().iter().any(|found| found.peer.as_ref() == Some(&local))
        })
        .await;
        client
    }

    /// The path of the next request that a handler got.
    pub async fn entered(&mut self) -> String {
        soon("a request to arrive", self.entered.recv()).await.unwrap()
    }

    /// Waits for the server to have seen what the client did; there is no event for that.
    pub async fn until(&self, what: &str, seen: impl Fn(&Tracker) -> bool) {
        soon(what, async {
            while !seen(&self.tracker) {
                tokio::task::yield_now().await;
            }
        })
        .await
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, stage: Arc<Stage>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let _ = stage.entered.send(path.clone());
    match path.as_str() {
        "/wait" => {
            let _guard = TellDropped(stage.dropped.clone());
            stage.release.notified().await;
        }
        "/stream" => {
            let (tell, body) = mpsc::unbounded_channel();
            tell.send(Bytes::from_static(b"first ")).unwrap();
            tokio::spawn(async move {
                stage.release.notified().await;
                tell.send(Bytes::from_static(b"last")).unwrap();
            });
            return Response::new(channel(body));
        }
        "/early" => stage.kept.lock().unwrap().push(request.into_body()),
        "/echo" => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            return Response::new(Full::new(body).boxed());
        }
        "/large" => return Response::new(Full::new(Bytes::from(vec![b'x'; 64 << 20])).boxed()),
        "/upgrade" => {
            tokio::spawn(async move {
                let upgraded = hyper::upgrade::on(request).await.unwrap();
                let _guard = TellDropped(stage.dropped.clone());
                let mut io = hyper_util::rt::TokioIo::new(upgraded);
                let mut byte = [0; 1];
                while io.read_exact(&mut byte).await.is_ok() {
                    io.write_all(&byte).await.unwrap();
                }
            });
            let mut response = Response::new(Full::default().boxed());
            *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert("connection", "upgrade".parse().unwrap());
            response.headers_mut().insert("upgrade", "echo".parse().unwrap());
            return response;
        }
        _ => {}
    }
    Response::new(Full::from("hello").boxed())
}

fn channel(mut chunks: mpsc::UnboundedReceiver<Bytes>) -> Body {
    StreamBody::new(Chunks(std::future::poll_fn(move |cx| chunks.poll_recv(cx)))).boxed()
}

/// A stream out of a function that gives the next chunk.
struct Chunks<F>(F);

impl<F> futures_core::Stream for Chunks<F>
where
    F: Future<Output = Option<Bytes>> + Unpin,
{
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::pin::Pin::new(&mut self.0).poll(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

struct TellDropped(Arc<Notify>);

impl Drop for TellDropped {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn says_close(&self) -> bool {
        self.head.contains("\r\nconnection: close\r\n")
    }
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Client {
        Client { stream: TcpStream::connect(address).await.unwrap(), read: Vec::new() }
    }

    /// What came and was not yet taken.
    pub fn buffered(&self) -> String {
        String::from_utf8(self.read.clone()).unwrap()
    }

    pub fn forget(&mut self) {
        self.read.clear();
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    pub async fn ask(&mut self, request: &str) -> Answer {
        self.send(request).await;
        self.answer().await
    }

    pub async fn head(&mut self) -> String {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await.unwrap() > 0, "ended within a head: {:?}", self.read);
        };
        String::from_utf8(self.read.drain(..end).collect()).unwrap()
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let body = if head.contains("transfer-encoding: chunked") {
            while !self.read.ends_with(b"0\r\n\r\n") {
                assert!(self.more().await.unwrap() > 0, "ended within a body: {:?}", self.read);
            }
            std::mem::take(&mut self.read)
        } else {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            while self.read.len() < length {
                assert!(self.more().await.unwrap() > 0, "ended within a body: {:?}", self.read);
            }
            self.read.drain(..length).collect()
        };
        Answer { head, body: String::from_utf8(body).unwrap() }
    }

    /// A FIN with nothing before it. A reset fails here.
    pub async fn ends(&mut self) {
        let read = self.more().await.expect("a clean end");
        assert_eq!(read, 0, "unexpected {:?}", String::from_utf8_lossy(&self.read));
    }

    /// The server reads on after its goodbye: had it closed, the first send would draw a reset, and the
    /// second fail.
    pub async fn is_still_heard(&mut self) {
        self.send(GET).await;
        self.send(GET).await;
        self.ends().await;
    }

    pub async fn more(&mut self) -> io::Result<usize> {
        soon("bytes from the server", self.stream.read_buf(&mut self.read)).await
    }
}
