//! `heirloom prove` finds what a server loses, and nothing in one that loses nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use support::beside::is_installed;
use support::operator::{Said, code, heirloom};
use support::programs::example_path;
use support::run::foreign;
use support::{Port, TestDir, beside_others};

#[test]
fn nothing_is_found_in_a_server_that_loses_nothing() {
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let (junit, svg) = (dir.path().join("report.xml"), dir.path().join("report.svg"));
    let files = ["--junit", &junit.display().to_string(), "--svg", &svg.display().to_string()];
    let hello = example_path("hello").display().to_string();
    let slow = ["--slow", "/sleep?duration=300ms"];
    let server = ["--", &hello, "--listen", &port.address(), "--probation", "300ms"];
    let said = prove(
        &port,
        &[&["--restarts", "3", "--pause", "200ms"], &slow[..], &files[..], &server[..]].concat(),
    );
    let said = said.is(code::DONE, &["Nothing was lost."]);
    assert!(
        said.stdout.contains("3 restarts of http://127.0.0.1:") && !said.stdout.contains("left out"),
        "{said:#?}"
    );
    let (junit, svg) = (fs::read_to_string(junit).unwrap(), fs::read_to_string(svg).unwrap());
    assert!(junit.contains("failures=\"0\"") && junit.contains("name=\"restart 3\""), "{junit}");
    assert!(
        svg.contains("old is gone") && svg.matches("<circle").count() > 100 && !svg.contains("#c22"),
        "{svg}"
    );
}

#[test]
fn over_tls_as_well_and_of_every_protocol() {
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let (cert, key) = (cert.display().to_string(), key.display().to_string());
    let url = format!("https://{}/pid", port.address());
    let live = example_path("live").display().to_string();
    let log = dir.path().join("log").display().to_string();
    let options = ["prove", "--url", &url, "--restarts", "2", "--ca", &cert, "--log", &log, "--json"];
    let more = ["--websocket", "/ws", "--events", "/events?every=20ms&count=100", "--upload", "/echo"];
    let server = ["--", &live, "--listen", &port.address(), "--probation", "300ms"];
    let tls = ["--tls-cert", &cert, "--tls-key", &key];
    let said = heirloom(&[&options[..], &more, &server, &tls].concat());
    let report = said.json();
    let took_part = |kind: &str| {
        let mut clients = report["clients"].as_array().expect("a list").iter();
        clients.any(|client| client["kind"] == kind && client["good"].as_u64() > Some(10))
    };
    assert!(["kept", "http2", "websocket", "events"].into_iter().all(took_part), "{said:#?}");
    said.is(code::DONE, &[]);
    let strange = ["prove", "--url", &url, "--pid", "2"];
    heirloom(&strange).is(code::USAGE, &["--insecure"]);
}

