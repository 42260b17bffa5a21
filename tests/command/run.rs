//! `heirloom run`: what Server::Starter's own tests ask of it, with a Python program as the server.

use std::fs;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::{Duration, Instant};

use support::load::{Target, fetch};
use support::python::system_python;
use support::run::{Setup, foreign};
use support::{PATIENCE, Signal, alone, beside_others};

/// Settled soon after it has said that it is ready.
fn quick() -> Setup {
    let setup = Setup::new().options(&["--ready", "notify", "--probation", "50ms", "--backoff", "10ms"]);
    setup.env("WORKER_READY", "notify")
}

#[test]
fn the_first_fails_and_the_second_serves() {
    let _shared = beside_others();
    let setup = quick().listen();
    let fails = setup.dir().join("fails");
    fs::write(&fails, "1").unwrap();
    let running = setup.env("WORKER_FAILS", &fails).worker();
    assert_eq!(running.get("/generation"), "2");
    running.wait_for_line(0, "worker settled worker=2");
    assert_eq!(running.lines(0, "restart failed").len(), 1, "of the first");
}

#[test]
fn what_fails_at_a_restart_leaves_the_old_one_serving() {
    let _shared = beside_others();
    let setup = quick().listen();
    let fails = setup.dir().join("fails");
    fs::write(&fails, "1 3 4").unwrap();
    let running = setup.env("WORKER_FAILS", &fails).worker();
    running.wait_for_line(0, "worker settled worker=2");
    for failing in 3..=4 {
        let mark = running.mark();
        running.signal(Signal::SIGHUP);
        let line = running.wait_for_line(mark, "restart failed");
        assert!(line.contains(&format!("worker={failing}")) && line.contains("status 1"), "{line}");
        assert_eq!(running.get("/generation"), "2");
    }
    running.restart();
    assert_eq!(running.get("/generation"), "5");
}

#[test]
fn a_unix_path_has_its_mode_and_is_made_again_when_somebody_removed_it() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    let _shared = beside_others();
    let (uid, gid) = (nix::unistd::getuid().to_string(), nix::unistd::getgid().to_string());
    let setup = quick().options(&["--socket-mode", "660", "--socket-owner", &uid, "--socket-group", &gid]);
    let path = setup.dir().join("web.sock");
    let running = setup.listen_on(&format!("unix:{}", path.display())).worker();
    running.wait_for_line(0, "worker settled worker=1");
    let is_whole = || {
        let found = fs::metadata(&path).unwrap();
        assert!(found.file_type().is_socket() && found.mode() & 0o777 == 0o660, "{:o}", found.mode());
    };
    is_whole();
    assert_eq!(running.get("/generation"), "1");
    fs::remove_file(&path).unwrap();
    running.restart();
    is_whole();
    assert_eq!(running.get("/generation"), "2");
    let made = fs::metadata(&path).unwrap().ino();
    running.restart();
    assert_eq!(fs::metadata(&path).unwrap().ino(), made, "only then");
}

