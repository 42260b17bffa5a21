//! HTTPS connections go on in the successor, and their clients notice nothing.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use heirloom::tls::tokio_rustls::rustls::crypto::ring::default_provider;
use heirloom::tls::tokio_rustls::rustls::version::{TLS12, TLS13};
use heirloom::tls::tokio_rustls::rustls::{CipherSuite, ClientConfig, HandshakeKind};
use support::{Server, Signal, alone, proc};

use super::tls::{REQUEST, Secure, ask, client_of, connect, heard, secure, secure_with, serving};

const SUITES: [CipherSuite; 2] =
    [CipherSuite::TLS13_AES_256_GCM_SHA384, CipherSuite::TLS13_CHACHA20_POLY1305_SHA256];

/// A client that offers one suite of TLS 1.3.
fn only(server: &Server, suite: CipherSuite) -> Arc<ClientConfig> {
    let mut provider = default_provider();
    provider.cipher_suites.retain(|known| known.suite() == suite);
    client_of(server, provider, &[&TLS13])
}

/// Who answers, on a connection that goes on.
fn answered(stream: &mut Secure) -> i32 {
    pid_in(&ask(stream))
}

fn pid_in(answer: &str) -> i32 {
    assert!(!answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    answer.rsplit('\n').next().and_then(|pid| pid.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn g2_clients_keep_their_connections_through_restarts() {
    let _alone = alone();
    let (server, _) = secure();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for number in 0..16 {
            let client = only(&server, SUITES[number % 2]);
            let mut stream = connect(&server, &client).0;
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || {
                for round in number.. {
                    // New keys for its own direction, and an answer that the server owes.
                    if round % 16 == 0 {
                        stream.conn.refresh_traffic_keys().unwrap();
                    }
                    answered(&mut stream);
                    asked.fetch_add(1, Relaxed);
                    if stop.load(Relaxed) {
                        return;
                    }
                }
            });
        }
        let mut pid = server.first_pid;
        for _ in 0..5 {
            (pid, _) = server.replace(pid, Signal::SIGUSR2);
            let before = asked.load(Relaxed);
            while asked.load(Relaxed) < before + 100 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Relaxed);
    });
    println!("{} requests on 16 TLS connections in 5 restarts", asked.into_inner());
}

#[test]
fn two_thousand_idle_connections_through_three_restarts() {
    let _alone = alone();
    let (server, client) = secure();
    let count = proc::affordable(2000);
    let mut streams: Vec<_> = (0..count).map(|_| connect(&server, &client).0).collect();
    let mut pid = server.first_pid;
    for restart in 1..=3 {
        let gone;
        (pid, gone) = server.replace(pid, Signal::SIGUSR2);
        println!("restart {restart}: {count} TLS connections, the old process gone {gone:?} after settling");
        assert!(gone < Duration::from_secs(10), "it waits for none of them");
    }
    for stream in &mut streams {
        assert_eq!(answered(stream), pid);
    }
}

#[test]
fn a_part_of_a_record_goes_along_wherever_it_is_cut() {
    let _alone = alone();
    let (server, _) = secure();
    for suite in SUITES {
        let client = only(&server, suite);
        let mut waiting = Vec::new();
        for cut in [1, 3, 5, 6, 40] {
            let mut stream = connect(&server, &client).0;
            stream.conn.writer().write_all(REQUEST).unwrap();
            let mut record = Vec::new();
            stream.conn.write_tls(&mut record).unwrap();
            stream.sock.write_all(&record[..cut]).unwrap();
            waiting.push((stream, record[cut..].to_vec()));
        }
        let old = serving(&server, &client);
        let (new, _) = server.replace(old, Signal::SIGUSR2);
        for (mut stream, rest) in waiting {
            stream.sock.write_all(&rest).unwrap();
            assert_eq!(pid_in(&heard(&mut stream)), new);
            assert_eq!(answered(&mut stream), new);
        }
    }
}