#[test]
fn each_fault_is_found_under_its_name() {
    let _beside = beside_others();
    // So many at once: they wait more than they work.
    let faults = FAULTS.chunks(FAULTS.len().div_ceil(4)).map(|some| {
        thread::spawn(move || {
            some.iter().map(|(fault, loss)| (*fault, *loss, planted(fault))).collect::<Vec<_>>()
        })
    });
    let faults: Vec<_> = faults.collect();
    let mut missed = Vec::new();
    for (fault, loss, said) in faults.into_iter().flat_map(|thread| thread.join().unwrap()) {
        let found = found(&said);
        println!("{fault}: {found:?} in {:?}", said.took);
        let is_right = match loss {
            "" => found.is_empty() && said.code == code::DONE,
            loss => found.contains(loss) && said.code == code::UNPROVEN,
        };
        if !is_right {
            missed.push(format!("{fault}: {loss:?} is expected\n{said:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn nothing_is_lost_to_a_fault_either() {
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let hello = example_path("hello").display().to_string();
    let (log, junit) =
        (dir.path().join("log").display().to_string(), dir.path().join("report.xml").display().to_string());
    let options = ["--faults", "--restarts", "1", "--pause", "100ms", "--patience", "2s", "--json"];
    let files = ["--log", &log, "--junit", &junit];
    let server = ["--", &hello, "--listen", &port.address(), "--probation", "400ms"];
    let said = prove(&port, &[&options[..], &files, &server].concat());
    let report = said.json();
    let outcomes: Vec<_> = report["faults"].as_array().expect("a list").iter().map(outcome).collect();
    let expected = [
        ("broken-binary", "the old process serves on", 2),
        ("hang", "the new process serves", 2),
        ("kill", "the old process serves on", 1),
        ("burst", "the new process serves", 1),
        ("term", "nobody listens any more", 1),
    ];
    assert_eq!(outcomes, expected, "{said:#?}\n{}", fs::read_to_string(&log).unwrap());
    said.is(code::DONE, &[]);
    // What a killed process held, and what a server closes that is to end, is found closed by no fault of its own.
    let clients = report["clients"].as_array().expect("a list").iter();
    let found_closed: Vec<_> = clients.filter(|client| client["reconnects"] != 0).collect();
    assert!(found_closed.is_empty(), "{found_closed:#?}");
    let junit = fs::read_to_string(junit).unwrap();
    assert!(
        junit.contains("classname=\"faults\" name=\"kill\"></") && junit.contains("failures=\"0\""),
        "{junit}"
    );
}

/// Its name, what the server made of it, and how much was done.
fn outcome(fault: &serde_json::Value) -> (&str, &str, usize) {
    let text = |member: &str| fault[member].as_str().expect("a text");
    (text("fault"), text("outcome"), fault["did"].as_array().expect("a list").len())
}

#[test]
fn a_server_that_a_broken_binary_takes_down_is_found_out() {
    let _beside = beside_others();
    let port = Port::kept();
    let server = example_path("planted").display().to_string();
    let options =
        ["--faults=broken-binary,hang", "--restarts", "1", "--pause", "100ms", "--log", "/dev/null"];
    let said = prove(&port, &[&options[..], &["--", &server, &port.address(), "none"]].concat());
    let said = said.is(code::UNPROVEN, &["gone"]);
    let words = ["ends at once, with status 1", "LOST gone", "nobody listens after broken-binary"];
    // What was asked for and not made is told as well.
    let words = words.into_iter().chain(["left out: it did not come to that: nobody serves any more"]);
    for word in words {
        assert!(said.stdout.contains(word), "{word}: {said:#?}");
    }
}

#[test]
fn a_fault_that_cannot_be_made_is_refused() {
    let (_beside, dir) = (beside_others(), TestDir::new());
    let file = dir.path().join("server");
    fs::write(&file, "mine").unwrap();
    let fault = |options: &[&str]| heirloom(&[&["prove", "--url", "http://127.0.0.1:9/"], options].concat());
    fault(&["--pid", "2", "--faults=term"])
        .is(code::USAGE, &["would end a server that was not started here"]);
    fault(&["--pid", "2", "--faults=broken-binary"]).is(code::USAGE, &["--program LINK"]);
    fault(&["--restart-command", "true", "--faults=burst"]).is(code::USAGE, &["a burst is one of --signal"]);
    fault(&["--pid", "2", "--faults=flood"]).is(code::USAGE, &["the faults are broken-binary, hang"]);
    let name = file.display().to_string();
    let said = fault(&["--pid", "2", "--faults", "--program", &name]);
    said.is(code::USAGE, &["is no symbolic link"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

/// It closes idle connections without notice when it is reloaded, and loses nothing else.
#[test]
fn nginx_loses_what_it_is_known_to_lose() {
    if !is_installed("nginx", "-v") {
        return;
    }
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let (home, address) = (dir.path().display(), port.address());
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|kind| format!("{kind}_temp_path {home}/{kind};\n")).collect();
    let config = dir.path().join("nginx.conf");
    let text = format!(
        "daemon off; worker_processes 2; pid {home}/pid; error_log {home}/error;\n\
         events {{ worker_connections 200; }}\n\
         http {{ access_log off; {paths} server {{ listen {address}; location / {{ return 200 ok; }} }} }}\n"
    );
    fs::write(&config, text).unwrap();
    let command = ["nginx", "-c", &config.display().to_string()];
    loses_idle_connections(&port, dir.path(), "HUP", &command);
}

/// Likewise, though it hands its listening sockets over. It does so over some time, so which of its connections are idle
/// then is chance, and a request may be on its way to one that it closes.
#[test]
fn haproxy_loses_what_it_is_known_to_lose() {
    if !is_installed("haproxy", "-v") {
        return;
    }
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let (home, address) = (dir.path().display(), port.address());
    let config = dir.path().join("haproxy.cfg");
    let text = format!(
        "global\n stats socket {home}/stats level admin expose-fd listeners\n nbthread 2\n\
         defaults\n mode http\n timeout client 60s\n timeout http-keep-alive 60s\n\
         frontend web\n bind {address}\n http-request return status 200 content-type text/plain string ok\n"
    );
    fs::write(&config, text).unwrap();
    let command = ["haproxy", "-W", "-f", &config.display().to_string()];
    let said = restarted_three_times(&port, dir.path(), "USR2", &["--clients", "5"], &command);
    let known = BTreeSet::from(["closed-while-idle", "forgotten"].map(str::to_owned));
    let found = found(&said);
    assert!(found.contains("closed-while-idle") && found.is_subset(&known), "{said:#?}");
    assert_eq!(said.code, code::UNPROVEN, "{said:#?}");
}

/// Node ends idle connections when a worker is told to disconnect.
#[test]
fn node_loses_what_it_is_known_to_lose() {
    if !is_installed("node", "--version") {
        return;
    }
    let _beside = beside_others();
    let (port, dir) = (Port::kept(), TestDir::new());
    let (script, address) = (foreign("node_cluster.js").display().to_string(), port.address());
    let number = address.rsplit(':').next().unwrap();
    loses_idle_connections(&port, dir.path(), "USR2", &["node", &script, number]);
}

fn loses_idle_connections(port: &Port, dir: &Path, signal: &str, command: &[&str]) {
    let said = restarted_three_times(port, dir, signal, &[], command);
    assert_eq!(found(&said), BTreeSet::from(["closed-while-idle".to_owned()]), "{said:#?}");
    // It never looks, so it loses a request for each connection and each restart.
    let report = said.json();
    let lost = report["findings"][0]["by_client"]["blind"].as_u64();
    assert!(lost >= Some(3) && said.code == code::UNPROVEN, "{said:#?}");
}

fn restarted_three_times(port: &Port, dir: &Path, signal: &str, more: &[&str], command: &[&str]) -> Said {
    let log = dir.join("log").display().to_string();
    let options = ["--json", "--restarts", "3", "--pause", "200ms", "--signal", signal, "--log", &log];
    prove(port, &[&options[..], more, &["--"], command].concat())
}

#[test]
fn what_cannot_be_proven_is_refused() {
    let _beside = beside_others();
    let port = Port::kept();
    prove(&port, &["--pid", "2"]).is(code::NOT_RUNNING, &["does not serve"]);
    prove(&port, &[]).is(code::USAGE, &["how to restart it?"]);
    prove(&port, &["--", "true"]).is(code::NOT_RUNNING, &["has ended before it listened"]);
    let far = ["prove", "--url", "http://192.0.2.1/", "--pid", "2"];
    heirloom(&far).is(code::REFUSED, &["--not-loopback"]);
    let hello = example_path("hello").display().to_string();
    let short = ["--timeout", "1ms", "--log", "/dev/null", "--", &hello, "--listen", &port.address()];
    prove(&port, &short).is(code::TIMED_OUT, &["Cut short after 0 of 20 restarts"]);
}

/// A fault of tests/servers/src/planted.rs, and the loss that it is.
const FAULTS: [(&str, &str); 17] = [
    ("none", ""),
    ("closes-idle", "closed-while-idle"),
    ("drops-queue", "never-accepted"),
    ("forgets", "forgotten"),
    ("accepts-early", "not-ready"),
    ("two-generations", "two-generations"),
    ("truncates", "cut-off"),
    ("refuses", "refused"),
    ("resets-uploads", "upload-cut"),
    ("turns-away", "turned-away"),
    ("never-ends", "never-ends"),
    ("hangs", "unanswered"),
    ("garbles", "garbled"),
    ("changes", "other-answer"),
    ("ignores", "no-successor"),
    ("starts-slowly", "late"),
    ("cuts-streams", "session-cut"),
];

fn planted(fault: &str) -> Said {
    let port = Port::kept();
    let server = example_path("planted").display().to_string();
    let mut options = vec![
        "--json",
        "--pause",
        "200ms",
        "--clients",
        "1",
        "--large",
        "/large",
        "--slow",
        "/slow",
        "--events",
        "/events",
    ];
    options.extend(match fault {
        "two-generations" | "never-ends" | "hangs" | "ignores" => {
            &["--restarts", "1", "--restart-timeout", "1500ms", "--patience", "500ms"][..]
        }
        "starts-slowly" => &["--restarts", "2", "--max-latency", "100ms"],
        _ => &["--restarts", "2"],
    });
    let address = port.address();
    prove(&port, &[&options[..], &["--", &server, &address, fault]].concat())
}

fn prove(port: &Port, options: &[&str]) -> Said {
    let url = format!("http://{}/", port.address());
    heirloom(&[&["prove", "--url", &url], options].concat())
}

fn found(said: &Said) -> BTreeSet<String> {
    let report = said.json();
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().map(|finding| finding["loss"].as_str().expect("a name").to_owned()).collect()
}