#[test]
fn the_status_file_follows_the_workers() {
    let _alone = alone();
    let directory = support::TestDir::new();
    let (status_file, pid_file) = (directory.path().join("status"), directory.path().join("pid"));
    let files =
        ["--status-file".as_ref(), status_file.as_os_str(), "--pid-file".as_ref(), pid_file.as_os_str()];
    let running = quick().options(&["--probation", "2s"]).options(&files).listen().worker();
    let generations = || {
        let text = fs::read_to_string(&status_file).unwrap();
        text.lines().map(|line| line.split(':').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    // It is written right after the line.
    let lists = |expected: &[&str]| {
        let deadline = Instant::now() + PATIENCE;
        while generations() != expected {
            assert!(Instant::now() < deadline, "{:?}, not {expected:?}", generations());
        }
    };
    running.wait_for_line(0, "worker settled worker=1");
    lists(&["1"]);
    running.signal(Signal::SIGHUP);
    running.wait_for_line(0, "worker ready worker=2");
    lists(&["1", "2"]);
    running.wait_for_line(0, "a worker is gone worker=1");
    let mark = running.mark();
    running.restart();
    running.wait_for_line(mark, "a worker is gone worker=2");
    lists(&["3"]);
    let line = fs::read_to_string(&status_file).unwrap();
    assert_eq!(line.trim(), format!("3:{}", running.get("/pid")));
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), running.pid.to_string());
    running.signal(Signal::SIGTERM);
    let (status, _) = running.end();
    assert!(status.success(), "{status}");
    let left: Vec<_> =
        fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_unix_socket_lives_as_long_as_the_supervisor() {
    let _shared = beside_others();
    let setup = quick();
    let path = setup.dir().join("server.sock");
    let running = setup.listen_on(&format!("unix:{}", path.display())).worker();
    assert_eq!(running.get("/generation"), "1");
    running.restart();
    assert_eq!(running.get("/generation"), "2");
    running.signal(Signal::SIGTERM);
    running.wait_for_line(0, "a worker is gone worker=2");
    let (status, _) = running.end();
    assert!(status.success());
    assert!(!path.exists(), "the socket stayed behind");
}

#[test]
fn the_environment_is_read_anew_and_a_bad_one_keeps_the_old_worker() {
    let _shared = beside_others();
    let setup =
        quick().listen().file("--env-dir", "env").file("--env-file", "vars").env("REMOVED", "by the file");
    let (directory, file) = (setup.dir().join("env"), setup.dir().join("vars"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("COLOUR"), "red\n").unwrap();
    fs::write(&file, "SHAPE=round\nREMOVED\n").unwrap();
    let running = setup.worker();
    let values = || ["COLOUR", "SHAPE", "REMOVED"].map(|name| running.get(&format!("/env/{name}")));
    assert_eq!(values(), ["red", "round", "(unset)"]);

    fs::write(directory.join("COLOUR"), "").unwrap();
    fs::write(&file, "SHAPE='two words'").unwrap();
    assert_eq!(values(), ["red", "round", "(unset)"]);
    running.restart();
    assert_eq!(values(), ["(unset)", "two words", "by the file"]);

    fs::write(&file, "SHAPE='open").unwrap();
    let mark = running.mark();
    running.signal(Signal::SIGHUP);
    let line = running.wait_for_line(mark, "restart failed");
    assert!(line.contains("vars") && line.contains("line 1"), "{line}");
    assert_eq!((values()[1].as_str(), running.get("/generation").as_str()), ("two words", "2"));
    fs::write(&file, "SHAPE=flat").unwrap();
    running.restart();
    assert_eq!(values()[1], "flat");
}

#[test]
fn ipv6_leaves_ipv4_alone() {
    if TcpStream::connect("[::1]:1").is_err_and(|error| error.kind() == std::io::ErrorKind::AddrNotAvailable)
    {
        return support::skip("there is no IPv6 here");
    }
    let _shared = beside_others();
    let running = quick().listen_on("[::]:0").worker();
    let Target::Tcp(address) = *running.target() else { unreachable!("TCP") };
    let six = Target::Tcp(([0, 0, 0, 0, 0, 0, 0, 1], address.port()).into());
    assert_eq!(running.get_from(&six, "/generation"), "1");
    let four = Target::Tcp(([127, 0, 0, 1], address.port()).into());
    fetch(&four, "/", Duration::from_secs(5)).expect_err("IPv4 reaches the IPv6 socket");
}

#[test]
fn sockets_are_where_they_were_asked_for_and_nothing_else_is_open() {
    let _shared = beside_others();
    let running = quick().listen().listen_on("web=127.0.0.1:0=7").listen_on("127.0.0.1:0").worker();
    assert_eq!(running.targets.len(), 3);
    let fds = running.get("/fds");
    let numbers: Vec<_> = fds.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>()).collect();
    // What this test was started with, the supervisor and its workers inherit too: not heirloom's to close.
    let own = |fd: &&str| std::path::Path::new(&format!("/proc/self/fd/{fd}")).exists();
    let numbers: Vec<_> =
        numbers.into_iter().filter(|line| ["3", "4", "7"].contains(&line[0]) || !own(&line[0])).collect();
    assert_eq!(numbers, [["3", "blocking"], ["4", "blocking"], ["7", "blocking"]], "{fds}");
    assert_eq!(running.get("/env/LISTEN_FDS"), "2");
    assert_eq!(running.get("/env/LISTEN_FDNAMES"), "unknown:unknown");
    let ports = running.targets.iter().zip([3, 7, 4]).map(|(target, fd)| format!("{target}={fd}"));
    assert_eq!(running.get("/env/SERVER_STARTER_PORT"), ports.collect::<Vec<_>>().join(";"));
    for target in &running.targets {
        assert_eq!(running.get_from(target, "/generation"), "1");
    }
    let signals = running.get("/signals");
    assert!(signals.contains("SigBlk:\t0000000000000000"), "{signals}");
    // Python itself ignores SIGPIPE and SIGXFSZ; 32 and 33 are the C library's.
    let ignored = signals.lines().last().unwrap().split('\t').nth(1).unwrap();
    let others = u64::from_str_radix(ignored, 16).unwrap() & !(0b11 << 31 | 1 << 12 | 1 << 24);
    assert_eq!(others, 0, "{signals}");
}

#[test]
fn whether_sockets_block_is_a_choice() {
    let _shared = beside_others();
    let running = quick()
        .options(&["--nonblocking"])
        .listen()
        .command(&[system_python().as_ref(), foreign("asyncio_server.py").as_os_str()]);
    assert!(running.get("/").starts_with("Hello"));
    let info = fs::read_to_string(format!("/proc/{}/fdinfo/3", running.get("/pid"))).unwrap();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap();
    assert_ne!(i32::from_str_radix(flags, 8).unwrap() & 0o4000, 0, "{info}");
}

#[test]
fn a_program_without_sockets_is_restarted_too() {
    let _shared = beside_others();
    let running = quick().worker();
    running.wait_for_line(0, "worker 1 serves");
    running.wait_for_line(0, "worker settled worker=1");
    running.restart();
    running.wait_for_line(0, "worker 1 stops");
    running.signal(Signal::SIGTERM);
    let (status, _) = running.end();
    assert!(status.success());
}

#[test]
fn sockets_that_the_supervisor_was_handed_go_on_to_its_workers() {
    let _alone = alone();
    let handed = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, other_address) = (handed.local_addr().unwrap(), other.local_addr().unwrap());
    // Copies that the programs which are started from here inherit; above 4, since more than that is open.
    let copies = [&handed, &other].map(|listener| rustix::io::dup(listener).expect("a descriptor"));
    // As systemd does it: the sockets at 3 and 4, and LISTEN_PID whoever becomes the supervisor.
    let script = format!(
        "export LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=http:spare; exec \"$0\" \"$@\" 3<&{} 4<&{}",
        copies[0].as_raw_fd(),
        copies[1].as_raw_fd()
    );
    let setup = quick().under(&["bash", "-c", &script]).listen_on(&format!("web={address}"));
    let running = setup.worker();
    drop((handed, other, copies));
    assert_eq!(*running.target(), Target::Tcp(address));
    assert_eq!(running.get("/env/LISTEN_FDNAMES"), "web:spare");
    running.restart();
    for address in [address, other_address] {
        assert_eq!(running.get_from(&Target::Tcp(address), "/generation"), "2");
    }
}

