use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

/// Tells what a worker would tell at `NOTIFY_SOCKET`.
fn tell(prepared: &Prepared) -> UnixDatagram {
    let name = &prepared.environment(None).unwrap()[0].1;
    let name = name.as_bytes().strip_prefix(b"@").unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap()).unwrap();
    sender
}

fn own_pid() -> i32 {
    std::process::id() as i32
}

/// What a test waits for comes at once, or the machine is very busy, or never.
async fn next(watch: &mut Watch) -> Said {
    tokio::time::timeout(Duration::from_secs(60), watch.next()).await.expect("nothing was said in time")
}

async fn says_nothing(watch: &mut Watch) {
    tokio::select! {
        biased;
        said = watch.next() => panic!("{said:?}"),
        () = tokio::task::yield_now() => {}
    }
}

#[test]
fn ways_that_are_none_are_refused() {
    for text in
        ["", "notify=1", "fd=x", "after=", "after=1h", "http=", "http=127.0.0.1:80", "http=/a b", "tcp=80"]
    {
        text.parse::<Readiness>().expect_err(text);
    }
    assert_eq!("after=250ms".parse::<Readiness>().unwrap(), Readiness::After(Duration::from_millis(250)));
    assert_eq!("after=2".parse::<Readiness>().unwrap(), Readiness::After(Duration::from_secs(2)));
}

#[test]
fn a_check_that_the_old_worker_would_answer_is_refused() {
    let shared = [inet("0.0.0.0:80"), inet("127.0.0.1:81"), Address::UnixPath("/run/a".into())];
    for text in ["tcp=127.0.0.1:80", "http=127.0.0.1:81/", "tcp=unix:/run/a", "tcp=0.0.0.0:81"] {
        let error = text.parse::<Readiness>().unwrap().check(&shared).unwrap_err().to_string();
        assert!(error.contains("http=/path"), "{error}");
    }
    for text in ["tcp=127.0.0.1:82", "http=127.0.0.2:81/", "tcp=unix:/run/b", "http=/", "notify"] {
        text.parse::<Readiness>().unwrap().check(&shared).unwrap();
    }
}

