//! What a process is handed may be wrong in any way: it says so in one clear line, takes nothing, and is gone.

use std::ffi::OsString;
use std::fs::File;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::forged::{self, Predecessor, hand_down};
use heirloom::handover::announcement::{AnnouncedSocket, MAX_ANNOUNCEMENT};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, bind, socket};
use support::{Ended, Port, Setup, Signal, alone, beside_others, proc};

#[test]
fn an_announced_fd_that_is_closed() {
    let _alone = alone();
    announced(|listener| AnnouncedSocket { fd: 900, ..truth(listener) }, &["fd 900", "not open"]);
    // Where the runtime of the started program opens something of its own; whoever started the tests may have left
    // something there.
    let started = || Setup::hello().by_shell("", "3<&-");
    announced_to(
        started,
        |listener| AnnouncedSocket { fd: 3, ..truth(listener) },
        &["fd 3", "not passed on"],
    );
}

#[test]
fn an_announced_fd_that_is_a_file() {
    let _alone = alone();
    let file = File::open("/dev/null").unwrap();
    hand_down(&file);
    let fd = format!("fd {}", file.as_raw_fd());
    let announce = |listener: &TcpListener| AnnouncedSocket { fd: file.as_raw_fd(), ..truth(listener) };
    announced(announce, &[&fd, "not a socket"]);
}

#[test]
fn an_announced_fd_that_is_a_pipe() {
    let _alone = alone();
    let (reader, _writer) = std::io::pipe().unwrap();
    hand_down(&reader);
    let fd = format!("fd {}", reader.as_raw_fd());
    let announce = |listener: &TcpListener| AnnouncedSocket { fd: reader.as_raw_fd(), ..truth(listener) };
    announced(announce, &[&fd, "not a socket"]);
}

#[test]
fn an_announced_fd_of_another_kind() {
    let _alone = alone();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    hand_down(&udp);
    let fd = format!("fd {}", udp.as_raw_fd());
    let announce = |_: &TcpListener| forged::tcp(&udp, udp.local_addr().unwrap());
    announced(announce, &[&fd, "udp", "tcp"]);
}

#[test]
fn an_announced_fd_at_another_address() {
    let _alone = alone();
    let announce = |listener: &TcpListener| forged::tcp(listener, "127.0.0.1:1");
    announced(announce, &["fd ", "bound to 127.0.0.1:", "127.0.0.1:1 was announced"]);
}

#[test]
fn an_announced_fd_that_does_not_listen() {
    let _alone = alone();
    let bound: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(bound.as_raw_fd(), &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    hand_down(&bound);
    let address = socket2::SockRef::from(&bound).local_addr().unwrap().as_socket().unwrap();
    let fd = format!("fd {}", bound.as_raw_fd());
    announced(|_| forged::tcp(&bound, address), &[&fd, "not listening"]);
}

#[test]
fn an_announced_fd_with_another_sockets_cookie() {
    let _alone = alone();
    let announce =
        |listener: &TcpListener| AnnouncedSocket { cookie: forged::cookie(listener) + 1, ..truth(listener) };
    announced(announce, &["fd ", "another socket lies there"]);
}

#[test]
fn an_announced_pidfd_that_is_none() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let file = File::open("/dev/null").unwrap();
    hand_down(&file);
    let mut announcement = predecessor.announcement();
    announcement.pidfd = file.as_raw_fd();
    let fd = format!("fd {}", file.as_raw_fd());
    started_with(announcement.encode().unwrap()).refused(&[&fd, "pidfd"]);
    announcement.pidfd = 900;
    started_with(announcement.encode().unwrap()).refused(&["fd 900", "pidfd"]);
}

#[test]
fn an_announced_channel_that_is_gone_or_none() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let mut announcement = predecessor.announcement();
    announcement.channel.0 = 900;
    started_with(announcement.encode().unwrap()).refused(&["fd 900", "handover channel"]);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    hand_down(&udp);
    announcement.channel = (udp.as_raw_fd(), forged::cookie(&udp));
    let fd = format!("fd {}", udp.as_raw_fd());
    started_with(announcement.encode().unwrap()).refused(&[&fd, "handover channel"]);
}

#[test]
fn an_announcement_that_cannot_be_read() {
    let _alone = alone();
    let predecessor = Predecessor::new();
    let truth = predecessor.announces(vec![]).into_string().unwrap();
    let refused = |value: OsString, words: &[&str]| drop(started_with(value).refused(words).to_owned());
    refused(OsString::from_vec(vec![b'1', b' ', b'=', 0xff]), &["HEIRLOOM", "malformed"]);
    refused(truth.replace("generation=2", "generation=two").into(), &["HEIRLOOM", "generation=two"]);
    refused(truth.replace("generation=2 ", "").into(), &["HEIRLOOM", "lacks generation"]);
    refused(truth.replacen('1', "2", 1).into(), &["HEIRLOOM", "version 2"]);
    let long = "x".repeat(MAX_ANNOUNCEMENT - truth.len());
    refused(format!("{truth} {long}").into(), &["HEIRLOOM", "the limit is"]);
    let twice = format!("{truth} socket=900/1/tcp//a/b/ socket=900/1/tcp//a/b/");
    refused(twice.into(), &["HEIRLOOM", "fd 900 twice"]);
}

