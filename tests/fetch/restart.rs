//! A server that fetches its own next versions and restarts into them: no client notices, whether they are good or bad.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::fetch_support::binaries::{gzip, stripped, write};
use crate::fetch_support::origin::Fate;
use crate::fetch_support::{Origin, Reply};
use support::binary::{TestDir, example_path};
use support::load::{Mode, Report, Think};
use support::{PATIENCE, Server, Setup, alone};
use tokio::runtime::Runtime;

/// A server, and where its versions come from.
struct Fetching {
    server: Server,
    origin: Origin,
    program: Vec<u8>,
    _runtime: Runtime,
}

impl Fetching {
    fn start(supervised: bool) -> Fetching {
        let runtime = Runtime::new().unwrap();
        let origin = runtime.block_on(Origin::http());
        let program = stripped(&example_path("fetching"));
        origin.put("/server", Reply::file(program.clone()));
        let setup = Setup::example("fetching").args(&["--from", &origin.url("/server")]);
        let setup = if supervised { setup.args(&["--supervised", "yes"]) } else { setup };
        replace(&setup.dir().join("bin/fetching"), &program);
        let server = setup.start();
        Fetching { server, origin, program, _runtime: runtime }
    }

    fn version(&self, name: &str) -> Vec<u8> {
        [self.program.as_slice(), b"VERSION=", name.as_bytes()].concat()
    }

    fn publish(&self, bytes: Vec<u8>) -> usize {
        let mark = self.server.mark();
        self.origin.put("/server", Reply::file(bytes));
        mark
    }

    /// Waits until the server says that it does not take what was published, and that it is as it was.
    fn refuses(&self, bytes: Vec<u8>, words: &str) {
        let (pid, version) = (self.server.pid(), self.server.get("/version"));
        let mark = self.publish(bytes);
        let line = self.server.wait_for_line(mark, "no update, the running version serves on");
        assert!(line.contains(words), "{words:?} is not in {line:?}");
        println!("{line}");
        assert_eq!((self.server.pid(), self.server.get("/version")), (pid, version));
    }

    fn takes(&self, name: &str, bytes: Vec<u8>) {
        let old = self.server.pid();
        let mark = self.publish(bytes);
        self.server.wait_for_settled(mark);
        self.server.wait_for_exit(old);
        assert_eq!(self.server.get("/version"), name);
        assert_eq!(fs::read(self.server.binary.path()).unwrap(), self.version(name));
    }
}

#[test]
fn a_server_fetches_its_next_versions_under_load() {
    fetches_its_next_versions(false);
}

#[test]
fn a_supervisor_fetches_its_workers_next_versions_under_load() {
    fetches_its_next_versions(true);
}

fn fetches_its_next_versions(supervised: bool) {
    let _alone = alone();
    let fetching = Fetching::start(supervised);
    let server = &fetching.server;
    let kept = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    let new = server.load(Mode::new_connections(4, Think::millis(0, 10)));
    fetching.takes("second", fetching.version("second"));
    fetching.takes("third", gzip(&fetching.version("third")));
    assert_eq!(server.generation(), 3);
    println!("{}", Report::HEADER);
    for load in [kept, new] {
        load.wait_for_requests(50);
        let report = load.stop();
        println!("{report}   (2 fetched versions)");
        report.assert_none_failed();
    }
}

#[test]
fn bad_versions_are_rolled_back_and_the_old_one_serves_on() {
    rolls_bad_versions_back(false);
}

#[test]
fn under_a_supervisor_too_bad_versions_are_rolled_back() {
    rolls_bad_versions_back(true);
}

fn rolls_bad_versions_back(supervised: bool) {
    let _alone = alone();
    let fetching = Fetching::start(supervised);
    let server = &fetching.server;
    let load = server.load(Mode::keep_alive(16, Think::millis(0, 10)));
    let start = fetching.version("crash-at-start");
    fetching.refuses(start.clone(), "did not take over");
    assert_eq!(fs::read(server.binary.path()).unwrap(), fetching.program);
    // The next polls find the same, and start nothing.
    let (mark, polls) = (server.mark(), fetching.origin.asked("/server").len());
    let deadline = Instant::now() + PATIENCE;
    while fetching.origin.asked("/server").len() < polls + 2 {
        assert!(Instant::now() < deadline, "it polls no more");
        // allow: sleep (the server polls when it polls)
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(fetching.origin.statuses("/server")[polls..].iter().all(|status| *status == 304));
    assert!(server.lines(mark, "restart").is_empty());
    fetching.refuses(fetching.version("insane"), "SIGABRT");
    load.wait_for_requests(50);
    let report = load.stop();
    println!("{}\n{report}   (two bad versions)", Report::HEADER);
    report.assert_none_failed();
    assert_eq!(server.generation(), 1);

    fetching.refuses(fetching.version("crash-later"), "restart taken back");
    assert_eq!(fs::read(server.binary.path()).unwrap(), fetching.program);
    fetching.takes("good", fetching.version("good"));
    // A supervisor counts those that failed.
    assert_eq!(server.generation(), if supervised { 4 } else { 2 });
}

#[test]
fn what_a_killed_download_left_is_removed_at_the_next_start() {
    let _alone = alone();
    let runtime = Runtime::new().unwrap();
    let origin = runtime.block_on(Origin::http());
    let program = stripped(&example_path("fetching"));
    origin.put("/server", Reply::file([program.as_slice(), b"next"].concat()).fate(Fate::Stuck(1 << 20)));
    let directory = TestDir::new();
    let path = directory.path().join("fetching");
    write(&path, &program);
    let start = || {
        let mut command = Command::new(&path);
        command.args(["--listen", "127.0.0.1:0", "--from", &origin.url("/server")]);
        Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    };
    let leftovers = || {
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().contains(".heirloom-fetch-")).collect::<Vec<_>>()
    };
    let wait_for = |what: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !what() {
            assert!(Instant::now() < deadline, "{:?}", leftovers());
            // allow: sleep (a directory is asked and asked)
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let first = start();
    wait_for(&|| leftovers().len() == 1);
    drop(first);
    let left = leftovers();
    assert_eq!(left.len(), 1, "{left:?}");
    // Its own download has another name.
    let _second = start();
    wait_for(&|| !leftovers().contains(&left[0]));
    assert_eq!(fs::read(&path).unwrap(), program);
}

/// A process that is killed when it goes out of sight.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_example_takes_what_is_copied_beside_it() {
    let _alone = alone();
    let setup = Setup::example("fetch");
    let incoming = setup.dir().join("incoming");
    let from = incoming.to_str().unwrap().to_owned();
    let mut next = stripped(&example_path("fetch"));
    replace(&setup.dir().join("bin/fetch"), &next);
    let server = setup.args(&["--every", "100ms", "--from", &from]).start();
    let mark = server.mark();
    next.push(b'\n');
    write(&incoming, &next);
    let successor = server.wait_for_settled(mark);
    server.wait_for_exit(server.first_pid);
    assert_eq!(server.pid(), successor);
    assert_eq!(fs::read(server.binary.path()).unwrap(), next);
}

/// A new file, and not the bytes of the old one: that is the example itself.
fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    write(&new, bytes);
    fs::rename(new, path).unwrap();
}
