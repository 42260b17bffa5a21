use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use super::*;
use crate::supervisor::making::Words;

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

/// Tells what a worker would tell at `NOTIFY_SOCKET`.
fn tell(prepared: &Prepared) -> UnixDatagram {
    let name = &prepared.environment(None).unwrap()[0].1;
    let sender = UnixDatagram::unbound().unwrap();
    sender.connect(name).unwrap();
    sender
}

/// As the worker with this number.
fn watched(prepared: Prepared, pid: i32) -> Watch {
    watch_and_hear(prepared, pid).0
}

type Extensions = mpsc::UnboundedReceiver<(u64, Duration)>;

fn watch_and_hear(mut prepared: Prepared, pid: i32) -> (Watch, Arc<Heard>, Extensions) {
    let (sender, extensions) = mpsc::unbounded_channel();
    let heard = prepared.hear(pid, 7, sender).unwrap();
    let queues = Queues::new(std::iter::empty(), 7, &Newest::default());
    (prepared.watch(Some(Arc::clone(&heard)), queues).unwrap(), heard, extensions)
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

#[tokio::test]
async fn what_the_driver_heard_first_reaches_the_watch() {
    let prepared = Readiness::Notify.prepare().unwrap();
    let sender = tell(&prepared);
    let (mut watch, heard, _extensions) = watch_and_hear(prepared, own_pid());
    let mut said = std::pin::pin!(next(&mut watch));
    tokio::select! {
        biased;
        said = &mut said => panic!("{said:?}"),
        () = tokio::task::yield_now() => {}
    }
    sender.send(b"READY=1").unwrap();
    // As when another worker has ended: before this runtime has looked at the socket.
    assert!(heard.main().is_none());
    assert!(matches!(said.await, Said::Ready));
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
    let mut watch = watched(prepared, own_pid());
    says_nothing(&mut watch).await;
    sender.send(b"STATUS=loading\nREADY=1\nREADY=1\nSTOPPING=1").unwrap();
    assert!(matches!(next(&mut watch).await, Said::Status(text) if text == "loading"));
    assert!(matches!(next(&mut watch).await, Said::Ready));
    assert!(matches!(next(&mut watch).await, Said::Stopping));
    says_nothing(&mut watch).await;
}

fn child() -> std::process::Child {
    let _guard = crate::sys::alone::starts_processes();
    std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap()
}

/// The driver asks when the worker has ended, whether or not anybody has waited for its words.
#[tokio::test]
async fn the_last_word_of_a_worker_names_its_main_process() {
    let prepared = Readiness::Notify.prepare().unwrap();
    let sender = tell(&prepared);
    let (mut watch, heard, mut extensions) = watch_and_hear(prepared, own_pid());
    let mut main = child();
    sender
        .send(format!("MAINPID={}\nEXTEND_TIMEOUT_USEC=5000\nREADY=1\nMAINPID=1", main.id()).as_bytes())
        .unwrap();
    let named = heard.main().unwrap();
    assert_eq!(named.pid, main.id() as i32);
    assert_eq!(extensions.try_recv().unwrap(), (7, Duration::from_millis(5)));
    assert!(matches!(next(&mut watch).await, Said::Ready), "lost to the watcher");
    assert!(named.alive().is_some());
    drop(main.stdin.take());
    main.wait().unwrap();
    assert!(heard.main().unwrap().alive().is_none());
    sender.send(format!("MAINPID={}", own_pid()).as_bytes()).unwrap();
    assert!(heard.main().is_none(), "it is its own");
}

#[tokio::test]
async fn a_stranger_is_not_heard() {
    let prepared = Readiness::Notify.prepare().unwrap();
    let sender = tell(&prepared);
    // A child of this process: we are not of its family.
    let mut worker = child();
    let mut watch = watched(prepared, worker.id() as i32);
    sender.send(b"READY=1").unwrap();
    says_nothing(&mut watch).await;
    drop(worker.stdin.take());
    worker.wait().unwrap();
}

#[tokio::test]
async fn ready_by_the_clock_or_by_a_word_before() {
    let mut watch = watched(Readiness::After(Duration::ZERO).prepare().unwrap(), own_pid());
    assert!(matches!(next(&mut watch).await, Said::Ready));
    let prepared = Readiness::After(Duration::from_secs(3600)).prepare().unwrap();
    let sender = tell(&prepared);
    let mut watch = watched(prepared, own_pid());
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
    let mut watch = watched(prepared, own_pid());
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
        let mut watch = watched(prepared, own_pid());
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
    let kept = kept_port();
    let address = kept.local_addr().unwrap().as_socket().unwrap();
    let listener = TcpListener::bind(address).unwrap();
    let mut watch = watched(Readiness::Tcp(vec![Address::Inet(address)]).prepare().unwrap(), own_pid());
    assert!(matches!(next(&mut watch).await, Said::Ready));
    drop(listener);
    let mut watch = watched(Readiness::Tcp(vec![Address::Inet(address)]).prepare().unwrap(), own_pid());
    while watch.complaint().is_none() {
        tokio::select! {
            said = watch.next() => panic!("{said:?}"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {} // allow: sleep (lets the check fail once)
        }
    }
    assert!(watch.complaint().unwrap().contains("refused"), "{:?}", watch.complaint());
    let _listener = TcpListener::bind(address).unwrap();
    assert!(matches!(next(&mut watch).await, Said::Ready));
}

/// Bound, and not listening: so nobody else is given it, and the code that asks for it may listen there.
fn kept_port() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket
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
        let mut watch = watched(readiness.prepare().unwrap(), own_pid());
        assert!(matches!(next(&mut watch).await, Said::Ready));
    }
}

#[tokio::test]
async fn an_http_check_asks_at_the_workers_own_socket_until_it_says_yes() {
    let prepared = "http=/up".parse::<Readiness>().unwrap().prepare().unwrap();
    let (listener, address) = prepared.socket().unwrap();
    assert!(address.inet().unwrap().ip().is_loopback());
    let listener = TcpListener::from(listener.try_clone().unwrap());
    let mut watch = watched(prepared, own_pid());
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
