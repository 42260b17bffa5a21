//! With real sockets on the loopback.

use super::*;
use crate::sys::alone::{await_readable, scratch};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

const ANY_PORT: &str = "127.0.0.1:0";

fn nonblocking(fd: &OwnedFd) -> bool {
    SockRef::from(fd).nonblocking().unwrap()
}

fn inet(fd: &OwnedFd) -> SocketAddr {
    match facts(fd.as_fd()).unwrap().local {
        Address::Inet(address) => address,
        other => panic!("bound to {other}"),
    }
}

#[test]
fn a_tcp_listener_is_what_it_says() {
    for any in [ANY_PORT, "[::1]:0"] {
        let fd = bind_tcp(any.parse().unwrap(), &TcpOptions::default()).unwrap();
        let found = facts(fd.as_fd()).unwrap();
        assert_eq!((found.kind, found.listening), (Kind::Tcp, true));
        let Address::Inet(at) = found.local else { panic!("{}", found.local) };
        assert_ne!(at.port(), 0);
        assert!(nonblocking(&fd));
        let flags = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags, libc::FD_CLOEXEC);
        let client = TcpStream::connect(at).unwrap();
        await_readable(&fd);
        let (served, _) = TcpListener::from(fd).accept().unwrap();
        assert_eq!(peer_of(served.as_fd()), Some(Address::Inet(client.local_addr().unwrap())));
    }
}

#[test]
fn an_address_in_use_is_refused_and_a_shared_one_is_not() {
    let options = TcpOptions::default();
    let fd = bind_tcp(ANY_PORT.parse().unwrap(), &options).unwrap();
    let error = bind_tcp(inet(&fd), &options).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let shared = TcpOptions { reuse_port: true, ..options };
    let first = bind_tcp(ANY_PORT.parse().unwrap(), &shared).unwrap();
    bind_tcp(inet(&first), &shared).unwrap();
    let udp = bind_udp(ANY_PORT.parse().unwrap(), &UdpOptions::default()).unwrap();
    let error = bind_udp(inet(&udp), &UdpOptions::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    let shared = UdpOptions { reuse_port: true, only_v6: None };
    let first = bind_udp(ANY_PORT.parse().unwrap(), &shared).unwrap();
    bind_udp(inet(&first), &shared).unwrap();
}

#[test]
fn only_v6_is_for_v6_only() {
    let v6 = "[::]:0".parse().unwrap();
    for only in [true, false] {
        let socket = open(Domain::IPV6, Type::STREAM, None).unwrap();
        prepare(&socket, v6, false, Some(only)).unwrap();
        assert_eq!(socket.only_v6().unwrap(), only);
        let options = TcpOptions { only_v6: Some(only), ..TcpOptions::default() };
        bind_tcp(ANY_PORT.parse().unwrap(), &options).unwrap();
    }
}

#[test]
fn a_bound_socket_becomes_a_listener() {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&ANY_PORT.parse::<SocketAddr>().unwrap().into()).unwrap();
    let fd = OwnedFd::from(socket);
    assert!(!facts(fd.as_fd()).unwrap().listening);
    listen(fd.as_fd(), 8).unwrap();
    set_nonblocking(fd.as_fd()).unwrap();
    assert!(facts(fd.as_fd()).unwrap().listening && nonblocking(&fd));
}

