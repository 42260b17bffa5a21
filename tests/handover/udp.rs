//! A datagram that the kernel has taken is answered by some generation: the socket's queue is handed down with it.

use std::collections::BTreeSet;
use std::net::UdpSocket;

use support::load::Target;
use support::{PATIENCE, Setup, Signal, beside_others, proc};

#[test]
fn g1_every_datagram_is_answered_through_five_restarts() {
    let _shared = beside_others();
    let server = Setup::example("udp").listen("127.0.0.1:0").start();
    let Target::Tcp(address) = *server.target() else { panic!("an IP address") };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut sent = 0_u64;
    // One at a time, so that nothing but a restart could lose one: loopback drops what its queue has no room for.
    let mut ask = || {
        sent += 1;
        client.send(sent.to_string().as_bytes()).unwrap();
        let mut answer = [0; 64];
        let length = client.recv(&mut answer).unwrap_or_else(|error| panic!("datagram {sent}: {error}"));
        let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
        let (pid, number) = answer.split_once(' ').unwrap();
        assert_eq!(number, sent.to_string());
        pid.parse::<i32>().unwrap()
    };
    let mut pids = BTreeSet::new();
    for _ in 0..5 {
        let old = ask();
        pids.insert(old);
        let mark = server.mark();
        proc::signal(old, Signal::SIGUSR2);
        while server.lines(mark, "ended").is_empty() {
            ask();
        }
        server.wait_for_exit(old);
        assert_ne!(ask(), old);
    }
    assert_eq!(pids.len(), 5);
    println!("{sent} datagrams, each answered once");
}
