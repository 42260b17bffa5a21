//! The operator's commands tell the truth, and soon, whatever state a server is in; and a request that was given up is void.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::operator::{code, finish, heirloom};
use support::{Setup, Signal, TestDir, alone, beside_others, proc};

#[test]
fn every_state_is_told_soon_and_in_a_line() {
    let _alone = alone();
    let server = Setup::hello().start();
    let pid = server.first_pid;
    let all = |pid: u32, code: i32, words: &[&str]| {
        for command in ["status", "restart", "stop", "hammer"] {
            let said = heirloom(&[command, "--pid", &pid.to_string()]).is(code, words);
            assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
            // Two seconds, and as much again for a machine with other things to do.
            assert!(said.took < Duration::from_secs(4), "{said:?}");
        }
    };
    // Stopped. All of that is void when it goes on.
    proc::signal(pid, Signal::SIGSTOP);
    all(pid.cast_unsigned(), code::TIMED_OUT, &["it is stopped", "withdrawn"]);
    proc::signal(pid, Signal::SIGCONT);
    let status = heirloom(&["status", "--pid", &pid.to_string()]).is(code::DONE, &["serves, generation 1"]);
    assert!(status.stdout.contains("restarts       0 settled, 0 failed"), "{status:?}");
    assert_eq!((server.pid(), server.generation()), (pid, 1));
    // A thread of it.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let threads =
        threads.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse::<u32>().unwrap());
    let thread = threads.max().unwrap();
    all(thread, code::NOT_RUNNING, &["thread of process", &pid.to_string()]);
    // A zombie, and a program of another kind.
    let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
    all(child.id(), code::NO_CONTROL, &["has no control socket", "Restarter::bare()"]);
    child.kill().unwrap();
    let zombie = child.id();
    while !fs::read_to_string(format!("/proc/{zombie}/stat")).unwrap().contains(") Z ") {
        std::thread::yield_now();
    }
    all(zombie, code::NOT_RUNNING, &["no process"]);
    child.wait().unwrap();
}

#[test]
fn a_name_that_is_no_text_is_a_name() {
    let _alone = alone();
    // The kernel cuts the first within a letter.
    for name in ["приветсервер".as_bytes(), b"hello\xff", b"a) Z 1 ("] {
        let name = std::ffi::OsStr::from_bytes(name);
        let setup = Setup::hello();
        let program = setup.dir().join(name);
        fs::copy(setup.dir().join("bin/hello"), &program).unwrap();
        let file = setup.dir().join("pid");
        let server = setup.run_as(program).arg("--pid-file").arg(&file).start();
        server.wait_for_line(0, "accepting generation=1");
        let pid = server.first_pid.to_string();
        heirloom(&["status", "--pid", &pid]).is(code::DONE, &["serves, generation 1"]);
        heirloom(&["restart", "--pid", &pid]).is(code::DONE, &["settled"]);
        heirloom(&["stop", "--pid-file", &file.display().to_string()]).is(code::DONE, &["drained"]);
    }
}

