use std::future::Future;
use std::net::TcpStream;
use std::task::{Context, Waker};
use std::time::Instant;

use super::*;
use crate::handover::serving::EMPTYING;
use crate::operate::service::Service;

/// A listener that may accept, on a port of its own.
fn open() -> (Arc<Listeners>, Tracker, Listener) {
    let (listeners, tracker) =
        (Arc::new(Listeners::new(Vec::new(), Arc::new(Service::default()))), Tracker::new());
    let listen = "127.0.0.1:0".parse().unwrap();
    let socket = listeners.inherit_or_bind(&listen, Kind::Tcp).unwrap();
    listeners.accept();
    (listeners.clone(), tracker.clone(), Listener::new(socket, listeners, tracker))
}

fn connect(listener: &Listener) -> TcpStream {
    let Address::Inet(address) = listener.address else { panic!("a TCP listener") };
    TcpStream::connect(address).unwrap()
}

/// The driver hands everything to a successor and drains.
fn hand_over(listeners: &Listeners, tracker: &Tracker) {
    listeners.hand_over(&listeners.open(), &[]);
    tracker.begin(Duration::ZERO);
}

/// Whether the driver would let the process go now.
fn may_end(listeners: &Listeners, tracker: &Tracker) -> bool {
    let drained = std::pin::pin!(listeners.drained(tracker, Instant::now() + EMPTYING));
    drained.poll(&mut Context::from_waker(Waker::noop())).is_ready()
}

#[tokio::test]
async fn g2_a_connection_holds_the_drain_from_before_it_is_taken() {
    let (listeners, tracker, listener) = open();
    let socket = listener.socket.clone().unwrap();
    let is_open = || *socket.gate.borrow() == Gate::Open;
    // The thread of the accept loop has looked at the gate, and loses its processor: the process hands over.
    let taken = hold_and_take(&tracker, is_open, || {
        hand_over(&listeners, &tracker);
        assert!(!may_end(&listeners, &tracker), "a connection is on its way from accept(2)");
        Ok(())
    });
    let (_, hold) = taken.unwrap().expect("the gate was open");
    assert!(!may_end(&listeners, &tracker));
    drop(hold);
    assert!(may_end(&listeners, &tracker));
    // Too late: it does not even touch the queue.
    assert!(hold_and_take(&tracker, is_open, || -> io::Result<()> { panic!("taken") }).unwrap().is_none());
    assert!(may_end(&listeners, &tracker));
}

#[tokio::test]
async fn g2_a_connection_holds_the_drain_until_it_is_tracked() {
    let (listeners, tracker, mut listener) = open();
    let _client = connect(&listener);
    let newcomer = listener.accept_once().await.unwrap().unwrap();
    hand_over(&listeners, &tracker);
    assert_eq!(tracker.count(), 0);
    assert!(!may_end(&listeners, &tracker), "accepted, and not tracked yet");
    let connection = listener.track(newcomer);
    assert!(!may_end(&listeners, &tracker));
    drop(connection);
    assert!(listener.accept().await.is_none());
    assert!(may_end(&listeners, &tracker));
}

#[tokio::test]
async fn g2_a_moved_connection_holds_the_drain_until_it_is_tracked() {
    let (listeners, tracker, mut listener) = open();
    let client = connect(&listener);
    let mut moved = vec![Arrival { fd: client.into(), handed: Along::default(), hold: tracker.hold() }];
    listeners.arrive(listener.cookie, std::mem::take(&mut moved), || Ok(())).unwrap();
    hand_over(&listeners, &tracker);
    assert!(!may_end(&listeners, &tracker), "in the queue of the accept loop");
    let newcomer = listener.accept_once().await.unwrap().unwrap();
    assert!(!may_end(&listeners, &tracker), "out of it, and not tracked yet");
    let connection = listener.track(newcomer);
    assert!(!may_end(&listeners, &tracker));
    drop(connection);
    assert!(may_end(&listeners, &tracker));
}

#[tokio::test]
async fn g1_a_queue_that_is_ours_alone_holds_the_drain() {
    let (listeners, tracker, mut listener) = open();
    let _client = connect(&listener);
    // The successor did not ask for it.
    listeners.hand_over(&listeners.open(), &[0]);
    tracker.begin(Duration::ZERO);
    assert!(!may_end(&listeners, &tracker), "the accept loop has not come round to it yet");
    let connection = listener.accept().await.expect("what waited in the queue");
    assert!(!may_end(&listeners, &tracker));
    assert!(listener.accept().await.is_none());
    drop(connection);
    assert!(may_end(&listeners, &tracker));
}