#[test]
fn what_somebody_else_keeps_in_the_variable_is_none_of_ours() {
    let _shared = beside_others();
    let values: [&[u8]; 6] = [b"", b"/srv/heirloom", b"1", b"yes=1", b"1.2 a=b", b"\xff"];
    for value in values {
        let server = Setup::hello().env("HEIRLOOM", OsString::from_vec(value.to_vec())).start();
        assert_eq!(server.generation(), 1);
        server.restart(Signal::SIGHUP);
        assert_eq!(server.generation(), 2, "{value:?}");
    }
}

#[test]
fn an_announcement_that_reached_a_daemon_below_a_supervisor_that_adopts_is_a_dead_string() {
    let _alone = alone();
    // The test is the parent, as whoever adopts orphans is of a daemon. Without the channel the string is for somebody else.
    let predecessor = Predecessor::new();
    let mut announcement = predecessor.announcement();
    announcement.channel.0 = 900;
    announcement.supervised = Some(heirloom::Orphans::Stop);
    announcement.adopts = true;
    let daemon = Setup::hello().env("HEIRLOOM", announcement.encode().unwrap()).start();
    assert_eq!(daemon.generation(), 1);
}

#[test]
fn an_announcement_that_reached_a_grandchild_is_a_dead_string() {
    let _shared = beside_others();
    let server = Setup::hello().args(&["--probation", "50ms"]).start();
    server.restart(Signal::SIGHUP);
    let string = proc::environment(server.pid()).remove("HEIRLOOM").expect("an announcement");
    let grandchild = Setup::hello().env("HEIRLOOM", string).start();
    assert_eq!(grandchild.generation(), 1);
    assert_eq!(server.generation(), 2);
}

#[test]
fn activation_that_makes_no_sense() {
    let _shared = beside_others();
    for value in ["two", "-1", "99999", "4294967296", "3.0"] {
        let set = format!("export LISTEN_PID=$$ LISTEN_FDS={value};");
        Setup::hello().by_shell(&set, "").run().refused(&["LISTEN_FDS", value]);
    }
    Setup::hello().by_shell("export LISTEN_PID=me LISTEN_FDS=1;", "").run().refused(&["LISTEN_PID", "me"]);
}

#[test]
fn activation_for_another_process_is_none_of_ours() {
    let _shared = beside_others();
    for variables in ["LISTEN_PID=1 LISTEN_FDS=1", "LISTEN_PID=1 LISTEN_FDS=two", "LISTEN_FDS=1"] {
        let server = Setup::hello().by_shell(&format!("export {variables};"), "").start();
        assert_eq!(server.generation(), 1);
    }
}

#[test]
fn activation_with_descriptors_that_cannot_serve() {
    let _alone = alone();
    let activated = |after: &str| Setup::hello().by_shell("export LISTEN_PID=$$ LISTEN_FDS=1;", after).run();
    activated("3<&-").refused(&["fd 3", "not passed on"]);
    activated("3</dev/null").refused(&["fd 3", "not a socket"]);
    let bound: OwnedFd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(bound.as_raw_fd(), &nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    hand_down(&bound);
    activated(&format!("3<&{}", bound.as_raw_fd())).refused(&["fd 3", "not listening"]);
    // One more than there are.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    hand_down(&listener);
    let set = "export LISTEN_PID=$$ LISTEN_FDS=2;";
    let after = format!("3<&{} 4<&-", listener.as_raw_fd());
    Setup::hello().by_shell(set, &after).run().refused(&["fd 4", "not passed on"]);
}

#[test]
fn an_address_in_use() {
    let _alone = alone();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap();
    let own = std::process::id().to_string();
    Setup::hello().listen(&address.to_string()).run().refused(&[
        &address.to_string(),
        "in use by process",
        &own,
    ]);
    let wildcard = format!("0.0.0.0:{}", address.port());
    Setup::hello().listen(&wildcard).run().refused(&[&wildcard, "in use by process", &own]);
    // As `main` prints an error that it returns.
    let returned = Setup::example("framework").listen(&address.to_string()).run();
    returned.refused(&["Error: ", &address.to_string(), "is in use by process", &own, "stop it"]);
    // Handed down without a word of whom it is for, as `systemfd --no-pid` does.
    hand_down(&holder);
    let after = format!("3<&{}", holder.as_raw_fd());
    let handed = Setup::hello().listen(&address.to_string()).by_shell("export LISTEN_FDS=1;", &after).run();
    handed.refused(&[&address.to_string(), "in use by this process", "LISTEN_PID"]);
    // The one before it is given back.
    let kept = Port::kept();
    let first = kept.address();
    let ended = Setup::hello().listen(&first).listen(&address.to_string()).run();
    ended.gave_up(&[&address.to_string(), "in use"]);
    assert!(TcpStream::connect(&first).is_err(), "{first} still listens");
    let twice = Setup::hello().listen(&first).listen(&first).run();
    twice.gave_up(&[&first, "in use by this process", "wildcard", "two restarts"]);
    TcpStream::connect(address).expect("the holder is unharmed");
}

#[test]
fn a_unix_path_that_is_a_file() {
    let _shared = beside_others();
    let directory = support::binary::TestDir::new();
    let path = directory.path().join("precious");
    std::fs::write(&path, "precious").unwrap();
    let listen = format!("unix:{}", path.display());
    Setup::hello().listen(&listen).run().refused(&["precious", "not a socket"]);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "something stayed behind");
}

