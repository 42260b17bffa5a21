//! What happens on an HTTP/1 connection while its task is polled, in the orders that hyper and others leave open.

use std::convert::Infallible;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use heirloom::drain::{ConnectionState, Kind, Tracker};
use heirloom::http::{Config, Io, ServeError, Server};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixStream;

/// Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Lets the other thread run as far as it can, within the call that wakes.
struct Meanwhile {
    begin: Mutex<Option<mpsc::Sender<()>>>,
    done: Mutex<mpsc::Receiver<()>>,
}

impl Wake for Meanwhile {
    fn wake(self: Arc<Self>) {
        if let Some(begin) = self.begin.lock().unwrap().take() {
            begin.send(()).unwrap();
            self.done.lock().unwrap().recv().unwrap();
        }
    }
}

/// hyper hands out the connection in the middle of the poll that answered the upgrade.
#[tokio::test]
async fn what_a_new_owner_does_at_once_is_not_forgotten() {
    let tracker = Tracker::new();
    let (mut client, server) = UnixStream::pair().unwrap();
    let connection = tracker.track(server, Kind::Raw);
    let (begin, begun) = mpsc::channel();
    let (done, awaited) = mpsc::channel();
    let meanwhile: Waker =
        Arc::new(Meanwhile { begin: Mutex::new(Some(begin)), done: Mutex::new(awaited) }).into();
    let upgrade = Arc::new(Mutex::new(None));
    let kept = upgrade.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let mut upgrade = Box::pin(hyper::upgrade::on(&mut request));
        assert!(upgrade.as_mut().poll(&mut Context::from_waker(&meanwhile)).is_pending());
        *kept.lock().unwrap() = Some(upgrade);
        let response = Response::builder().status(101).header("connection", "upgrade").header("upgrade", "x");
        async move { Ok::<_, Infallible>(response.body(Empty::<Bytes>::new()).unwrap()) }
    });
    let runtime = tokio::runtime::Handle::current();
    let owner = std::thread::spawn(move || {
        begun.recv().unwrap();
        let _entered = runtime.enter();
        let mut upgrade = upgrade.lock().unwrap().take().unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(upgraded)) = upgrade.as_mut().poll(&mut cx) else { panic!("not upgraded") };
        let (_, connection) = upgraded.downcast::<Io<UnixStream>>().unwrap().io.into_parts();
        let mut close = Box::pin(connection.close());
        assert!(close.as_mut().poll(&mut cx).is_pending(), "it waits for the client's own goodbye");
        done.send(()).unwrap();
        close
    });
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
        .await
        .unwrap();
    Server::new(Config::new(), service).serve(connection).await.unwrap();
    let close = owner.join().unwrap();
    assert_eq!(tracker.snapshot()[0].state, ConnectionState::Closing);
    drop(client);
    tokio::time::timeout(PATIENCE, close).await.expect("the client is gone").unwrap();
}

/// The service answers at once, and reads the body later.
#[tokio::test]
async fn what_comes_of_a_body_after_the_answer_is_no_head() {
    let tracker = Tracker::new();
    let (mut client, server) = UnixStream::pair().unwrap();
    let connection = tracker.track(server, Kind::Raw);
    let (read, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let read = read.clone();
        tokio::spawn(async move {
            while let Some(Ok(frame)) = request.frame().await {
                read.send(frame.into_data().unwrap().len()).unwrap();
            }
        });
        async { Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())) }
    });
    tokio::spawn(Server::new(Config::new(), service).serve(connection));
    ask(&mut client, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n").await;
    for _ in 0..2 {
        client.write_all(b"hello").await.unwrap();
        assert_eq!(parts.recv().await, Some(5));
        // On one thread: what the connection's task read it in is over.
        assert_ne!(tracker.snapshot()[0].state, ConnectionState::ReadingHead);
    }
    ask(&mut client, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
}

async fn ask(client: &mut UnixStream, request: &[u8]) {
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0, "closed: {}", answer.escape_ascii());
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", answer.escape_ascii());
}

/// A socket that takes whatever it is given, so that a poll which writes has no reason to end.
struct Abyss {
    socket: UnixStream,
    asked: bool,
}

impl AsFd for Abyss {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for Abyss {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.asked {
            return Poll::Pending;
        }
        self.asked = true;
        buf.put_slice(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n");
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Abyss {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Always ready with more. Says when it is asked for the first time.
struct Endless(Option<mpsc::Sender<()>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static CHUNK: [u8; 1 << 20] = [0; 1 << 20];
        if let Some(asked) = self.0.take() {
            asked.send(()).unwrap();
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&CHUNK)))))
    }
}

#[test]
fn g5_a_poll_that_never_ends_is_hammered() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tracker = Tracker::new();
    let (asked, begun) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    runtime.block_on(async {
        let (_client, socket) = UnixStream::pair().unwrap();
        let connection = tracker.track(Abyss { socket, asked: false }, Kind::Raw);
        let service = service_fn(move |_: Request<Incoming>| {
            let body = Endless(Some(asked.clone()));
            async { Ok::<_, Infallible>(Response::new(body)) }
        });
        let server = Server::new(Config::new().http2(false), service);
        tokio::spawn(async move {
            let mut serving = pin!(server.serve(connection));
            ended.send(serving.as_mut().await).unwrap();
        });
    });
    begun.recv_timeout(PATIENCE).expect("the answer begins");
    let _ = tracker.hammer();
    let end = end.recv_timeout(PATIENCE);
    // Its only thread may be busy for ever.
    runtime.shutdown_background();
    assert!(matches!(end, Ok(Err(ServeError::Hammered))), "{end:?}");
}
