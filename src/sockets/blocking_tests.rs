use std::net::TcpStream;

use super::*;
use crate::operate::service::Service;
use crate::sockets::listeners::Listeners;
use crate::sys::socket::Kind;

/// A connection, its client, and what tells them to go.
fn connection() -> (BlockingConnection, TcpStream, Tracker) {
    let (listeners, tracker) =
        (Arc::new(Listeners::new(Vec::new(), Arc::new(Service::default()))), Tracker::new());
    let socket = listeners.inherit_or_bind(&"127.0.0.1:0".parse().unwrap(), Kind::Tcp).unwrap();
    let Address::Inet(address) = socket.address else { panic!("a TCP listener") };
    listeners.accept();
    let mut listener = Listener::new(socket, listeners, tracker.clone()).into_blocking().unwrap();
    let client = TcpStream::connect(address).unwrap();
    (listener.accept().unwrap(), client, tracker)
}

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_wait_ends_by_bytes_by_its_timeout_and_by_the_drain() {
    let (mut connection, mut client, tracker) = connection();
    connection.set_read_timeout(Some(MOMENT)).unwrap();
    assert_eq!(connection.wait().unwrap_err().kind(), io::ErrorKind::TimedOut);
    connection.set_read_timeout(None).unwrap();
    client.write_all(b"x").unwrap();
    assert_eq!(connection.wait().unwrap(), Waited::Readable);
    connection.read_exact(&mut [0]).unwrap();
    let waits = std::thread::spawn(move || (connection.wait().unwrap(), connection));
    tracker.begin(Duration::ZERO);
    let (waited, connection) = waits.join().unwrap();
    assert_eq!(waited, Waited::Draining);
    client.write_all(b"x").unwrap();
    poll(&mut [PollFd::new(connection.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    assert_eq!(connection.wait().unwrap(), Waited::Readable, "a request is no idle connection");
}

#[test]
fn a_drain_that_began_before_anybody_listened_is_heard() {
    let tracker = Tracker::new();
    tracker.begin(Duration::ZERO);
    let bell = tracker.bell().unwrap();
    let mut polled = [PollFd::new(bell.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::ZERO).unwrap(), 1);
}

#[test]
fn a_drain_waits_for_the_last_clone_and_a_connection_that_has_one_stays() {
    let (connection, mut client, tracker) = connection();
    let clone = connection.try_clone().unwrap();
    let mut stays = connection.move_on(b"unread".to_vec(), None).unwrap_err();
    drop(clone);
    assert_eq!(tracker.count(), 1);
    client.write_all(b"!").unwrap();
    let mut read = [0; 7];
    stays.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"unread!");
    // Nor is there anybody to go to.
    let mut stays = stays.move_on(b"again".to_vec(), None).unwrap_err();
    stays.read_exact(&mut read[..5]).unwrap();
    assert_eq!(&read[..5], b"again");
    drop(stays);
    assert_eq!(tracker.count(), 0);
}

#[test]
fn a_read_and_a_write_have_their_timeouts() {
    let (mut connection, _client, _tracker) = connection();
    connection.set_read_timeout(Some(MOMENT)).unwrap();
    connection.set_write_timeout(Some(MOMENT)).unwrap();
    assert_eq!(connection.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    // Until the peer's buffer and our own are full.
    let full = (0..10_000).find_map(|_| connection.write(&[0; 65536]).err());
    assert_eq!(full.unwrap().kind(), io::ErrorKind::WouldBlock);
}
