//! `heirloom run --watch`: what somebody builds or edits is the next server.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::python::system_python;
use support::run::{Running, Setup, foreign};
use support::{Binary, PATIENCE, beside_others};

#[test]
fn a_script_that_changes_is_the_next_server() {
    let _shared = beside_others();
    let setup = Setup::new().options(&["--ready", "notify", "--probation", "50ms", "--backoff", "10ms"]);
    let setup = setup.env("WORKER_READY", "notify").listen();
    let script = setup.dir().join("server.py");
    let aside = setup.dir().join("aside.py");
    fs::write(&script, version("one")).unwrap();
    let running = setup
        .options(&["--watch".as_ref(), script.as_os_str()])
        .command(&[system_python().as_ref(), script.as_os_str()]);
    running.wait_for_line(0, "worker settled worker=1");
    assert_eq!(running.get("/"), "one");

    fs::write(&aside, version("two")).unwrap();
    by("cp", &aside, &script);
    wait_for(&running, "two");

    fs::write(&aside, version("three")).unwrap();
    by("mv", &aside, &script);
    wait_for(&running, "three");

    // In pieces, as a slow copy does; if a piece takes too long the half of it fails, and changes nothing.
    let whole = version("four");
    let mut file = fs::File::create(&script).unwrap();
    for piece in whole.as_bytes().chunks(whole.len() / 5) {
        file.write_all(piece).unwrap();
        // Both accept until the last restart has settled.
        assert!(["two", "three"].contains(&running.get("/").as_str()));
        // allow: sleep (the time that a piece takes is what this is about)
        std::thread::sleep(Duration::from_millis(200));
    }
    drop(file);
    wait_for(&running, "four");

    let mark = running.mark();
    fs::write(&script, "this is no program").unwrap();
    running.wait_for_line(mark, "restart failed, the old worker serves on");
    assert_eq!(running.get("/"), "four");

    fs::remove_file(&script).unwrap();
    assert_eq!(running.get("/"), "four");
    fs::write(&script, version("five")).unwrap();
    wait_for(&running, "five");
}

#[test]
fn a_program_that_changes_is_the_next_worker() {
    let _shared = beside_others();
    let setup = Setup::new().options(&["--ready", "heirloom", "--probation", "50ms"]).listen();
    let path = setup.dir().join("bin/hello");
    let binary = Binary::install("hello", &path);
    let program = fs::read(&path).unwrap();
    binary.become_file(&program, 0o755);
    let running = setup.options(&["--watch".as_ref(), path.as_os_str()]).command(&[
        path.as_os_str(),
        OsStr::new("--listen"),
        OsStr::new("127.0.0.1:0"),
    ]);
    running.wait_for_line(0, "worker settled worker=1");

    let mut mark = running.mark();
    binary.remove();
    binary.become_file(&program, 0o755);
    running.wait_for_line(mark, "worker settled worker=2");

    // Somebody has it open for writing when it is there, and for a while after that.
    mark = running.mark();
    let new = path.with_extension("written");
    fs::write(&new, &program).unwrap();
    let script = "chmod 755 \"$0\" && exec 3>>\"$0\" && mv \"$0\" \"$1\" && read -r done";
    let mut writer =
        Command::new("sh").args(["-c", script]).arg(&new).arg(&path).stdin(Stdio::piped()).spawn().unwrap();
    let line = running.wait_for_line(mark, "restart failed");
    assert!(line.contains("open for writing"), "{line}");
    writer.stdin.take().unwrap().write_all(b"done\n").unwrap();
    writer.wait().unwrap();
    running.wait_for_line(mark, "worker settled");
}

/// The worker, with a word to know it by.
fn version(word: &str) -> String {
    let text = fs::read_to_string(foreign("worker.py")).unwrap();
    assert!(text.contains("Hello from a worker"));
    text.replace("Hello from a worker", word)
}

fn by(tool: &str, from: &Path, to: &Path) {
    assert!(Command::new(tool).arg(from).arg(to).status().unwrap().success());
}

/// Until this version answers. What answers meanwhile is the one before.
fn wait_for(running: &Running, word: &str) {
    let deadline = Instant::now() + PATIENCE;
    while running.get("/") != word {
        assert!(Instant::now() < deadline, "{word} does not come");
        // allow: sleep (which process answers is known only by asking)
        std::thread::sleep(Duration::from_millis(5));
    }
}
