//! Every program in the README and the guide, as it stands there: started, restarted under a request, stopped.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use nix::sys::wait::WaitStatus;
use support::book::{Snippet, pages, snippets};
use support::keep::{Client, request};
use support::load::Target;
use support::{PATIENCE, Server, Setup, Signal, beside_others, proc};

#[test]
fn every_snippet_is_a_whole_program() {
    let all = all();
    assert!(all.len() > 5, "{} snippets", all.len());
    let parts: Vec<_> =
        all.iter().filter(|snippet| !snippet.is_program()).map(|snippet| &snippet.place).collect();
    assert!(parts.is_empty(), "without a main, which rustdoc may hide: {parts:#?}");
}

#[test]
fn every_program_restarts_under_a_request() {
    let _shared = beside_others();
    std::thread::scope(|scope| {
        let running: Vec<_> = all()
            .into_iter()
            .map(|snippet| (snippet.place.clone(), scope.spawn(move || try_out(&snippet))))
            .collect();
        let failed: Vec<_> =
            running.into_iter().filter_map(|(place, tried)| tried.join().is_err().then_some(place)).collect();
        assert!(failed.is_empty(), "{failed:#?}");
    });
}

fn try_out(snippet: &Snippet) {
    let setup = Setup::example(&format!("book-{}", snippet.name)).lines(0);
    let directory = setup.dir().to_owned();
    let setup = setup.directory(&directory);
    let has = |word: &str| snippet.code.contains(word);
    match () {
        () if has(".detached()") => {
            let ended = setup.run();
            assert!(ended.status.success(), "{ended:?}");
        }
        () if has("cert.pem") => {
            let own =
                rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
            std::fs::write(directory.join("cert.pem"), own.cert.pem()).expect("a certificate");
            std::fs::write(directory.join("key.pem"), own.signing_key.serialize_pem()).expect("a key");
            over_tls(&setup.start());
        }
        () if has("Supervisor::new") => supervised(&setup.start()),
        () if has("listener.accept()") => by_itself(&setup.start(), b"hal", b"lo\n", b"lo\n"),
        () => {
            let whole = request("/");
            let (begun, rest) = whole.split_at(whole.len() - 2);
            by_itself(&setup.start(), begun, rest, b"HTTP/1.1 200 OK\r\n");
        }
    }
}

/// A restart between two halves of a request, and an end by TERM.
fn by_itself(server: &Server, begun: &[u8], rest: &[u8], answer: &[u8]) {
    let old = server.first_pid;
    let target = target(&[old]);
    let mut client = Client::connect(&target);
    client.send(begun);
    proc::signal(old, Signal::SIGUSR2);
    let new = server.wait_for_child(old);
    client.send(rest);
    client.read_until(answer);
    drop(client);
    server.wait_for_exit(old);
    let mut client = Client::connect(&target);
    client.send([begun, rest].concat());
    client.read_until(answer);
    drop(client);
    proc::signal(new, Signal::SIGTERM);
    assert!(matches!(server.exit_status(new), WaitStatus::Exited(_, 0)));
}

/// Asked before and after a restart.
fn over_tls(server: &Server) {
    let old = server.first_pid;
    let Target::Tcp(address) = target(&[old]) else { unreachable!("TCP") };
    let asks = || {
        let url = format!("https://{address}/");
        let output =
            Command::new("curl").args(["--silent", "--insecure", "--fail", &url]).output().expect("curl");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "Hello World", "{output:?}");
    };
    asks();
    proc::signal(old, Signal::SIGUSR2);
    let new = server.wait_for_child(old);
    server.wait_for_exit(old);
    asks();
    proc::signal(new, Signal::SIGTERM);
    assert!(matches!(server.exit_status(new), WaitStatus::Exited(_, 0)));
}

/// The same with a parent, whose process id stays.
fn supervised(server: &Server) {
    let parent = server.first_pid;
    let old = server.wait_for_child(parent);
    let target = target(&[parent, old]);
    let whole = request("/");
    let (begun, rest) = whole.split_at(whole.len() - 2);
    let mut client = Client::connect(&target);
    client.send(begun);
    proc::signal(parent, Signal::SIGUSR2);
    server.wait_for_exit(old);
    client.send(rest);
    client.read_until(b"HTTP/1.1 200 OK\r\n");
    assert_eq!(Client::connect(&target).get("/").status, 200);
    proc::signal(parent, Signal::SIGTERM);
    assert!(matches!(server.exit_status(parent), WaitStatus::Exited(_, 0)));
}

/// Where they listen. Nothing tells another process of it.
pub(crate) fn target(pids: &[i32]) -> Target {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ports: BTreeSet<u16> = pids.iter().flat_map(|pid| proc::listens_on(*pid)).collect();
        if let Some(port) = ports.first() {
            return Target::Tcp(([127, 0, 0, 1], *port).into());
        }
        assert!(Instant::now() < deadline, "{pids:?} do not listen");
        // allow: sleep (between two looks into /proc)
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn all() -> Vec<Snippet> {
    pages(Path::new(env!("CARGO_MANIFEST_DIR"))).iter().flat_map(|page| snippets(page)).collect()
}