#[tokio::test]
async fn what_a_worker_notifies_is_heard_in_order_and_ready_once() {
    let prepared = Readiness::Notify.prepare().unwrap();
    let sender = tell(&prepared);
    let mut watch = prepared.watch(own_pid()).unwrap();
    says_nothing(&mut watch).await;
    let main = format!("STATUS=loading\nREADY=1\nMAINPID={}\nMAINPID=1\nREADY=1\nSTOPPING=1", own_pid());
    sender.send(main.as_bytes()).unwrap();
    assert!(matches!(next(&mut watch).await, Said::Status(text) if text == "loading"));
    assert!(matches!(next(&mut watch).await, Said::Ready));
    assert!(matches!(next(&mut watch).await, Said::MainPid(pid) if pid == own_pid()));
    assert!(matches!(next(&mut watch).await, Said::Stopping));
    says_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_stranger_is_not_heard() {
    let prepared = Readiness::Notify.prepare().unwrap();
    let sender = tell(&prepared);
    // A child of this process: we are not of its family.
    let start = || {
        let _guard = crate::sys::alone::starts_processes();
        std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut worker = start();
    let mut watch = prepared.watch(worker.id() as i32).unwrap();
    sender.send(b"READY=1").unwrap();
    says_nothing(&mut watch).await;
    drop(worker.stdin.take());
    worker.wait().unwrap();
}

#[tokio::test]
async fn ready_by_the_clock_or_by_a_word_before() {
    let mut watch = Readiness::After(Duration::ZERO).prepare().unwrap().watch(own_pid()).unwrap();
    assert!(matches!(next(&mut watch).await, Said::Ready));
    let prepared = Readiness::After(Duration::from_secs(3600)).prepare().unwrap();
    let sender = tell(&prepared);
    let mut watch = prepared.watch(own_pid()).unwrap();
    says_nothing(&mut watch).await;
    sender.send(b"READY=1").unwrap();
    assert!(matches!(next(&mut watch).await, Said::Ready));
    sender.send(b"READY=1\nSTATUS=again").unwrap();
    assert!(matches!(next(&mut watch).await, Said::Status(_)), "ready twice");
}

#[tokio::test]
async fn a_word_does_not_do_where_something_else_is_asked_for() {
    let prepared = "http=/".parse::<Readiness>().unwrap().prepare().unwrap();
    let sender = tell(&prepared);
    let mut watch = prepared.watch(own_pid()).unwrap();
    sender.send(b"READY=1\nSTATUS=booted").unwrap();
    assert!(matches!(next(&mut watch).await, Said::Status(_)));
    says_nothing(&mut watch).await;
}

#[tokio::test]
async fn a_line_is_ready_and_an_end_without_one_is_not() {
    for (words, is_ready) in [(&b"anything\n"[..], true), (b"\n", true), (b"no line", false), (b"", false)] {
        let prepared = Readiness::Line(Some(9)).prepare().unwrap();
        let (writer, chosen) = prepared.line().unwrap();
        assert_eq!(chosen, Some(9));
        let mut writer = std::fs::File::from(writer.try_clone().unwrap());
        let variables = prepared.environment(Some(9)).unwrap();
        assert!(variables.contains(&("HEIRLOOM_READY_FD".into(), "9".into())));
        let mut watch = prepared.watch(own_pid()).unwrap();
        says_nothing(&mut watch).await;
        writer.write_all(words).unwrap();
        drop(writer);
        match next(&mut watch).await {
            Said::Ready => assert!(is_ready, "{words:?}"),
            Said::Never(NotReady::Closed) => assert!(!is_ready, "{words:?}"),
            said => panic!("{said:?}"),
        }
    }
}

#[tokio::test]
async fn a_port_is_ready_when_it_is_open() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut watch = Readiness::Tcp(vec![Address::Inet(address)]).prepare().unwrap().watch(own_pid()).unwrap();
    assert!(matches!(next(&mut watch).await, Said::Ready));
    drop(listener);
    let mut watch = Readiness::Tcp(vec![Address::Inet(address)]).prepare().unwrap().watch(own_pid()).unwrap();
    while watch.complaint().is_none() {
        tokio::select! {
            said = watch.next() => panic!("{said:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {} // allow: sleep (lets the check fail once)
        }
    }
    assert!(watch.complaint().unwrap().contains("refused"), "{:?}", watch.complaint());
    // The same port again: nobody else had it meanwhile, or this fails to bind.
    let _listener = TcpListener::bind(address).unwrap();
    assert!(matches!(next(&mut watch).await, Said::Ready));
}

#[tokio::test]
async fn of_a_names_addresses_any_will_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap();
    // The same host by another of its addresses, where nobody listens.
    let refused = SocketAddr::from(([127, 0, 0, 2], open.port()));
    for addresses in [[refused, open], [open, refused]] {
        let readiness = Readiness::Tcp(addresses.map(Address::Inet).to_vec());
        assert!(readiness.check(&[Address::Inet(open)]).is_err(), "one that all workers share is among them");
        let mut watch = readiness.prepare().unwrap().watch(own_pid()).unwrap();
        assert!(matches!(next(&mut watch).await, Said::Ready));
    }
}

#[tokio::test]
async fn an_http_check_asks_at_the_workers_own_socket_until_it_says_yes() {
    let prepared = "http=/up".parse::<Readiness>().unwrap().prepare().unwrap();
    let (listener, address) = prepared.socket().unwrap();
    assert!(address.inet().unwrap().ip().is_loopback());
    let listener = TcpListener::from(listener.try_clone().unwrap());
    let mut watch = prepared.watch(own_pid()).unwrap();
    let worker = std::thread::spawn(move || {
        for answer in
            ["", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "hello\n", "HTTP/1.0 204 No Content\r\n\r\n"]
        {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /up HTTP/1.1\r\nHost: "));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    assert!(matches!(next(&mut watch).await, Said::Ready));
    worker.join().unwrap();
    assert!(watch.complaint().unwrap().contains("hello"), "{:?}", watch.complaint());
}