#[test]
fn every_generation_that_is_alive_is_named_from_whichever_is_asked() {
    let _alone = alone();
    let server = Setup::hello().args(&["--probation", "50ms"]).start();
    let mut pids = vec![server.first_pid];
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(server.begin("/sleep?duration=60s"));
        let last = pids[pids.len() - 1];
        // Only then is what began before it accepted by this one.
        assert_eq!(server.pid(), last);
        heirloom(&["restart", "--pid", &last.to_string()]).is(code::DONE, &["settled"]);
        pids.push(server.pid());
    }
    let expect = |pids: &[i32]| {
        for asked in pids {
            let status =
                heirloom(&["status", "--json", "--pid", &asked.to_string()]).is(code::DONE, &[]).json();
            let generations = status["generations"].as_array().unwrap();
            let told: Vec<_> = generations.iter().map(|one| one["pid"].as_i64().unwrap() as i32).collect();
            assert_eq!(told, pids, "{asked}: {status}");
            assert_eq!(status["serving"], pids[pids.len() - 1], "{asked}: {status}");
            let (last, before) = generations.split_last().unwrap();
            assert_eq!(last["role"], "serving", "{asked}: {status}");
            assert!(before.iter().all(|one| one["role"] == "draining"), "{asked}: {status}");
            assert!(generations.iter().all(|one| !one["detail"].is_null()), "{asked}: {status}");
        }
    };
    expect(&pids);
    // One in the middle goes: nobody has named the others to each other.
    heirloom(&["hammer", "--pid", &pids[1].to_string()]).is(code::DONE, &["drained"]);
    server.wait_for_exit(pids.remove(1));
    expect(&pids);
    // One that is stopped is named by its neighbour; it costs a second, and not the others' answers.
    proc::signal(pids[1], Signal::SIGSTOP);
    let status = heirloom(&["status", "--pid", &pids[2].to_string()]).is(
        code::DONE,
        &[&format!("process {} serves", pids[2]), &pids[0].to_string(), &pids[1].to_string()],
    );
    assert!(status.took < Duration::from_secs(4), "{status:?}");
    proc::signal(pids[1], Signal::SIGCONT);
    drop(held);
}

#[test]
fn an_unprivileged_process_does_not_lead_root_to_roots_own_server() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("only root can become another user");
    }
    let _alone = alone();
    let server = Setup::hello().start();
    server.wait_for_line(0, "accepting generation=1");
    let pid = server.first_pid;
    let socket = heirloom::control::socket_of(pid.cast_unsigned()).unwrap();
    let place = Place::new();
    // A process that has bound a control socket, and put a link to root's in its place.
    let bent = place.0.join("1.heirloom");
    let script = "import os, socket, sys
os.setgid(65534); os.setuid(65534)
at, to = sys.argv[1], sys.argv[2]
one = socket.socket(socket.AF_UNIX); one.bind(at); one.listen(5)
os.rename(at, at + '.moved'); os.symlink(to, at)
os.symlink(to, at + '.control')
open(at + '.pid', 'w').write(sys.argv[3])
print('there', flush=True); sys.stdin.read()";
    let mut evil = Command::new("python3");
    evil.args(["-c", script]).arg(&bent).arg(&socket).arg(pid.to_string());
    let mut evil = evil.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(evil.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "there\n");
    let beside = |suffix: &str| format!("{}{suffix}", bent.display());
    for target in [
        ["--pid", &evil.id().to_string()],
        ["--control", &beside("")],
        ["--control", &beside(".control")],
        ["--pid-file", &beside(".pid")],
    ] {
        for command in ["status", "restart", "stop", "hammer"] {
            heirloom(&[&[command], target.as_slice()].concat()).is(code::NO_PERMISSION, &["not trusted"]);
        }
    }
    heirloom(&["restart", "--signal", "--pid-file", &beside(".pid")])
        .is(code::NO_PERMISSION, &["not trusted"]);
    assert_eq!((server.pid(), server.generation()), (pid, 1));
    drop(evil.stdin.take());
    evil.wait().unwrap();
    // What is that user's own leads to that user's own.
    let setup = Setup::hello();
    let program = place.0.join("hello");
    fs::copy(setup.dir().join("bin/hello"), &program).unwrap();
    let (own, file) = (place.0.join("own"), place.0.join("own.pid"));
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let setup = setup.run_as(program).under(user).directory(&place.0).args(&["--probation", "100ms"]);
    let theirs = setup.arg("--control").arg(&own).arg("--pid-file").arg(&file).start();
    theirs.wait_for_line(0, "accepting generation=1");
    // Its paths lead nowhere before; the thread that says the line goes on to that before it answers anybody.
    heirloom(&["status", "--pid", &theirs.first_pid.to_string()]).is(code::DONE, &[]);
    for (option, path) in [("--control", &own), ("--pid-file", &file)] {
        heirloom(&["restart", option, &path.display().to_string()]).is(code::DONE, &["settled"]);
    }
    drop(theirs);
}

