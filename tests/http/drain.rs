//! How each state of a connection is said goodbye to.

use std::time::{Duration, Instant};

use crate::fixture::{Fixture, GET, SECOND, soon};
use bytes::Bytes;
use heirloom::Address;
use heirloom::drain::{ConnectionState, Kind, Tracker};
use heirloom::http::{Config, Peer, Server};
use heirloom::stream::Stream;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// No test that says so waits as long.
const HOUR: Duration = Duration::from_secs(3600);
/// The linger in tests that wait for its end.
const SHORT: Duration = Duration::from_millis(300);

async fn start() -> Fixture {
    Fixture::start(Config::new()).await
}

#[tokio::test]
async fn an_idle_connection_has_its_next_request_answered_with_close() {
    let fixture = start().await;
    let mut client = fixture.client().await;
    assert!(!client.ask(GET).await.says_close());
    fixture.tracker.begin(HOUR);
    let answer = client.ask(GET).await;
    assert!(answer.says_close(), "{answer:?}");
    assert_eq!(answer.body, "hello");
    client.ends().await;
    drop(client);
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn a_connection_that_never_spoke_may_still_ask_during_the_linger() {
    for request in [GET, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello"] {
        let fixture = start().await;
        let mut client = fixture.client().await;
        fixture.tracker.begin(HOUR);
        let answer = client.ask(request).await;
        assert!(answer.says_close() && answer.body == "hello", "{answer:?}");
        client.ends().await;
    }
}

#[tokio::test]
async fn a_request_in_flight_is_answered_with_close() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    fixture.entered().await;
    fixture.tracker.begin(Duration::ZERO);
    assert_eq!(fixture.tracker.snapshot()[0].state, ConnectionState::Busy);
    fixture.stage.release.notify_one();
    let answer = client.answer().await;
    assert!(answer.says_close() && answer.body == "hello", "{answer:?}");
    client.ends().await;
    drop(client);
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn a_response_whose_head_is_out_is_streamed_to_its_end_and_lingers_from_then() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    client.send("GET /stream HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let head = client.head().await;
    fixture.entered().await;
    assert!(!head.contains("close"), "{head}");
    fixture.tracker.begin(SECOND);
    tokio::time::sleep(SECOND + SHORT).await; // allow: sleep (the linger passes while it streams)
    // Before it has ended, so that the linger is over no sooner than this and its length.
    let ends = Instant::now();
    fixture.stage.release.notify_one();
    let mut body = String::new();
    while !body.ends_with("0\r\n\r\n") {
        assert!(client.more().await.unwrap() > 0);
        body = client.buffered();
    }
    assert!(body.contains("first ") && body.contains("last"), "{body:?}");
    client.forget();
    client.ends().await;
    assert!(ends.elapsed() >= SECOND, "closed {:?} after its response", ends.elapsed());
}

#[tokio::test]
async fn a_head_in_part_outlives_the_linger_and_is_answered() {
    let fixture = start().await;
    let (head, rest) = GET.split_at(9);
    let mut first = fixture.client().await;
    first.send(head).await;
    let mut second = fixture.client().await;
    second.ask(GET).await;
    second.send(head).await;
    let mut witness = fixture.client().await;
    fixture
        .until("two heads in part", |tracker| {
            tracker.snapshot().iter().filter(|c| c.state == ConnectionState::ReadingHead).count() == 2
        })
        .await;
    fixture.tracker.begin(SHORT);
    witness.ends().await;
    for client in [&mut first, &mut second] {
        let answer = client.ask(rest).await;
        assert!(answer.says_close() && answer.body == "hello", "{answer:?}");
        client.ends().await;
    }
}

#[tokio::test]
async fn a_preface_of_http2_in_part_outlives_the_linger() {
    let fixture = start().await;
    let mut client = fixture.client().await;
    client.send("PRI * HT").await;
    let mut witness = fixture.client().await;
    fixture.until("a preface in part", |t| t.snapshot()[0].state == ConnectionState::ReadingHead).await;
    fixture.tracker.begin(SHORT);
    witness.ends().await;
    client.send("TP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert!(client.more().await.unwrap() > 9, "settings and goaway");
}

#[tokio::test]
async fn after_the_linger_idle_and_fresh_connections_end_with_a_fin() {
    let fixture = start().await;
    let mut idle = fixture.client().await;
    idle.ask(GET).await;
    let mut posted = fixture.client().await;
    posted.ask("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut fresh = fixture.client().await;
    let begin = Instant::now();
    fixture.tracker.begin(SECOND);
    for client in [&mut idle, &mut posted, &mut fresh] {
        client.ends().await;
        assert!(begin.elapsed() >= SECOND, "{:?}", begin.elapsed());
        client.is_still_heard().await;
    }
    drop((idle, posted, fresh));
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn unread_input_does_not_reset_the_last_answer() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    fixture.entered().await;
    fixture.tracker.begin(HOUR);
    let pipelined = GET.repeat(10_000);
    client.send(&pipelined).await;
    fixture.stage.release.notify_one();
    // The answer and the end are read only after the server has closed, or would have reset.
    fixture
        .until("the server's goodbye", |t| t.snapshot().iter().all(|c| c.state == ConnectionState::Closing))
        .await;
    let answer = client.answer().await;
    assert!(answer.says_close() && answer.body == "hello", "{answer:?}");
    client.ends().await;
    client.is_still_heard().await;
}

#[tokio::test]
async fn a_body_still_on_its_way_after_the_answer_is_not_cut_by_the_linger() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    let answer = client.ask("POST /early HTTP/1.1\r\nhost: x\r\ncontent-length: 6\r\n\r\nabc").await;
    assert_eq!(answer.body, "hello");
    fixture.entered().await;
    let mut witness = fixture.client().await;
    fixture.tracker.begin(SHORT);
    witness.ends().await;
    let body = fixture.stage.kept.lock().unwrap().pop().unwrap();
    client.send("def").await;
    assert_eq!(soon("the body", body.collect()).await.unwrap().to_bytes(), "abcdef");
    client.ends().await;
}

#[tokio::test]
async fn a_head_that_came_with_the_body_before_it_is_found_when_the_linger_ends() {
    let fixture = start().await;
    let mut client = fixture.client().await;
    let (head, rest) = GET.split_at(9);
    let post = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi";
    assert_eq!(client.ask(&format!("{post}{head}")).await.body, "hi");
    let mut plain = fixture.client().await;
    assert_eq!(plain.ask(&format!("{GET}{head}")).await.body, "hello");
    let mut witness = fixture.client().await;
    fixture.tracker.begin(SHORT);
    witness.ends().await;
    for client in [&mut client, &mut plain] {
        fixture
            .until("a head in part", |t| t.snapshot().iter().any(|c| c.state == ConnectionState::ReadingHead))
            .await;
        let answer = client.ask(rest).await;
        assert!(answer.says_close() && answer.body == "hello", "{answer:?}");
        client.ends().await;
    }
}

#[tokio::test]
async fn head_and_continue_are_requests_like_others() {
    let fixture = start().await;
    let mut head = fixture.client().await;
    fixture.tracker.begin(HOUR);
    head.send("HEAD / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.head().await.contains("connection: close\r\n"));
    head.ends().await;

    let mut fixture = start().await;
    let mut upload = fixture.client().await;
    upload.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n").await;
    fixture.entered().await;
    let mut witness = fixture.client().await;
    fixture.tracker.begin(SHORT);
    witness.ends().await;
    assert!(upload.head().await.starts_with("HTTP/1.1 100 "));
    assert_eq!(upload.ask("hi").await.body, "hi");
    upload.ends().await;
}

#[tokio::test]
async fn an_upgraded_connection_counts_until_dropped_and_is_hammered() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    client.send("GET /upgrade HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
    fixture.entered().await;
    fixture.tracker.begin(Duration::ZERO);
    let head = client.head().await;
    assert!(head.starts_with("HTTP/1.1 101") && !head.contains("close"), "{head}");
    client.send("x").await;
    assert_eq!(client.stream.read_u8().await.unwrap(), b'x');
    let left = fixture.tracker.hammer();
    assert_eq!((left.len(), left[0].kind, left[0].state), (1, Kind::Upgraded, ConnectionState::Busy));
    soon("its task to notice", fixture.stage.dropped.notified()).await;
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn the_hammer_aborts_a_waiting_handler_and_reports_it() {
    let mut fixture = start().await;
    let mut client = fixture.client().await;
    client.send("GET /wait HTTP/1.1\r\nhost: x\r\n\r\n").await;
    fixture.entered().await;
    fixture.tracker.begin(HOUR);
    let left = fixture.tracker.hammer();
    assert_eq!((left.len(), left[0].kind, left[0].state), (1, Kind::Http1, ConnectionState::Busy));
    assert_eq!(left[0].peer, Some(Address::Inet(client.stream.local_addr().unwrap())));
    soon("the handler's end", fixture.stage.dropped.notified()).await;
    soon("the drain", fixture.tracker.emptied()).await;
    assert!(matches!(client.more().await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn http2_finishes_its_streams_and_goes() {
    let mut fixture = start().await;
    let stream = fixture.client().await.stream;
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |path| Request::get(format!("http://x{path}")).body(Empty::<Bytes>::new()).unwrap();
    let waiting = client.send_request(request("/wait"));
    fixture.entered().await;
    let found = &fixture.tracker.snapshot()[0];
    assert_eq!((found.kind, found.state), (Kind::Http2, ConnectionState::Busy));
    fixture.tracker.begin(Duration::ZERO);
    fixture.stage.release.notify_one();
    let response = soon("the answer", waiting).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    soon("the client to hear the end", connection).await.unwrap().unwrap();
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn http2_without_streams_goes_at_once_and_with_them_is_hammered() {
    let mut fixture = start().await;
    let mut ends = Vec::new();
    let mut clients = Vec::new();
    for path in ["/", "/wait"] {
        let stream = fixture.client().await.stream;
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        ends.push(tokio::spawn(connection));
        let request = Request::get(format!("http://x{path}")).body(Empty::<Bytes>::new()).unwrap();
        clients.push((tokio::spawn(client.send_request(request)), client));
        fixture.entered().await;
    }
    let (asked, _client) = clients.remove(0);
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    fixture.tracker.begin(HOUR);
    soon("the idle one's end", ends.remove(0)).await.unwrap().unwrap();
    fixture.until("one is left", |tracker| tracker.count() == 1).await;
    let left = fixture.tracker.hammer();
    assert_eq!((left.len(), left[0].kind, left[0].state), (1, Kind::Http2, ConnectionState::Busy));
    soon("the handler's end", fixture.stage.dropped.notified()).await;
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_drain_without_a_lost_request() {
    let fixture = start().await;
    let begun = fixture.tracker.draining();
    let clients: Vec<_> = (0..200)
        .map(|index| {
            let (address, begun) = (fixture.address, begun.clone());
            tokio::spawn(async move {
                let mut client = crate::fixture::Client::connect(address).await;
                // Half of them pound until they are told to close; half speak only once it has begun.
                if index % 2 == 0 {
                    begun.await;
                }
                let mut answered = 0;
                loop {
                    let answer = client.ask(GET).await;
                    assert_eq!(answer.body, "hello");
                    answered += 1;
                    if answer.says_close() {
                        client.ends().await;
                        return answered;
                    }
                }
            })
        })
        .collect();
    fixture.until("all to be connected", |tracker| tracker.count() == 200).await;
    fixture.tracker.begin(HOUR);
    for client in clients {
        assert!(soon("a client", client).await.unwrap() > 0);
    }
    soon("the drain", fixture.tracker.emptied()).await;
}

#[tokio::test]
async fn what_a_hook_adds_to_a_request_is_there_over_http1_and_http2() {
    #[derive(Clone)]
    struct From(String);
    let config = Config::new()
        .on_request(|peer, extensions| {
            let address = peer.address().expect("a client that is there");
            extensions.insert(From(format!("{address} as {}", peer.connection_id())));
        })
        .on_request(|_, extensions| extensions.get_mut::<From>().expect("the first").0.push_str(", seen"))
        .peer(true);
    let who = |from: axum::Extension<From>, peer: axum::Extension<Peer>| async move {
        assert!(from.0.0.starts_with(&peer.address().expect("it was asked before").to_string()));
        from.0.0
    };
    let server = Server::tower(config, axum::Router::new().route("/", axum::routing::get(who)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tracker = Tracker::new();
    let mut client = crate::fixture::Client::connect(listener.local_addr().unwrap()).await;
    let (stream, address) = listener.accept().await.unwrap();
    let connection = tracker.track(Stream::from(stream), Kind::Http1);
    let expected = format!("{address} as {}, seen", connection.id());
    server.spawn(connection);
    for _ in 0..2 {
        assert_eq!(client.ask(GET).await.body, expected);
    }

    let connected = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
    let (stream, accepted) = tokio::join!(connected, listener.accept());
    let (accepted, address) = accepted.unwrap();
    let connection = tracker.track(Stream::from(accepted), Kind::Http1);
    let expected = format!("{address} as {}, seen", connection.id());
    server.spawn(connection);
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream.unwrap()))
            .await
            .unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let answer = client.send_request(Request::get("http://x/").body(Empty::<Bytes>::new()).unwrap());
        let body = soon("an answer", answer).await.unwrap().collect().await.unwrap().to_bytes();
        assert_eq!(body, expected);
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn axums_connect_info_is_the_client() {
    use axum::extract::ConnectInfo;
    use std::net::SocketAddr;

    let who = |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    let router = axum::Router::new().route("/", axum::routing::get(who));
    let server = Server::tower(Config::new().connect_info(), router);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = crate::fixture::Client::connect(listener.local_addr().unwrap()).await;
    let (stream, address) = listener.accept().await.unwrap();
    server.spawn(Tracker::new().track(Stream::from(stream), Kind::Http1));
    assert_eq!(client.ask(GET).await.body, address.to_string());
}

#[tokio::test]
async fn an_axum_router_is_served_as_it_is() {
    let router = axum::Router::new().route(
        "/",
        axum::routing::get(|peer: axum::Extension<Peer>| async move {
            peer.address().map_or_else(String::new, |address| address.to_string())
        }),
    );
    let server = Server::tower(Config::new().peer(true), router);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tracker = Tracker::new();
    let mut client = crate::fixture::Client::connect(listener.local_addr().unwrap()).await;
    let (stream, address) = listener.accept().await.unwrap();
    let serving = tokio::spawn(server.serve(tracker.track(Stream::from(stream), Kind::Http1)));
    assert_eq!(client.ask(GET).await.body, address.to_string());
    client.stream.shutdown().await.unwrap();
    client.ends().await;
    soon("its end", serving).await.unwrap().unwrap();
}
