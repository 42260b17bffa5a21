//! The load client counts what it sees: one deliberately faulty server for each kind of failure.

#[path = "../support/src/load/mod.rs"]
mod load;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use load::{Expect, Failure, Load, Look, Mode, PATIENCE, Report, Target, Think};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nHello World";
const GOODBYE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\nHello World";

#[test]
fn good_answers_are_not_failures() {
    let report = run(&answer_all(GOOD, usize::MAX), Mode::new_connections(4, Think::NONE));
    report.assert_none_failed();
    assert_eq!((report.reconnects, report.told_to_close), (0, 0));
    assert_eq!(report.bodies.keys().collect::<Vec<_>>(), ["Hello World"]);
    assert_eq!(report.bodies["Hello World"], report.requests);
}

#[test]
fn keep_alive_keeps_one_connection() {
    let (target, connections) = counted(answer_all(GOOD, usize::MAX));
    let load = Load::start(&target, Mode::keep_alive(3, Think::NONE), "/");
    load.wait_for_requests(60);
    load.stop().assert_none_failed();
    assert_eq!(connections(), 3);
}

#[test]
fn refused() {
    // Bound, and not listening: so nobody else gets the port.
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let target = Target::Tcp(bound.local_addr().unwrap().as_socket().unwrap());
    only(Failure::Refused, &run(&target, Mode::new_connections(2, Think::NONE)));
    let target = Target::Unix("/nonexistent/socket".into());
    only(Failure::Refused, &run(&target, Mode::keep_alive(2, Think::NONE)));
}

#[test]
fn reset() {
    let target = server(|stream| {
        // Closing with the request unread makes the kernel send a reset.
        let mut byte = [0];
        let _ = (&stream).read_exact(&mut byte);
    });
    only(Failure::Reset, &run(&target, Mode::new_connections(2, Think::NONE)));
}

#[test]
fn empty() {
    let target = server(|stream| {
        read_request(&stream);
    });
    only(Failure::Empty, &run(&target, Mode::new_connections(2, Think::NONE)));
}

#[test]
fn cut_off() {
    for cut in [&GOOD[..5], &GOOD[..GOOD.len() - 1]] {
        let target = server(move |mut stream| {
            read_request(&stream);
            let _ = stream.write_all(cut);
        });
        only(Failure::CutOff, &run(&target, Mode::new_connections(2, Think::NONE)));
    }
}

#[test]
fn timed_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap());
    let mode = Mode::new_connections(1, Think::NONE);
    let load = Load::start_expecting(&target, mode, "/", Expect::Anything, Duration::from_millis(50));
    load.wait_for_requests(2);
    only(Failure::TimedOut, &load.stop());
}

#[test]
fn bad_answers() {
    for bad in [
        &b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"[..],
        b"SSH-2.0-nothing\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nHi",
    ] {
        only(Failure::BadAnswer, &run(&answer_all(bad, usize::MAX), Mode::keep_alive(2, Think::NONE)));
    }
}

#[test]
fn wrong_body() {
    let target = answer_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nBye", usize::MAX);
    only(Failure::WrongBody, &run(&target, Mode::new_connections(2, Think::NONE)));
}

#[test]
fn told_to_close_is_obeyed() {
    let report = run(&answer_all(GOODBYE, usize::MAX), Mode::keep_alive(2, Think::NONE));
    report.assert_none_failed();
    assert_eq!(report.told_to_close, report.requests);
    assert_eq!(report.reconnects, 0);
}

#[test]
fn a_fin_that_was_seen_is_a_reconnect() {
    // The answer and the FIN come together, and so before the next look.
    let target = server(|mut stream| {
        socket2::SockRef::from(&stream).set_tcp_cork(true).unwrap();
        if read_request(&stream) && stream.write_all(GOOD).is_ok() {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
    });
    let report = run(&target, Mode::keep_alive(2, Think::millis(50, 60)));
    report.assert_none_failed();
    assert!(report.reconnects >= report.requests - 4, "{report}");
}

#[test]
fn a_fin_nobody_looked_for_is_a_failure() {
    let mode = Mode::KeepAlive { clients: 2, think: Think::millis(50, 60), look: Look::Never };
    let report = run(&answer_all(GOOD, 1), mode);
    assert!(report.failed() * 2 >= report.requests - 4, "{report}");
    assert_eq!(report.reconnects, 0);
}

#[test]
fn a_close_between_the_look_and_the_request_is_a_failure() {
    let target = server(|mut stream| {
        read_request(&stream);
        let _ = stream.write_all(GOOD);
        // allow: sleep (closes while the client's next request is on its way)
        std::thread::sleep(Duration::from_millis(50));
    });
    let look = Look::ThenWait(Duration::from_millis(100));
    let mode = Mode::KeepAlive { clients: 2, think: Think::NONE, look };
    let report = run(&target, mode);
    assert!(report.failed() > 0, "{report}");
    assert_eq!(report.failed(), report.count(Failure::Empty) + report.count(Failure::Reset), "{report}");
}

#[test]
fn a_unix_target() {
    let path = std::env::temp_dir().join(format!("heirloom-load-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_request(&stream);
            let _ = stream.write_all(GOODBYE);
        }
    });
    run(&format!("unix:{}", path.display()).parse().unwrap(), Mode::keep_alive(2, Think::NONE))
        .assert_none_failed();
    std::fs::remove_file(&path).unwrap();
}

fn run(target: &Target, mode: Mode) -> Report {
    let load = Load::start_expecting(target, mode, "/", Expect::StartsWith("Hello"), PATIENCE);
    load.wait_for_requests(12);
    load.stop()
}

#[track_caller]
fn only(kind: Failure, report: &Report) {
    let counts = Failure::ALL.map(|kind| (kind, report.count(kind)));
    assert!(report.failed() >= 2, "{report}");
    assert_eq!(report.count(kind), report.failed(), "{counts:?}\n{}", report.samples.join("\n"));
    assert_eq!(report.failed(), report.requests, "{report}");
}

/// Each connection gets a thread that runs `serve`, then closes.
fn server(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Target::Tcp(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve) = (stream.unwrap(), serve.clone());
            std::thread::spawn(move || serve(stream));
        }
    });
    target
}

/// Answers each request with the same bytes, up to `limit` of them on a connection.
fn answer_all(answer: &'static [u8], limit: usize) -> Target {
    server(move |mut stream| {
        for _ in 0..limit {
            if !read_request(&stream) || stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// Puts a counting relay before `target`.
fn counted(target: Target) -> (Target, impl Fn() -> usize) {
    let Target::Tcp(behind) = target else { panic!("TCP only") };
    let count = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let seen = std::sync::Arc::clone(&count);
    let relay = server(move |front| {
        seen.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let back = TcpStream::connect(behind).unwrap();
        let (mut from, mut to) = (back.try_clone().unwrap(), front.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _ = std::io::copy(&mut &front, &mut &back);
        let _ = back.shutdown(std::net::Shutdown::Both);
    });
    (relay, move || count.load(std::sync::atomic::Ordering::Relaxed))
}

fn read_request(mut stream: impl Read) -> bool {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}
