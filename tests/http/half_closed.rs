//! Clients that end their own direction and wait for the answer (`nc -N`, socat, some proxies), and clients that have gone.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use crate::fixture::{Fixture, GET, soon};
use heirloom::drain::{Kind, Tracker};
use heirloom::http::{Config, Server};
use heirloom::stream::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

const LIMIT: Duration = Duration::from_secs(1);

const WAIT: &str = "GET /wait HTTP/1.1\r\nhost: x\r\n\r\n";

#[tokio::test]
async fn g2_a_half_closed_client_gets_its_answer() {
    let requests = [
        WAIT,
        "GET /wait HTTP/1.0\r\n\r\n",
        "POST /wait HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
        "POST /wait HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "GET /wait HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n",
    ];
    for drains in [false, true] {
        let mut fixture = Fixture::start(Config::new()).await;
        for request in requests {
            let mut client = fixture.client().await;
            client.send(request).await;
            client.stream.shutdown().await.unwrap();
            assert_eq!(fixture.entered().await, "/wait");
            if drains {
                fixture.tracker.begin(LIMIT);
            }
            fixture.stage.release.notify_one();
            assert_eq!(client.answer().await.body, "hello", "{request}");
            client.ends().await;
        }
    }
}

#[tokio::test]
async fn g2_what_was_pipelined_before_the_end_is_answered_too() {
    let mut fixture = Fixture::start(Config::new()).await;
    let mut client = fixture.client().await;
    client.send(WAIT).await;
    fixture.entered().await;
    client.send(format!("{WAIT}{GET}")).await;
    client.stream.shutdown().await.unwrap();
    for _ in 0..2 {
        fixture.stage.release.notify_one();
        assert_eq!(client.answer().await.body, "hello");
    }
    assert_eq!(client.answer().await.body, "hello");
    client.ends().await;
}

#[tokio::test]
async fn g2_an_immediate_answer_does_not_race_with_the_end() {
    let fixture = Fixture::start(Config::new()).await;
    for _ in 0..100 {
        let mut client = fixture.client().await;
        client.send(GET).await;
        client.stream.shutdown().await.unwrap();
        assert_eq!(client.answer().await.body, "hello");
        client.ends().await;
    }
}

#[tokio::test]
async fn g5_nobody_works_for_ever_for_a_client_that_may_have_gone() {
    let mut fixture = Fixture::start(Config::new().half_closed_timeout(LIMIT)).await;
    let mut client = fixture.client().await;
    let begun = Instant::now();
    client.send(WAIT).await;
    fixture.entered().await;
    drop(client);
    soon("the handler's end", fixture.stage.dropped.notified()).await;
    assert!(begun.elapsed() >= LIMIT, "after {:?}", begun.elapsed());
    soon("its end", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn a_client_that_is_known_to_have_gone_ends_its_request_at_once() {
    let mut fixture = Fixture::start(Config::new().half_closed_timeout(None)).await;
    let mut client = fixture.client().await;
    client.send(WAIT).await;
    fixture.entered().await;
    // Closes with a reset.
    client.stream.set_zero_linger().unwrap();
    drop(client);
    soon("the handler's end", fixture.stage.dropped.notified()).await;
    soon("its end", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn a_unix_client_tells_an_end_from_a_half_close() {
    let (tell, mut entered) = tokio::sync::mpsc::unbounded_channel();
    let service = hyper::service::service_fn(move |_| {
        let tell = tell.clone();
        async move {
            tell.send(()).unwrap();
            std::future::pending::<Result<hyper::Response<String>, Infallible>>().await
        }
    });
    let server = Server::new(Config::new().half_closed_timeout(None), service);
    let tracker = Tracker::new();
    let (mut client, served) = UnixStream::pair().unwrap();
    server.spawn(tracker.track(Stream::from(served), Kind::Http1));
    client.write_all(WAIT.as_bytes()).await.unwrap();
    soon("a request", entered.recv()).await.unwrap();
    drop(client);
    soon("its end", tracker.emptied()).await;
}

#[tokio::test]
async fn with_no_time_at_all_an_end_is_the_request_s() {
    let mut fixture = Fixture::start(Config::new().half_closed_timeout(Duration::ZERO)).await;
    let mut client = fixture.client().await;
    client.send(WAIT).await;
    fixture.entered().await;
    client.stream.shutdown().await.unwrap();
    soon("the handler's end", fixture.stage.dropped.notified()).await;
    let mut heard = Vec::new();
    let _ = soon("the end", client.stream.read_to_end(&mut heard)).await;
    assert!(heard.is_empty());
}