#[test]
fn a_server_with_capabilities_of_its_own_is_operated_by_its_own_user() {
    let has_setcap = Command::new("setcap").arg("-h").output().is_ok();
    if !nix::unistd::geteuid().is_root() || !has_setcap {
        return support::skip("only root can give capabilities, by setcap of libcap2-bin");
    }
    let _alone = alone();
    let place = Place::new();
    let setup = Setup::hello();
    let (server, command) = (place.0.join("hello"), place.0.join("heirloom"));
    fs::copy(setup.dir().join("bin/hello"), &server).unwrap();
    fs::copy(support::programs::heirloom(), &command).unwrap();
    let given = Command::new("setcap").arg("cap_net_bind_service=ep").arg(&server).status().unwrap();
    assert!(given.success(), "{given:?}");
    let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let setup = setup.run_as(&server).under(user).directory(&place.0).env("TMPDIR", &place.0);
    let running = setup.env("XDG_RUNTIME_DIR", "").args(&["--probation", "100ms"]).start();
    running.wait_for_line(0, "accepting generation=1");
    let pid = running.first_pid.to_string();
    let as_user = |arguments: &[&str], temporary: &Path| {
        let mut asking = Command::new(user[0]);
        asking.args(&user[1..]).arg(&command).args(arguments).current_dir("/");
        finish(asking.env("TMPDIR", temporary).env("XDG_RUNTIME_DIR", ""))
    };
    // The kernel hides what it has open: the socket is found where it has to be, though the C library has taken TMPDIR from
    // the server.
    as_user(&["status", "--pid", &pid], &place.0).is(code::DONE, &["serves, generation 1"]);
    as_user(&["restart", "--pid", &pid], &place.0).is(code::DONE, &["settled"]);
}

#[test]
fn what_a_server_says_does_nothing_to_the_terminal() {
    let _shared = beside_others();
    let directory = TestDir::new();
    let path = directory.path().join("1.heirloom");
    let hostile = r"\u001b]0;title\u0007\u009b2J\r\u202eheirloom: all is well\nheirloom: done";
    let error = format!(r#"{{"heirloom":1,"event":"error","code":"x","reason":"{hostile}"}}"#);
    let failed = format!(
        r#"{{"heirloom":1,"event":"failed","reason":"{hostile}","stderr":"{hostile}","stderr_goes_to":"{hostile}","after_ms":1.0}}"#
    );
    let status = format!(
        r#"{{"heirloom":1,"event":"status","kind":"{hostile}","version":"{hostile}","pid":1,"serving":1,"service_uptime_ms":1,
"restarts":{{"settled":0,"failed":0,"taken_back":0,"refused":0}},"last_failure":{{"outcome":"{hostile}","reason":"{hostile}","at_unix_ms":1,"ago_ms":1}},
"last_restart":null,"connections":{{"moved":0,"aborted":0}},"restart":null,"generations":[{{"pid":1,"generation":1,"role":"draining",
"detail":{{"uptime_ms":1,"ready":true,"connections":{{"{hostile}":1}},"oldest":[{{"kind":"{hostile}","state":"{hostile}","peer":"{hostile}","age_ms":1,"in_state_ms":1}}],
"hammer_in_ms":1}}}}]}}"#
    )
    .replace('\n', " ");
    let passed_on = r#"{"heirloom":1,"event":"refused","reason":"\u001b[2J"}"#.to_owned();
    for (commands, reply) in [
        (&[&["status"][..], &["restart"], &["restart", "--json"], &["stop"], &["hammer"]][..], error),
        (&[&["restart"], &["restart", "--json"]], failed),
        (&[&["status"], &["status", "--json"]], status),
        (&[&["stop"], &["restart"], &["hammer"]], passed_on),
    ] {
        for command in commands {
            let answering = answer_once(&path, reply.clone());
            let said = heirloom(&[command, &["--control", &path.display().to_string()][..]].concat());
            answering.join().unwrap();
            let all = said.stdout.clone() + &said.stderr;
            assert!(all.contains("u{1b}") || all.contains(r"\u001b"), "{all:?}");
            assert!(all.chars().all(|letter| letter == '\n' || !letter.is_control()), "{all:?}");
            assert!(!all.contains('\u{202e}'), "{all:?}");
            assert!(all.lines().all(|line| !line.starts_with("heirloom: done")), "{all}");
        }
    }
}

