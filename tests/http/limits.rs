//! Slow, silent and greedy clients.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, GET, soon};
use heirloom::http::Config;

const LIMIT: Duration = Duration::from_secs(1);
/// Well above the limit and twice the sweeper's period for it.
const LONGER: Duration = Duration::from_millis(2500);

/// `since`: no later than the limit's own beginning. That it ends at all is bounded by the wait.
fn assert_not_early(since: Instant) {
    let took = since.elapsed();
    assert!(took >= LIMIT, "after {took:?}");
}

#[tokio::test]
async fn an_idle_or_fresh_connection_ends_when_its_time_is_up() {
    let fixture = Fixture::start(Config::new().keep_alive_timeout(LIMIT)).await;
    for request in [None, Some(GET), Some("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx")] {
        let begun = Instant::now();
        let mut client = fixture.client().await;
        if let Some(request) = request {
            assert_eq!(client.ask(request).await.body, "hello");
        }
        client.ends().await;
        assert_not_early(begun);
        drop(client);
        fixture.until("its end", |tracker| tracker.count() == 0).await;
    }
}

#[tokio::test]
async fn a_head_that_drips_ends_the_connection() {
    let config = Config::new().header_read_timeout(LIMIT).keep_alive_timeout(None);
    let fixture = Fixture::start(config).await;
    for before in [false, true] {
        let begun = Instant::now();
        let mut client = fixture.client().await;
        if before {
            client.ask(GET).await;
        }
        client.send("GET / HT").await;
        client.ends().await;
        assert_not_early(begun);
    }
}

#[tokio::test]
async fn a_request_in_flight_has_no_limit() {
    let config = Config::new().header_read_timeout(LIMIT).keep_alive_timeout(LIMIT).write_timeout(LIMIT);
    let mut fixture = Fixture::start(config).await;
    let mut client = fixture.client().await;
    client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    fixture.entered().await;
    tokio::time::sleep(LONGER).await; // allow: sleep (a slow handler)
    fixture.stage.release.notify_one();
    assert_eq!(client.answer().await.body, "hello");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_dropped() {
    let fixture = Fixture::start(Config::new().write_timeout(LIMIT)).await;
    let mut client = fixture.client().await;
    let begun = Instant::now();
    client.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    soon("its end", fixture.tracker.emptied()).await;
    assert!(begun.elapsed() >= LIMIT);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431_although_more_was_sent() {
    let fixture = Fixture::start(Config::new().max_header_size(4096).max_headers(10)).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(11));
    for request in [long, many] {
        let mut client = fixture.client().await;
        client.send(request).await;
        let head = client.head().await;
        assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
        client.ends().await;
        client.is_still_heard().await;
    }
}

#[tokio::test]
async fn an_http2_connection_without_streams_is_told_to_go() {
    let fixture = Fixture::start(Config::new().keep_alive_timeout(LIMIT)).await;
    let stream = fixture.client().await.stream;
    let executor = hyper_util::rt::TokioExecutor::new();
    let (_client, connection) = hyper::client::conn::http2::handshake::<
        _,
        _,
        http_body_util::Empty<bytes::Bytes>,
    >(executor, hyper_util::rt::TokioIo::new(stream))
    .await
    .unwrap();
    soon("its end", connection).await.unwrap();
    soon("its end", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn http2_can_be_off() {
    let fixture = Fixture::start(Config::new().http2(false)).await;
    let mut client = fixture.client().await;
    assert_eq!(client.ask(GET).await.body, "hello");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.ends().await;
}
