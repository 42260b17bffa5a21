//! The tracker on its own, over in-memory pipes and a clock that only moves when all wait.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::*;
use crate::sys::address::Address;

const SECOND: Duration = Duration::from_secs(1);

fn pipe(tracker: &Tracker, kind: Kind) -> (Connection<DuplexStream>, DuplexStream) {
    let (ours, theirs) = duplex(64);
    (tracker.track_without_fd(ours, kind), theirs)
}

fn limits(header: Duration, keep_alive: Duration, write: Duration) -> Limits {
    Limits::new(Some(header), Some(keep_alive), Some(write), None)
}

/// As the task that drives the connection: waits to be woken because it is overdue.
async fn overdue(entry: &Entry) -> Duration {
    let start = Instant::now();
    let mut registered = None;
    std::future::poll_fn(|cx| {
        entry.drive(&mut registered, cx.waker());
        if entry.is_overdue() || entry.is_stalled() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    start.elapsed()
}

fn is_ready(future: impl Future) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn counts_connections_and_holds_until_the_last_is_dropped() {
    let tracker = Tracker::new();
    assert!(is_ready(tracker.emptied()));
    let (first, _a) = pipe(&tracker, Kind::Raw);
    let (second, _b) = pipe(&tracker, Kind::Raw);
    let hold = tracker.hold();
    let mut emptied = pin!(tracker.emptied());
    assert!(!is_ready(emptied.as_mut()));
    assert_eq!(tracker.count(), 2);
    drop(first);
    assert_eq!(second.id(), 2);
    let inner = second.into_inner();
    assert_eq!(tracker.count(), 0);
    assert!(!is_ready(emptied.as_mut()));
    drop(hold);
    emptied.await;
    drop(inner);
}

#[tokio::test]
async fn signals_resolve_when_their_phase_begins_and_ever_after() {
    let tracker = Tracker::new();
    let (connection, _peer) = pipe(&tracker, Kind::Raw);
    let (early, clone) = (tracker.draining(), tracker.draining().clone());
    let waiting = tokio::spawn(clone);
    let hammered = tracker.hammered();
    assert!(!early.is_raised());
    tracker.begin(SECOND);
    tracker.begin(SECOND);
    waiting.await.unwrap();
    early.await;
    connection.draining().await;
    assert_eq!(tracker.phase(), Phase::Draining);
    assert!(!hammered.is_raised());
    assert_eq!(tracker.hammer().len(), 1);
    hammered.await;
    tracker.begin(SECOND);
    assert_eq!(tracker.phase(), Phase::Hammered);
    assert!(tracker.hammer().is_empty(), "it falls once");
}

#[tokio::test]
async fn the_hammer_wakes_a_pending_read_and_a_pending_write() {
    let tracker = Tracker::new();
    let (reader, _a) = pipe(&tracker, Kind::Raw);
    let (writer, _b) = pipe(&tracker, Kind::Raw);
    let tasks = [
        tokio::spawn(async move {
            let mut reader = reader;
            reader.read_u8().await.map(drop)
        }),
        tokio::spawn(async move {
            let mut writer = writer;
            writer.write_all(&[0; 4096]).await
        }),
    ];
    tokio::task::yield_now().await;
    let aborted = tracker.hammer();
    assert_eq!(aborted.iter().map(|c| c.id).collect::<Vec<_>>(), [1, 2]);
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    }
    tracker.emptied().await;
    let (mut late, _c) = pipe(&tracker, Kind::Raw);
    assert_eq!(late.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_snapshot_tells_who_and_what() {
    let tracker = Tracker::new();
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut connection = tracker.track(ours, Kind::Raw);
    let found = &tracker.snapshot()[0];
    assert_eq!((found.state, found.peer.as_ref()), (ConnectionState::Fresh, Some(&Address::Unnamed)));
    theirs.write_all(b"x").await.unwrap();
    connection.read_u8().await.unwrap();
    let found = &tracker.snapshot()[0];
    assert_eq!((found.id, found.kind, found.state), (1, Kind::Raw, ConnectionState::Busy));
    assert!(found.to_string().starts_with("#1 raw busy from unix:unnamed, "));
}

#[tokio::test(start_paused = true)]
async fn each_limit_fires_at_its_time_and_never_before() {
    let tracker = Tracker::new();
    let (connection, mut peer) = pipe(&tracker, Kind::Http1);
    let entry = connection.entry().clone();
    let mut connection = connection;
    entry.limit(limits(2 * SECOND, 8 * SECOND, 4 * SECOND));
    let within = |limit: Duration, took: Duration| took >= limit && took <= limit + SECOND * 3 / 4;

    assert!(within(8 * SECOND, overdue(&entry).await), "fresh is idle");
    peer.write_all(b"GET").await.unwrap();
    connection.read_exact(&mut [0; 3]).await.unwrap();
    assert!(within(2 * SECOND, overdue(&entry).await), "head");
    entry.enter(Base::Busy);
    assert!(tokio::time::timeout(100 * SECOND, overdue(&entry)).await.is_err(), "busy has no limit");
    let mut noop = Context::from_waker(Waker::noop());
    let pending = tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(&mut connection), &mut noop, &[0; 65]);
    assert!(pending.is_ready());
    let pending = tokio::io::AsyncWrite::poll_write(std::pin::Pin::new(&mut connection), &mut noop, &[0; 65]);
    assert!(pending.is_pending());
    assert!(within(4 * SECOND, overdue(&entry).await), "write");
    peer.read_exact(&mut [0; 64]).await.unwrap();
    connection.write_all(&[0; 1]).await.unwrap();
    assert!(!entry.is_stalled(), "it moved");
    entry.enter(Base::Flushing);
    connection.flush().await.unwrap();
    assert!(within(8 * SECOND, overdue(&entry).await), "idle");
}

#[tokio::test(start_paused = true)]
async fn the_linger_counts_from_the_drain_or_from_the_end_of_the_request() {
    let tracker = Tracker::new();
    let (idle, _a) = pipe(&tracker, Kind::Http1);
    let (busy, _b) = pipe(&tracker, Kind::Http1);
    let keep_alive = limits(SECOND, SECOND * 3600, SECOND);
    idle.entry().limit(keep_alive);
    busy.entry().limit(keep_alive);
    busy.entry().enter(Base::Busy);
    tokio::time::advance(60 * SECOND).await;
    tracker.begin(10 * SECOND);
    let took = overdue(idle.entry()).await;
    assert!(took >= 10 * SECOND && took < 11 * SECOND, "{took:?}");
    assert!(!busy.entry().is_overdue());
    busy.entry().enter(Base::Flushing);
    busy.entry().flushed();
    let took = overdue(busy.entry()).await;
    assert!(took >= 9 * SECOND && took < 11 * SECOND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_second_drain_may_only_shorten_the_linger() {
    let tracker = Tracker::new();
    let (idle, _a) = pipe(&tracker, Kind::Http1);
    let entry = idle.entry();
    entry.limit(Limits::new(None, None, None, None));
    tracker.begin(10 * SECOND);
    tracker.begin(100 * SECOND);
    let took = overdue(entry).await;
    assert!(took >= 10 * SECOND && took < 11 * SECOND, "{took:?}");
    entry.enter(Base::Idle);
    tracker.begin(Duration::ZERO);
    assert!(overdue(entry).await < SECOND / 2);
}

#[tokio::test(start_paused = true)]
async fn what_happened_since_the_sweep_is_not_overdue() {
    let tracker = Tracker::new();
    let (connection, _peer) = pipe(&tracker, Kind::Http1);
    let entry = connection.entry();
    entry.limit(limits(SECOND, SECOND, SECOND));
    overdue(entry).await;
    entry.enter(Base::Busy);
    entry.enter(Base::Flushing);
    entry.flushed();
    assert!(!entry.is_overdue(), "a new idle time began");
}

#[tokio::test(start_paused = true)]
async fn closing_reads_on_until_the_peer_closes_too_or_time_is_up() {
    let tracker = Tracker::new();
    let (connection, mut peer) = pipe(&tracker, Kind::Raw);
    let closing = tokio::spawn(connection.close());
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0, "we said goodbye first");
    peer.write_all(&[1; 1000]).await.unwrap();
    assert!(!closing.is_finished());
    drop(peer);
    closing.await.unwrap().unwrap();

    let (connection, _peer) = pipe(&tracker, Kind::Raw);
    let start = Instant::now();
    connection.close().await.unwrap();
    let took = start.elapsed();
    assert!(took >= 2 * SECOND && took < 3 * SECOND, "{took:?}");

    let (connection, mut peer) = pipe(&tracker, Kind::Raw);
    let flood = tokio::spawn(async move { peer.write_all(&vec![1; 4 << 20]).await });
    connection.close().await.unwrap();
    assert_eq!(flood.await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn the_sweeper_ends_with_the_last_connection_and_comes_back() {
    let tracker = Tracker::new();
    for _ in 0..2 {
        let (connection, _peer) = pipe(&tracker, Kind::Http1);
        connection.entry().limit(limits(SECOND, SECOND, SECOND));
        overdue(connection.entry()).await;
        assert!(tracker.is_sweeping());
        drop(connection);
        tokio::time::advance(SECOND).await;
        tokio::task::yield_now().await;
        assert!(!tracker.is_sweeping());
    }
}
