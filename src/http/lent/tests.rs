//! A lent connection and what is read from it and written to it, without a server.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn as client;
use hyper::server::conn as server;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use super::*;
use crate::drain::Tracker;

const GET: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn lent(tracker: &Tracker) -> (Lent<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Lent::new(tracker.track(ours, Kind::Raw)), theirs)
}

async fn read(lent: &mut Lent<UnixStream>) -> Vec<u8> {
    let mut buf = [0; 1000];
    let count = lent.read(&mut buf).await.unwrap();
    buf[..count].to_vec()
}

#[tokio::test]
async fn its_reader_gets_one_request_at_a_time() {
    let (mut lent, mut client) = lent(&Tracker::new());
    client.write_all(&[GET, GET].concat()).await.unwrap();
    assert_eq!(read(&mut lent).await, GET);
    let early = tokio::time::timeout(Duration::from_millis(20), read(&mut lent)).await;
    assert!(early.is_err(), "{early:?}");
    lent.write_all(OK).await.unwrap();
    assert_eq!(read(&mut lent).await, GET);
    client.shutdown().await.unwrap();
    assert_eq!(read(&mut lent).await, b"", "its reader may want to know that the client has gone");
}

#[tokio::test]
async fn the_response_of_one_that_stays_says_that_it_is_the_last() {
    let tracker = Tracker::new();
    let (mut lent, mut client) = lent(&tracker);
    client.write_all(GET).await.unwrap();
    assert_eq!(read(&mut lent).await, GET);
    tracker.begin(Duration::from_secs(60));
    lent.write_all(OK).await.unwrap();
    lent.flush().await.unwrap();
    assert_eq!(read(&mut lent).await, b"");
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    drop(client);
    tracker.emptied().await;
}

#[tokio::test]
async fn an_idle_one_that_stays_is_closed_after_the_linger() {
    let tracker = Tracker::new();
    let (mut lent, mut client) = lent(&tracker);
    tracker.begin(Duration::from_millis(50));
    assert_eq!(read(&mut lent).await, b"");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    assert!(!tracker.let_go().is_raised());
    drop((lent, client));
    tracker.let_go().await;
    tracker.emptied().await;
}

#[tokio::test]
async fn over_http2_either_side_may_speak_first() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let all = [PREFACE, SETTINGS].concat();
    for had in [0, 8, all.len()] {
        let (mut lent, mut client) = lent(&Tracker::new());
        let mut given = Vec::new();
        client.write_all(&all[..had]).await.unwrap();
        while given.len() < had {
            given.extend(read(&mut lent).await);
        }
        lent.write_all(SETTINGS).await.unwrap();
        assert_eq!(lent.entry.kind(), Kind::Http2, "behind {had} bytes");
        client.write_all(&all[had..]).await.unwrap();
        while given.len() < all.len() {
            given.extend(read(&mut lent).await);
        }
        assert_eq!(given, all);
        let mut heard = [0; SETTINGS.len()];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, SETTINGS);
        client.shutdown().await.unwrap();
        assert_eq!(read(&mut lent).await, b"");
    }
}

#[tokio::test]
async fn over_http2_the_client_of_one_that_stays_goes_though_its_server_is_told_nothing() {
    let tracker = Tracker::new();
    let (lent, client) = lent(&tracker);
    let (asked, may_answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (asked_there, may_answer_there) = (asked.clone(), may_answer.clone());
    let answer = service_fn(move |_: Request<Incoming>| {
        let (asked, may_answer) = (asked_there.clone(), may_answer_there.clone());
        async move {
            asked.notify_one();
            may_answer.notified().await;
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"ok"))))
        }
    });
    let serving = server::http2::Builder::new(TokioExecutor::new());
    let serving = tokio::spawn(serving.serve_connection(TokioIo::new(lent), answer));
    let handshake = client::http2::handshake(TokioExecutor::new(), TokioIo::new(client));
    let (mut client, connection) = handshake.await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap();
    let waiting = client.send_request(request);
    asked.notified().await;
    // It would be closed after that.
    tracker.begin(Duration::from_secs(3600));
    may_answer.notify_one();
    let answered = waiting.await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(answered.to_bytes(), "ok");
    let gone = async {
        connection.await.unwrap().unwrap();
        serving.await.unwrap().unwrap();
        tracker.emptied().await;
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the client goes");
}

#[tokio::test]
async fn over_http2_one_that_stays_is_closed_after_the_linger_if_its_client_does_not_go() {
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ACK: &[u8] = &[0, 0, 0, 4, 1, 0, 0, 0, 0];
    let tracker = Tracker::new();
    let (mut lent, mut client) = lent(&tracker);
    client.write_all(&[PREFACE, SETTINGS, ACK].concat()).await.unwrap();
    lent.write_all(&[SETTINGS, ACK].concat()).await.unwrap();
    let mut given = 0;
    while given < PREFACE.len() + SETTINGS.len() + ACK.len() {
        given += read(&mut lent).await.len();
    }
    tracker.begin(Duration::from_millis(50));
    assert_eq!(read(&mut lent).await, b"", "for its server the client has left");
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    let goaway = |last: u32| [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last.to_be_bytes(), &[0; 4]].concat();
    assert_eq!(heard, [SETTINGS, ACK, &goaway(u32::MAX >> 1), &goaway(0)].concat());
    drop((lent, client));
    tracker.emptied().await;
}
