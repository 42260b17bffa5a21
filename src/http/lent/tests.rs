//! A lent connection and what is read from it and written to it, without a server.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

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
