//! Programs without a runtime: a thread that blocks in accept stops when its process hands over.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use support::load::Target;
use support::{PATIENCE, Setup, Signal, alone, proc};

#[test]
fn blocking_threads_accept_until_their_process_hands_over() {
    let _alone = alone();
    let server = Setup::example("blocking").listen("127.0.0.1:0").start();
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let mut pids = Vec::new();
    for _ in 0..3 {
        let mut early = connect(address);
        let old: i32 = ask(&mut early).parse().expect("a pid");
        let mark = server.mark();
        proc::signal(old, Signal::SIGUSR2);
        server.wait_for_line(mark, "draining");
        // The one that it holds is served to its end, and a new one is the successor's.
        let new = ask(&mut connect(address));
        assert_eq!(ask(&mut early), format!("last {old}"));
        assert_ne!(new, old.to_string());
        server.wait_for_exit(old);
        pids.push(old);
    }
    pids.dedup();
    assert_eq!(pids.len(), 3);
}

fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).expect("never refused");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    BufReader::new(stream)
}

/// What stands before the line that comes back.
fn ask(connection: &mut BufReader<TcpStream>) -> String {
    connection.get_mut().write_all(b"hello\n").expect("open");
    let mut line = String::new();
    connection.read_line(&mut line).expect("an answer");
    line.strip_suffix(" hello\n").unwrap_or_else(|| panic!("{line:?}")).to_owned()
}