#[test]
fn a_unix_path_of_a_foreign_server() {
    let _shared = beside_others();
    let directory = support::binary::TestDir::new();
    let path = directory.path().join("foreign.sock");
    let foreign = UnixListener::bind(&path).unwrap();
    let listen = format!("unix:{}", path.display());
    Setup::hello().listen(&listen).run().refused(&["foreign.sock", "running"]);
    let _client = UnixStream::connect(&path).expect("the foreign server is unharmed");
    foreign.accept().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "something stayed behind");
}

#[test]
fn a_unix_path_of_our_own_kind() {
    let _shared = beside_others();
    let directory = support::binary::TestDir::new();
    let listen = format!("unix:{}", directory.path().join("own.sock").display());
    let server = Setup::hello().listen(&listen).args(&["--probation", "50ms"]).start();
    let pid = server.restart(Signal::SIGHUP);
    server.wait_for_exit(server.first_pid);
    Setup::hello().listen(&listen).run().refused(&["own.sock", "running"]);
    assert_eq!(server.pid(), pid);
    // Taken over from the dead, whatever it left.
    proc::signal(pid, Signal::SIGKILL);
    server.wait_for_exit(pid);
    let next = Setup::hello().listen(&listen).start();
    assert_eq!(next.pid(), next.first_pid);
}

#[test]
fn arguments_that_hello_does_not_take() {
    let _shared = beside_others();
    let bad = |args: &[&str], words: &[&str]| {
        let ended = Setup::hello().lines(0).args(args).run();
        ended.refused(words);
        assert_eq!(ended.status.code(), Some(2), "{args:?}");
    };
    bad(&["--listen", "127.0.0.1:0", "--colour"], &["--colour"]);
    bad(&["--listen", "127.0.0.1:0", "-x"], &["-x"]);
    bad(&["--listen", "127.0.0.1:0", "extra"], &["extra"]);
    bad(&["--listen"], &["--listen", "missing"]);
    bad(&["--listen", "127.0.0.1:0", "--probation"], &["--probation", "missing"]);
    for option in ["--probation", "--start-timeout", "--drain-timeout", "--init-delay"] {
        bad(&["--listen", "127.0.0.1:0", option, "soon"], &["soon"]);
    }
    bad(&["--listen", "127.0.0.1:0", "--ballast-mib", "many"], &["many"]);
    bad(&["--listen", "127.0.0.1:0", "--ballast-mib", "-1"], &["-1"]);
    bad(&[], &["--listen is missing"]);
    bad(&["--probation", "1s"], &["--listen is missing"]);
}

/// A listener of the test is announced, with one lie. What waits in its queue must still wait there afterwards.
///
/// Only under [`alone`], and so is what is made for it: every process that is started meanwhile inherits that.
fn announced(announce: impl Fn(&TcpListener) -> AnnouncedSocket, words: &[&str]) {
    announced_to(Setup::hello, announce, words);
}

fn announced_to(
    start: impl Fn() -> Setup,
    announce: impl Fn(&TcpListener) -> AnnouncedSocket,
    words: &[&str],
) {
    let predecessor = Predecessor::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    hand_down(&listener);
    let waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let kept = Port::kept();
    let requested = kept.address();
    let value = predecessor.announces(vec![announce(&listener)]);
    start().listen(&requested).env("HEIRLOOM", value).run().refused(words);
    assert!(TcpStream::connect(&requested).is_err(), "{requested} listens");
    listener.set_nonblocking(true).unwrap();
    let (_, from) = listener.accept().expect("the queue is untouched");
    assert_eq!(from, waiting.local_addr().unwrap());
}

fn started_with(announcement: OsString) -> Ended {
    Setup::hello().env("HEIRLOOM", announcement).run()
}

fn truth(listener: &TcpListener) -> AnnouncedSocket {
    forged::tcp(listener, listener.local_addr().unwrap())
}