#[test]
fn operators_restart_it_and_are_told_the_outcome() {
    let _shared = beside_others();
    let setup = quick().listen().file("--env-file", "vars");
    let file = setup.dir().join("vars");
    fs::write(&file, "").unwrap();
    let running = setup.worker();
    running.wait_for_line(0, "worker settled worker=1");
    let ask = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_heirloom"));
        let output =
            command.args(words).args(["--pid", &running.pid.to_string()]).output().expect("a command");
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        println!("heirloom {}: {} {said:?}", words.join(" "), output.status);
        (output.status.success(), said.concat())
    };
    assert!(ask(&["restart"]).0);
    // Until it is told to go, the old one accepts as well.
    running.wait_for_line(0, "a worker is gone worker=1");
    assert_eq!(running.get("/generation"), "2");
    fs::write(&file, "NOT A NAME=1").unwrap();
    let (done, said) = ask(&["restart"]);
    assert!(!done && said.contains("vars"), "{said}");
    assert_eq!(running.get("/generation"), "2");
    let (done, said) = ask(&["status"]);
    assert!(done && said.contains(&running.get("/pid")), "{said}");
    assert!(ask(&["stop"]).0);
    let (status, _) = running.end();
    assert!(status.success(), "{status}");
}

#[test]
fn datagrams_go_from_worker_to_worker() {
    let _shared = beside_others();
    let running = quick().listen_on("dns=udp:127.0.0.1:0").worker();
    let Target::Tcp(address) = *running.target() else { unreachable!("an address and a port") };
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(address).unwrap();
    let ask = || {
        client.send(b"hello").unwrap();
        let mut buffer = [0; 64];
        let length = client.recv(&mut buffer).expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(ask(), "1 hello");
    running.restart();
    running.wait_for_line(0, "a worker is gone worker=1");
    assert_eq!(ask(), "2 hello");
}