#[test]
fn a_status_without_end_is_cut() {
    let _alone = alone();
    let directory = TestDir::new();
    let path = directory.path().join("1.heirloom");
    let generations: Vec<_> = (0..1400)
        .map(|number| {
            let pid = number + 2;
            format!(r#"{{"pid":{pid},"generation":{number},"role":"serving","control":"/x/1.heirloom"}}"#)
        })
        .collect();
    let status = format!(
        r#"{{"heirloom":1,"event":"status","kind":"restarter","version":"1","pid":1,"serving":1,"service_uptime_ms":1,"restarts":{{"settled":0,"failed":0,"taken_back":0,"refused":0}},"last_failure":null,"last_restart":null,"connections":{{"moved":0,"aborted":0}},"restart":null,"generations":[{}]}}"#,
        generations.join(",")
    );
    // Whoever else is asked never answers.
    let listener = UnixListener::bind(&path).unwrap();
    let answering = std::thread::spawn(move || {
        let (first, _) = listener.accept().unwrap();
        answer(first, &status);
        listener
    });
    let said =
        heirloom(&["status", "--control", &path.display().to_string()]).is(code::DONE, &["and 1350 more"]);
    answering.join().unwrap();
    assert!(said.took < Duration::from_secs(4) && said.stdout.lines().count() < 100, "{said:?}");
}

#[test]
fn the_usual_restarter_is_found_by_its_process_id() {
    let _shared = beside_others();
    let server = Setup::bare("axum").start();
    let pid = server.first_pid.to_string();
    heirloom(&["status", "--pid", &pid]).is(code::DONE, &["generation 1"]);
    let said = heirloom(&["restart", "--pid", &pid]).is(code::DONE, &["settled"]);
    let settled = said.stdout.lines().find(|line| line.starts_with("settled")).unwrap();
    let successor = settled.split(' ').rev().nth(1).unwrap();
    heirloom(&["stop", "--pid", successor]).is(code::DONE, &["drained"]);
}

#[test]
fn what_was_meant_is_told_where_the_command_line_says_something_else() {
    heirloom(&["restart", "1234"]).is(code::USAGE, &["tip:", "heirloom restart --pid 1234"]);
    heirloom(&["stop", "/run/app.pid"]).is(code::USAGE, &["tip:", "--pid-file /run/app.pid"]);
    heirloom(&["run", "--listen", "127.0.0.1:0", "./server", "--fast"])
        .is(code::USAGE, &["tip:", "heirloom run --listen 127.0.0.1:0 -- ./server --fast"]);
}

fn answer_once(path: &Path, reply: String) -> std::thread::JoinHandle<()> {
    let _ = fs::remove_file(path);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || answer(listener.accept().unwrap().0, &reply))
}

fn answer(mut client: UnixStream, reply: &str) {
    let mut request = String::new();
    BufReader::new(&client).read_line(&mut request).unwrap();
    writeln!(client, "{reply}").unwrap();
}

/// A directory that is another user's.
struct Place(std::path::PathBuf);

impl Place {
    fn new() -> Place {
        let path = Path::new("/tmp").join(format!("heirloom-theirs-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
