//! A framework that accepts by itself, in `Restarter::run_with`.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::keep::{Client, request};
use support::load::{Mode, Think};
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc};

#[test]
fn g2_what_a_framework_has_in_flight_is_answered_through_restarts() {
    let _shared = beside_others();
    let server = start(&[]);
    let mut pid = server.first_pid;
    for _ in 0..3 {
        let mut clients: Vec<_> = (0..5).map(|_| waiting(&server)).collect();
        let (next, _) = server.replace(pid, Signal::SIGUSR2);
        for client in &mut clients {
            assert_eq!(client.answer().body, pid.to_string());
        }
        pid = next;
    }
    let mut client = waiting(&server);
    proc::signal(pid, Signal::SIGTERM);
    assert_eq!(client.answer().body, pid.to_string());
    server.wait_for_exit(pid);
}

#[test]
fn g2_what_heirloom_lends_to_a_framework_loses_nothing() {
    let _shared = beside_others();
    let server = start(&["--lent"]);
    let new = server.load(Mode::new_connections(8, Think::millis(0, 5)));
    let kept = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    let mut pid = server.first_pid;
    for _ in 0..5 {
        let mut client = waiting(&server);
        let (next, _) = server.replace(pid, Signal::SIGUSR2);
        assert_eq!(client.answered_pid(), pid);
        client.moves_to(next);
        pid = next;
    }
    for load in [new, kept] {
        let report = load.stop();
        println!("{report}   (5 restarts)");
        report.assert_none_failed();
        assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    }
}

#[test]
fn g2_a_framework_is_not_told_to_stop_before_its_clients_are() {
    let _shared = beside_others();
    let server = start(&["--lent"]);
    let mut busy = waiting(&server);
    let mut idle = Client::connect(server.target());
    let mut silent = Client::connect(server.target());
    idle.pid();
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGTERM);
    server.wait_for_line(mark, "draining");
    // It has begun to drain, and each connection knows of it soon.
    assert_eq!(idle.told_to_close("/pid").body, server.first_pid.to_string());
    idle.wait_for_close();
    let answer = busy.answer();
    assert!(answer.closes && answer.body == server.first_pid.to_string(), "{answer:?}");
    busy.wait_for_close();
    silent.wait_for_close();
    server.wait_for_exit(server.first_pid);
}

#[test]
fn g2_clients_of_http2_go_before_the_hammer_though_their_server_is_told_nothing() {
    let _shared = beside_others();
    let server = start(&["--deaf"]);
    let (pid, address) = (server.first_pid, server.target().to_string());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let all = async {
        let mut clients = Vec::new();
        for path in ["/pid", "/drained"] {
            let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
            let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (mut requests, connection) = handshake.await.unwrap();
            let connection = tokio::spawn(connection);
            let ask =
                |path| Request::get(format!("http://{address}{path}")).body(Empty::<Bytes>::new()).unwrap();
            // When this is answered, what is asked behind it may be on its way.
            requests.send_request(ask("/pid")).await.unwrap();
            let last = requests.send_request(ask(path));
            clients.push((requests, connection, tokio::spawn(last)));
        }
        let mark = server.mark();
        proc::signal(pid, Signal::SIGTERM);
        for (_requests, connection, last) in clients {
            let answer = last.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(answer, pid.to_string());
            connection.await.unwrap().unwrap();
        }
        mark
    };
    let mark = runtime.block_on(async { tokio::time::timeout(PATIENCE, all).await }).expect("they go");
    server.wait_for_exit(pid);
    assert_eq!(server.lines(mark, "hammer"), Vec::<String>::new());
}

#[test]
fn a_framework_knows_whose_connection_it_was_lent() {
    let _shared = beside_others();
    let server = start(&["--lent"]);
    let mut client = Client::connect(server.target());
    let before = client.get("/who").body;
    assert!(before.starts_with("127.0.0.1:"), "{before}");
    server.replace(server.first_pid, Signal::SIGUSR2);
    assert_eq!(client.get("/who").body, before);
}

#[test]
fn who_serves_without_a_word_is_told() {
    let _shared = beside_others();
    let server = start(&["--serve-first"]);
    assert_eq!(server.pid(), server.first_pid, "it does serve");
    server.wait_for_line(0, "never said that it is ready");
}

#[test]
fn a_loop_that_ends_by_itself_stops_the_service_and_one_that_fails_is_told() {
    let _shared = beside_others();
    let ended = Setup::example("framework").listen("127.0.0.1:0").args(&["--ends"]).run();
    assert!(ended.stderr.contains("has ended by itself"), "{}", ended.stderr);
    let failed = Setup::example("framework").listen("127.0.0.1:0").args(&["--fails"]).run();
    assert!(failed.stderr.contains("no accept loop today"), "{}", failed.stderr);
}

fn start(args: &[&str]) -> Server {
    Setup::example("framework").listen("127.0.0.1:0").args(args).start()
}

/// A client whose request has arrived, with one answered before it in the same write.
fn waiting(server: &Server) -> Client {
    let mut client = Client::connect(server.target());
    client.send([request("/pid"), request("/drained")].concat());
    client.answered_pid();
    client
}
