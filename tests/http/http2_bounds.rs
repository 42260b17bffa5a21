//! HTTP/2 clients that keep a server busy, or do not go.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, soon};
use heirloom::http::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

const LIMIT: Duration = Duration::from_secs(1);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// `:method: GET`, of stream 1, without the flag that says that this is all.
const HEADERS_TO_BE_CONTINUED: [u8; 10] = [0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];

#[tokio::test]
async fn g5_a_flood_of_frames_that_bring_nothing_forward_ends_the_connection() {
    for frame in [&PING[..], &SETTINGS, &WINDOW_UPDATE] {
        let fixture = Fixture::start(Config::new()).await;
        let (mut read, mut write) = greeted(&fixture).await.into_split();
        // Less than the server reads on for after its goodbye, which a reset would take along.
        let flood = frame.repeat(50_000);
        let flooding = tokio::spawn(async move {
            let _ = write.write_all(&flood).await;
            write
        });
        let heard = soon("the connection's end", until_the_end(&mut read)).await;
        let goaway = heard.iter().rfind(|(kind, _)| *kind == 7).unwrap_or_else(|| {
            panic!("no GOAWAY for kind {}, in {} frames, the last {:?}", frame[3], heard.len(), heard.last())
        });
        assert_eq!(goaway.1, [0, 0, 0, 0, 0, 0, 0, 11], "ENHANCE_YOUR_CALM");
        drop((read, soon("the flood's end", flooding).await.unwrap()));
        soon("its end", fixture.tracker.emptied()).await;
    }
}

#[tokio::test]
async fn a_client_that_pings_much_is_answered() {
    let fixture = Fixture::start(Config::new()).await;
    let (mut read, mut write) = greeted(&fixture).await.into_split();
    let pings = 9_000;
    let pinging = tokio::spawn(async move {
        write.write_all(&PING.repeat(pings)).await.unwrap();
        write
    });
    let mut pongs = 0;
    while pongs < pings {
        let (kind, _) = soon("a pong", frame(&mut read)).await.expect("open");
        pongs += usize::from(kind == 6);
    }
    drop(pinging.await.unwrap());
}

#[tokio::test]
async fn a_head_that_is_never_whole_keeps_no_connection_open() {
    let fixture = Fixture::start(Config::new().keep_alive_timeout(LIMIT)).await;
    let (mut read, mut write) = greeted(&fixture).await.into_split();
    let begun = Instant::now();
    write.write_all(&HEADERS_TO_BE_CONTINUED).await.unwrap();
    let heard = soon("the connection's end", until_the_end(&mut read)).await;
    assert!(begun.elapsed() >= LIMIT);
    assert!(heard.iter().any(|(kind, _)| *kind == 7), "it is told first");
    drop(write);
    soon("its end", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn an_idle_client_that_pings_and_does_not_go_is_cut_at_the_linger_s_end() {
    for drains in [true, false] {
        let limit = if drains { Duration::from_secs(75) } else { LIMIT };
        let fixture = Fixture::start(Config::new().keep_alive_timeout(limit)).await;
        let (mut read, mut write) = greeted(&fixture).await.into_split();
        let begun = Instant::now();
        if drains {
            fixture.tracker.begin(LIMIT);
        }
        let pinging = tokio::spawn(async move {
            while write.write_all(&PING).await.is_ok() {
                tokio::time::sleep(LIMIT / 10).await; // allow: sleep (a client that pings)
            }
        });
        let heard = soon("the connection's end", until_the_end(&mut read)).await;
        assert!(heard.iter().any(|(kind, _)| *kind == 7), "it is told first");
        assert!(begun.elapsed() >= LIMIT);
        soon("its end", fixture.tracker.emptied()).await;
        drop(read);
        soon("the pings' end", pinging).await.unwrap();
    }
}

#[tokio::test]
async fn g2_what_waits_for_the_client_s_window_is_in_flight() {
    // Two bytes of each answer at a time.
    let settings = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 2];
    // GET /, with END_STREAM and END_HEADERS.
    let request = [0, 0, 3, 1, 5, 0, 0, 0, 1, 0x82, 0x84, 0x86];
    let more = [0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 100];
    let fixture = Fixture::start(Config::new()).await;
    let (mut read, mut write) = greeted_with(&fixture, &settings).await.into_split();
    write.write_all(&request).await.unwrap();
    let mut body = Vec::new();
    while body.is_empty() {
        let (kind, payload) = soon("an answer", frame(&mut read)).await.expect("open");
        body.extend(payload.into_iter().filter(|_| kind == 0));
    }
    fixture.tracker.begin(LIMIT);
    // Told, and left alone for as long as an idle one may stay after that, three times.
    let ends = tokio::time::timeout(4 * LIMIT, until_the_end(&mut read)).await;
    assert!(ends.is_err(), "it was cut amid its answer: {ends:?}");
    write.write_all(&more).await.unwrap();
    let rest = soon("the connection's end", until_the_end(&mut read)).await;
    body.extend(rest.into_iter().filter(|(kind, _)| *kind == 0).flat_map(|(_, payload)| payload));
    assert_eq!(body, b"hello");
    soon("its end", fixture.tracker.emptied()).await;
}

/// A client that has heard the server's SETTINGS.
async fn greeted(fixture: &Fixture) -> TcpStream {
    greeted_with(fixture, &SETTINGS).await
}

/// As [`greeted`], with settings of its own.
async fn greeted_with(fixture: &Fixture, own: &[u8]) -> TcpStream {
    let mut client = fixture.client().await;
    client.send([PREFACE, own].concat()).await;
    let mut settings = [0; 9];
    soon("settings", client.stream.read_exact(&mut settings)).await.unwrap();
    assert_eq!(settings[3], 4);
    let mut payload = vec![0; usize::from(settings[2])];
    soon("settings", client.stream.read_exact(&mut payload)).await.unwrap();
    client.stream
}

async fn until_the_end(read: &mut OwnedReadHalf) -> Vec<(u8, Vec<u8>)> {
    let mut heard = Vec::new();
    while let Some(frame) = frame(read).await {
        heard.push(frame);
    }
    heard
}

/// The kind and payload of the next frame.
async fn frame(read: &mut OwnedReadHalf) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    read.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    read.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}
