//! Servers in many languages under `heirloom run`: twenty restarts each, under load, with every failure counted.
//!
//! What `heirloom run` answers for is the sockets: that no connection is refused, and that what no server has accepted waits for
//! the next one, whatever the server. How a server says goodbye to the connections that it has accepted is its own: where one
//! loses requests there, the test says whose they are.

use std::ffi::OsStr;

use support::alone;
use support::beside::is_installed;
use support::load::{Failure, Load, Mode, Report, Think};
use support::python::system_python;
use support::run::{Running, Setup, foreign};

#[test]
fn python_asyncio() {
    let _alone = alone();
    let script = foreign("asyncio_server.py");
    let running = setup(&["--ready", "notify"]).command(&[system_python().as_ref(), script.as_os_str()]);
    for report in restarts_under_load(&running, RESTARTS) {
        report.assert_none_failed();
    }
}

#[test]
fn node() {
    if !is_installed("node", "--version") {
        return;
    }
    let _alone = alone();
    let script = foreign("node_server.js");
    let running = setup(&["--ready", "fd"]).command(&["node".as_ref(), script.as_os_str()]);
    for report in restarts_under_load(&running, RESTARTS) {
        report.assert_none_failed();
    }
}

#[test]
fn perl_starlet() {
    if !is_installed("plackup", "--version") {
        return;
    }
    let _alone = alone();
    let app = foreign("app.psgi");
    let words = [
        "plackup",
        "--no-default-middleware",
        "-s",
        "Starlet",
        "--max-workers=16",
        "--max-keepalive-reqs=1000",
    ];
    let command: Vec<_> = words.iter().map(OsStr::new).chain([app.as_os_str()]).collect();
    let running = setup(&["--ready", "http=/"]).command(&command);
    for report in restarts_under_load(&running, RESTARTS) {
        report.assert_none_failed();
    }
}

#[test]
fn ruby_unicorn() {
    if !is_installed("unicorn", "--version") {
        return;
    }
    let _alone = alone();
    let app = foreign("config.ru");
    let words = ["unicorn", "--no-default-middleware", "-E", "none"];
    let command: Vec<_> = words.iter().map(OsStr::new).chain([app.as_os_str()]).collect();
    // TERM means at once to it. It closes every connection after one answer, and says so.
    let running = setup(&["--ready", "http=/", "--stop-signal", "QUIT"]).command(&command);
    for report in restarts_under_load(&running, RESTARTS) {
        report.assert_none_failed();
    }
}

/// With the gem sd_notify it says itself when it is ready; Debian has that as a package of its own.
///
/// Puma 5 accepts at once, and waits for the request in its reactor. When it stops, it closes whatever has sent no byte there,
/// without a word (`Server#reactor_wakeup`, `Client#can_close?`): kept connections, and new ones whose request is still on
/// its way, which exist on a busy machine.
#[test]
fn ruby_puma() {
    if !is_installed("puma", "--version") {
        return;
    }
    let _alone = alone();
    for (ready, restarts) in [("notify", RESTARTS), ("http=/", 5)] {
        let new = puma(ready, &[], restarts);
        // A client has one connection at a time, and a stop closes it once at most.
        new.assert_lost_at_most((restarts * CLIENTS) as u64);
    }
    // Without its reactor, each thread waits for the request of the connection that it has, and a stop waits for the threads.
    let config = foreign("puma.rb");
    puma("notify", &[OsStr::new("-C"), config.as_os_str()], 5).assert_none_failed();
}

fn puma(ready: &str, options: &[&OsStr], restarts: usize) -> Report {
    let app = foreign("config.ru");
    let words = ["puma", "--bind-to-activated-sockets=only", "-e", "none", "-t", "16:16"];
    let words = words.iter().map(OsStr::new).chain(options.iter().copied()).chain([app.as_os_str()]);
    let running = setup(&["--ready", ready]).command(&words.collect::<Vec<_>>());
    let [new, keep, late] = restarts_under_load(&running, restarts);
    let kept = keep.failed() + late.failed();
    println!("puma's own: {} failed with new connections, {kept} with kept ones", new.failed());
    new
}

#[test]
fn python_uvicorn() {
    // One socket alone, so no further one to be asked at; and it has no word of its own.
    asgi("uvicorn", &["--fd", "3", "--no-access-log"], "notify");
}