#[test]
fn unix_listeners_are_found_by_path_and_by_name() {
    let directory = scratch("unix-listeners");
    let path = directory.join("socket");
    let fd = bind_unix(&path).unwrap();
    UnixStream::connect(&path).expect_err("nobody connects before it listens");
    listen(fd.as_fd(), BACKLOG).unwrap();
    let found = facts(fd.as_fd()).unwrap();
    assert_eq!((found.kind, found.listening), (Kind::UnixStream, true));
    assert_eq!(found.local.to_string(), format!("unix:{}", path.display()));
    let client = UnixStream::connect(&path).unwrap();
    assert_eq!(peer_of(client.as_fd()), Some(Address::UnixPath(path.clone())));
    assert_eq!(bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    let long = directory.join("x".repeat(120));
    assert_eq!(bind_unix(&long).unwrap_err().kind(), io::ErrorKind::InvalidInput);

    let name = format!("heirloom-test-{}\0\u{e9}", std::process::id());
    let fd = bind_unix_abstract(name.as_bytes(), BACKLOG).unwrap();
    let found = facts(fd.as_fd()).unwrap();
    assert_eq!(found.local, Address::UnixAbstract(name.clone().into_bytes()));
    assert!(found.local.to_string().starts_with("unix:@heirloom-test-"));
    let at = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    UnixStream::connect_addr(&at).unwrap();
    assert!(nonblocking(&fd));
    for bad in [&b""[..], &[b'x'; 108]] {
        assert_eq!(bind_unix_abstract(bad, 1).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn other_descriptors_are_told_apart() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let number = file.as_raw_fd();
    let error = facts(file.as_fd()).unwrap_err();
    assert!(matches!(error, FactsError::NotASocket { fd } if fd == number));
    let udp = UdpSocket::bind(ANY_PORT).unwrap();
    assert_eq!(facts(udp.as_fd()).unwrap().kind, Kind::Udp);
    let (datagram, _other) = UnixDatagram::pair().unwrap();
    let found = facts(datagram.as_fd()).unwrap();
    assert_eq!(found, Facts { kind: Kind::UnixDatagram, listening: false, local: Address::Unnamed });
    let (channel, _far) = crate::sys::channel::Channel::pair().unwrap();
    assert_eq!(facts(channel.as_fd()).unwrap().kind, Kind::UnixSeqpacket);
    let copy = udp.try_clone().unwrap();
    assert_eq!(cookie(udp.as_fd()).unwrap(), cookie(copy.as_fd()).unwrap());
    assert_ne!(cookie(udp.as_fd()).unwrap(), cookie(datagram.as_fd()).unwrap());
    assert_eq!(cookie(udp.as_fd()).ok(), crate::sys::inherit::peek_cookie(udp.as_raw_fd()));
    assert_eq!(peer_of(udp.as_fd()), None);
}

#[test]
fn what_a_listener_accepts_is_asked_whether_it_is_still_there() {
    let fd = bind_tcp(ANY_PORT.parse().unwrap(), &TcpOptions::default()).unwrap();
    let at = inet(&fd);
    for (silence, asked) in [(Some(0), Some(1)), (Some(30), Some(30)), (None, None)] {
        set_keepalive(fd.as_fd(), silence.map(Duration::from_secs)).unwrap();
        let _client = TcpStream::connect(at).unwrap();
        await_readable(&fd);
        let served = accept(fd.as_fd()).unwrap();
        let served = SockRef::from(&served);
        assert_eq!(served.keepalive().unwrap(), asked.is_some());
        if let Some(asked) = asked {
            assert_eq!(served.tcp_keepalive_time().unwrap(), Duration::from_secs(asked));
            assert_eq!(served.tcp_keepalive_interval().unwrap(), KEEPALIVE_AGAIN);
            assert_eq!(served.tcp_keepalive_retries().unwrap(), KEEPALIVE_TRIES);
        }
    }
}

/// Without CAP_NET_ADMIN nobody can go without a word here, and the options above are all there is to see.
#[test]
fn a_client_that_has_gone_without_a_word_is_noticed() {
    let fd = bind_tcp(ANY_PORT.parse().unwrap(), &TcpOptions::default()).unwrap();
    set_keepalive(fd.as_fd(), Some(KEEPALIVE_LEAST)).unwrap();
    let client = TcpStream::connect(inet(&fd)).unwrap();
    await_readable(&fd);
    let mut served = TcpStream::from(accept(fd.as_fd()).unwrap());
    served.set_nonblocking(false).unwrap();
    served.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the option is an int, and the call reads one.
    let muted = unsafe {
        let (size, on) = (size_of::<libc::c_int>() as libc::socklen_t, (&raw const on).cast());
        libc::setsockopt(client.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_REPAIR, on, size)
    };
    if muted != 0 {
        eprintln!("\n*** SKIPPED: no CAP_NET_ADMIN to close a socket without a word");
        return;
    }
    drop(client);
    let heard = std::io::Read::read(&mut served, &mut [0]).unwrap_err();
    assert_eq!(heard.kind(), io::ErrorKind::ConnectionReset);
}