#[test]
fn a_key_update_that_was_not_answered_is_answered_in_the_successor() {
    let _alone = alone();
    let (server, _) = secure();
    for suite in SUITES {
        let client = only(&server, suite);
        let mut stream = connect(&server, &client).0;
        let mut old = answered(&mut stream);
        for _ in 0..3 {
            // In one process and then in the next: read by the one, and owed.
            stream.conn.refresh_traffic_keys().unwrap();
            stream.flush().unwrap();
            (old, _) = server.replace(old, Signal::SIGUSR2);
            assert_eq!(answered(&mut stream), old);
        }
    }
}

#[test]
fn a_peer_that_breaks_the_rules_harms_its_own_connection_alone() {
    let _alone = alone();
    let (server, client) = secure();
    let mut good = connect(&server, &client).0;
    let mut bad: Vec<_> = (0..3).map(|_| connect(&server, &client).0).collect();
    let (new, _) = server.replace(server.first_pid, Signal::SIGUSR2);
    // Not a record; a record that nobody has sealed; key updates without end.
    bad[0].sock.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    bad[1].sock.write_all(&[&[23, 3, 3, 0, 32][..], &[0; 32]].concat()).unwrap();
    for _ in 0..40 {
        bad[2].conn.refresh_traffic_keys().unwrap();
        // Closed before the last of them, perhaps.
        let _ = bad[2].flush();
    }
    for (stream, told) in bad.iter_mut().zip(["UnexpectedMessage", "BadRecordMac", ""]) {
        let error = stream.read(&mut [0; 1]).expect_err("an alert, or a reset").to_string();
        assert!(error.contains(told), "{error}");
    }
    // Half a record for ever: it moves, and holds up nobody.
    let mut half = connect(&server, &client).0;
    half.sock.write_all(&[23, 3, 3, 0]).unwrap();
    let (newer, _) = server.replace(new, Signal::SIGUSR2);
    assert_eq!(answered(&mut good), newer);
}

#[test]
fn what_cannot_move_is_told_to_close() {
    let _alone = alone();
    let (server, _) = secure();
    let mut aes128 = default_provider();
    aes128.cipher_suites.retain(|known| known.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let clients = [client_of(&server, aes128, &[&TLS13]), client_of(&server, default_provider(), &[&TLS12])];
    assert_told(&server, &clients);
    // What is the server's to choose, can move.
    let client = client_of(&server, default_provider(), &[&TLS13]);
    let stream = connect(&server, &client).0;
    let suite = stream.conn.negotiated_cipher_suite().map(|suite| suite.suite());
    assert_eq!(suite, Some(CipherSuite::TLS13_AES_256_GCM_SHA384));
}

#[test]
fn nothing_moves_where_the_server_says_no() {
    let _alone = alone();
    let (server, client) = secure_with(&["--stay"]);
    assert_told(&server, &[client]);
}

/// Each is answered by the process that it spoke with before, and comes again.
fn assert_told(server: &Server, clients: &[Arc<ClientConfig>]) {
    let old = serving(server, &clients[0]);
    let mut streams: Vec<_> = clients.iter().map(|client| connect(server, client).0).collect();
    let mark = server.mark();
    proc::signal(old, Signal::SIGUSR2);
    server.wait_for_line(mark, "draining");
    for stream in &mut streams {
        let answer = ask(stream).to_ascii_lowercase();
        assert!(answer.contains("connection: close"), "{answer}");
        assert!(answer.ends_with(&format!("\n{old}")), "{answer}");
    }
    server.wait_for_exit(old);
    for client in clients {
        assert_eq!(connect(server, client).1, HandshakeKind::Resumed, "by its ticket");
    }
}

#[test]
fn a_moved_connection_ends_as_any_other() {
    let _alone = alone();
    let (server, client) = secure();
    let mut stream = connect(&server, &client).0;
    let (new, _) = server.replace(server.first_pid, Signal::SIGUSR2);
    stream.conn.writer().write_all(REQUEST).unwrap();
    stream.conn.send_close_notify();
    assert_eq!(pid_in(&heard(&mut stream)), new);
    // And the server says goodbye in TLS too.
    let mut stream = connect(&server, &client).0;
    let (_, _) = server.replace(new, Signal::SIGUSR2);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end that is said");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