#[test]
fn python_hypercorn() {
    asgi("hypercorn", &["--bind", "fd://3", "--bind", "fd://4"], "http=/");
}

/// How a server of ASGI closes the connections that it has accepted is its own.
fn asgi(server: &str, options: &[&str], ready: &str) {
    let server = in_venv(server);
    if !is_installed(&server, "--version") {
        return;
    }
    let _alone = alone();
    let words = [&[server.as_str()], options, &["asgi:application"]].concat();
    let command: Vec<_> = words.iter().map(OsStr::new).collect();
    let running = setup(&["--ready", ready]).env("PYTHONPATH", foreign("")).command(&command);
    let [new, keep, late] = restarts_under_load(&running, 5);
    let kept = keep.failed() + late.failed();
    println!("{server}'s own: {} failed with new connections, {kept} with kept ones", new.failed());
    // It was accepted, and then closed: asyncio drops what it has accepted in the turn of its close.
    for report in [new, keep, late] {
        let closed =
            report.count(Failure::Reset) + report.count(Failure::Empty) + report.count(Failure::CutOff);
        assert_eq!(report.failed(), closed, "{report}");
    }
}

/// Where `.ci/run` puts what Debian has not.
fn in_venv(program: &str) -> String {
    let venv = std::env::var("HEIRLOOM_VENV")
        .unwrap_or_else(|_| format!("{}/.cache/heirloom/venv", std::env::var("HOME").unwrap_or_default()));
    format!("{venv}/bin/{program}")
}

#[test]
fn python_gunicorn_sync() {
    for report in gunicorn(&["--worker-class=sync", "--workers=4"], RESTARTS).into_iter().flatten() {
        report.assert_none_failed();
    }
}

/// Its keep-alive workers close connections on which they have said nothing of it, and whatever is on its way there.
#[test]
fn python_gunicorn_gthread() {
    let kind = ["--worker-class=gthread", "--workers=1", "--threads=16"];
    let Some([new, keep, late]) = gunicorn(&kind, 5) else { return };
    let kept = keep.failed() + late.failed();
    println!("gunicorn's own: {} failed with new connections, {kept} with kept ones", new.failed());
    // It closes what it has accepted in its own way; what it has not is safe whatever it does.
    new.assert_none_failed();
}

fn gunicorn(kind: &[&str], restarts: usize) -> Option<[Report; 3]> {
    if !is_installed("gunicorn", "--version") {
        return None;
    }
    let _alone = alone();
    let directory = foreign("");
    let words = ["gunicorn"].iter().chain(kind).chain(&["--chdir"]).map(OsStr::new);
    let command: Vec<_> = words.chain([directory.as_os_str(), "wsgi:application".as_ref()]).collect();
    let running = setup(&["--ready", "http=/"]).command(&command);
    Some(restarts_under_load(&running, restarts))
}

fn setup(options: &[&str]) -> Setup {
    Setup::new().options(&["--probation", "50ms"]).options(options).listen()
}

/// With clients that connect anew each time, as many that keep their connections, and as many that do so from afar.
fn restarts_under_load(running: &Running, restarts: usize) -> [Report; 3] {
    let modes = [
        Mode::new_connections(CLIENTS, Think::millis(0, 10)),
        Mode::keep_alive(CLIENTS, Think::millis(0, 20)),
        Mode::keep_alive_late(CLIENTS, Think::millis(0, 20)),
    ];
    let loads = modes.map(|mode| Load::start(running.target(), mode, "/"));
    loads.iter().for_each(|load| load.wait_for_requests(50));
    for _ in 0..restarts {
        running.restart_once();
    }
    loads.iter().for_each(|load| load.wait_for_requests(50));
    let reports = loads.map(Load::stop);
    let rows: Vec<_> = reports.iter().map(ToString::to_string).collect();
    println!("{}\n{}   ({restarts} restarts)", Report::HEADER, rows.join("\n"));
    assert_eq!(running.get("/generation"), (1 + restarts).to_string());
    for report in &reports {
        assert_eq!(report.count(Failure::Refused), 0, "the sockets are heirloom's");
    }
    reports
}

const RESTARTS: usize = 20;

/// Fewer than the processes of a server that has one for each connection.
const CLIENTS: usize = 4;