#[tokio::test(start_paused = true)]
async fn g5_an_accept_loop_that_never_comes_round_holds_no_drain_for_ever() {
    let (listeners, tracker, _listener) = open();
    listeners.hand_over(&listeners.open(), &[0]);
    let began = tokio::time::Instant::now();
    listeners.drained(&tracker, (began + EMPTYING).into_std()).await;
    assert!(began.elapsed() >= EMPTYING);
}

/// Not at the first restart: nobody is looking then.
#[test]
fn more_than_can_be_handed_down_is_found_out_when_it_is_listened_on() {
    use crate::sockets::listen::Listen;
    use crate::sockets::listen_error::ListenError;

    let listeners = Listeners::new(Vec::new(), Arc::new(Service::default()));
    let long =
        |port: u8| "127.0.0.1:0".parse::<Listen>().unwrap().name(format!("{port}{}", "n".repeat(20_000)));
    let bind = |listen: Listen| listeners.inherit_or_bind(&listen, Kind::Tcp);
    (0..4).for_each(|port| drop(bind(long(port)).unwrap()));
    let error = bind(long(4)).unwrap_err();
    assert!(matches!(error, ListenError::TooMany { listeners: 4, .. }), "{error}");
    assert_eq!(listeners.open().len(), 4);
    bind("127.0.0.1:0".parse().unwrap()).expect("one with a short name has room");
}

#[test]
fn the_path_of_a_unix_socket_has_its_mode_whatever_the_umask() {
    use crate::sockets::listen::Listen;
    use crate::sockets::listen_error::ListenError;
    use std::os::unix::fs::MetadataExt;

    let directory = crate::sys::alone::scratch("mode");
    let listeners = Listeners::new(Vec::new(), Arc::new(Service::default()));
    for mode in [0o600, 0o666, 0o777] {
        let path = directory.join(format!("{mode:o}"));
        let listen = Listen::new(Address::UnixPath(path.clone())).mode(mode);
        listeners.inherit_or_bind(&listen, Kind::UnixStream).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, mode);
    }
    let nobody = |path: &str| Listen::new(Address::UnixPath(directory.join(path))).owner(1).group(1);
    if nix::unistd::geteuid().is_root() {
        listeners.inherit_or_bind(&nobody("given"), Kind::UnixStream).unwrap();
        let found = std::fs::metadata(directory.join("given")).unwrap();
        assert_eq!((found.uid(), found.gid()), (1, 1));
    } else {
        let error = listeners.inherit_or_bind(&nobody("kept"), Kind::UnixStream).unwrap_err();
        assert!(matches!(error, ListenError::Access { .. }), "{error}");
        assert!(!directory.join("kept").exists() && !directory.join("kept.lock").exists());
    }
    let tcp = "127.0.0.1:0".parse::<Listen>().unwrap().mode(0o600);
    let error = listeners.inherit_or_bind(&tcp, Kind::Tcp).unwrap_err();
    assert!(matches!(error, ListenError::Access { .. }), "{error}");
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn of_a_name_s_addresses_the_first_that_is_there_is_bound() {
    use crate::sockets::listen::Listen;
    use crate::sockets::listen_error::ListenError;

    let listeners = Listeners::new(Vec::new(), Arc::new(Service::default()));
    // The first is for documentation: no machine has it.
    let [nowhere, here] = ["192.0.2.1:0", "127.0.0.1:0"].map(|text| Address::Inet(text.parse().unwrap()));
    let listen = Listen { alternatives: vec![here.clone()], ..Listen::new(nowhere.clone()) };
    let bound = listeners.inherit_or_bind(&listen, Kind::Tcp).unwrap();
    let Address::Inet(address) = bound.address else { panic!("a TCP listener") };
    assert!(address.ip().is_loopback());
    let error = listeners.inherit_or_bind(&Listen::new(nowhere), Kind::Tcp).unwrap_err();
    assert!(
        matches!(&error, ListenError::Bind { address, .. } if address.to_string() == "192.0.2.1:0"),
        "{error}"
    );
    // One that is in use is somebody's: its clients would be theirs.
    let listen = Listen { alternatives: vec![here], ..Listen::new(bound.address.clone()) };
    let error = listeners.inherit_or_bind(&listen, Kind::Tcp).unwrap_err();
    assert!(matches!(error, ListenError::InUse { .. }), "{error}");
}
