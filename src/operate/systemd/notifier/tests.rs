use super::*;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

pub(in crate::operate::systemd) fn manager(name: &str) -> (UnixDatagram, Notifier) {
    let name = format!("heirloom-{name}-{}", std::process::id());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    (socket, Notifier::start(OsStr::new(&format!("@{name}")), None).unwrap())
}

pub(in crate::operate::systemd) fn heard(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1000];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[test]
fn messages_come_whole_and_in_order() {
    let (socket, notifier) = manager("order");
    notifier.reloading("one\ntwo");
    notifier.ready("serving");
    notifier.stopping("the end");
    let first = heard(&socket);
    let lines: Vec<_> = first.lines().collect();
    assert_eq!((lines[0], lines[2]), ("RELOADING=1", "STATUS=one two"));
    let now = Duration::from(ClockId::CLOCK_MONOTONIC.now().unwrap());
    let told: u64 = lines[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!(now - Duration::from_micros(told) < Duration::from_secs(60));
    assert_eq!(heard(&socket), "READY=1\nSTATUS=serving");
    assert_eq!(heard(&socket), "STOPPING=1\nSTATUS=the end");
}

#[test]
fn a_new_main_process_is_waited_for() {
    let (socket, notifier) = manager("main-pid");
    let done = notifier.main_pid(4711, Some("serving"));
    assert_eq!(heard(&socket), "MAINPID=4711\nREADY=1\nWATCHDOG=1\nSTATUS=serving");
    // Read without room for its descriptor, the barrier closes it.
    assert_eq!(heard(&socket), "BARRIER=1");
    done.blocking_recv().unwrap();
}

#[test]
fn what_is_taken_out_at_once_does_not_wait_for_what_is_taken_out_later() {
    let (socket, notifier) = manager("discard");
    notifier.discard("later".to_owned(), Duration::from_secs(1));
    notifier.discard("now".to_owned(), Duration::ZERO);
    assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=now");
    assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=later");
}

#[test]
fn what_is_flushed_has_been_sent() {
    let (socket, notifier) = manager("flush");
    notifier.status("the last word");
    notifier.flush();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(heard(&socket), "STATUS=the last word");
}

#[test]
fn time_is_asked_for_piece_by_piece() {
    let (socket, notifier) = manager("extend");
    notifier.extend(Some(Instant::now() + Duration::from_secs(60)));
    assert_eq!(heard(&socket), "EXTEND_TIMEOUT_USEC=10000000");
    notifier.extend(None);
    notifier.status("done");
    assert_eq!(heard(&socket), "STATUS=done");
}

#[test]
fn nobody_who_listens_is_nobody_to_wait_for() {
    let notifier = Notifier::start(OsStr::new("/nowhere/notify"), None).unwrap();
    notifier.ready("serving");
    notifier.main_pid(4711, None).blocking_recv().unwrap();
}
