//! Upgraded connections: counted until they end, told in time to say goodbye, and held to a deadline of their own.

use std::net::TcpStream;

use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, alone, proc};
use tungstenite::protocol::WebSocket;
use tungstenite::{Message, client};

#[test]
fn a_websocket_hears_goodbye_and_comes_again() {
    let _alone = alone();
    let server = Setup::example("websocket").listen("127.0.0.1:0").start();
    let mut socket = connect(&server, "/");
    let mut answered_in_probation = 0;
    for _ in 0..3 {
        let old = ask(&mut socket);
        let mark = server.mark();
        proc::signal(old, Signal::SIGUSR2);
        // Still served on probation, by the process that has it; unless this machine is slower than that is long.
        server.wait_for_line(mark, "accepting");
        socket.send(Message::text("hello")).expect("open");
        let frame = loop {
            match socket.read().expect("open until the goodbye") {
                Message::Close(frame) => break frame.expect("a reason"),
                Message::Text(text) if *text == *"hello" => (),
                Message::Text(pid) => {
                    assert_eq!(*pid, *old.to_string());
                    answered_in_probation += 1;
                }
                other => panic!("{other}"),
            }
        };
        server.wait_for_line(mark, "draining");
        assert_eq!(u16::from(frame.code), 1001);
        // Answers with its own close frame.
        while socket.read().is_ok() {}
        server.wait_for_exit(old);
        socket = connect(&server, "/");
        assert_ne!(ask(&mut socket), old);
    }
    assert!(answered_in_probation > 0);
}

#[test]
fn g5_a_websocket_that_does_not_listen_is_held_to_its_own_deadline() {
    let _alone = alone();
    let server = Setup::example("websocket").listen("127.0.0.1:0").args(&["--upgraded", "300ms"]).start();
    let mut socket = connect(&server, "/deaf");
    let mark = server.mark();
    proc::signal(server.first_pid, Signal::SIGUSR2);
    let line = server.wait_for_line(mark, "aborted connection");
    assert!(line.contains("upgraded"), "{line}");
    assert!(socket.read().is_err(), "cut");
    server.wait_for_exit(server.first_pid);
    assert!(matches!(server.exit_status(server.first_pid), nix::sys::wait::WaitStatus::Exited(_, 124)));
}

fn connect(server: &Server, path: &str) -> WebSocket<TcpStream> {
    let Target::Tcp(address) = *server.target() else { panic!("a TCP listener") };
    let stream = TcpStream::connect(address).expect("accepting");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client(format!("ws://{address}{path}"), stream).expect("a WebSocket").0
}

/// The process that answers.
fn ask(socket: &mut WebSocket<TcpStream>) -> i32 {
    socket.send(Message::text("hello")).expect("open");
    assert_eq!(socket.read().expect("an echo"), Message::text("hello"));
    socket.read().expect("a pid").to_text().expect("text").parse().expect("a pid")
}
