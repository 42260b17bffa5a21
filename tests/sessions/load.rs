//! Other clients than Rust's, by the same programs that make the full tables: `scripts/live-test.sh` and
//! `scripts/h2-test.sh`.

use std::path::Path;
use std::process::Command;
use std::thread;

use super::{secure, start};
use support::beside::is_installed;
use support::python::{has_module, venv_python};
use support::{Binary, TestDir, alone, skip};

#[test]
fn clients_in_python_and_node() {
    let python = venv_python();
    if !has_module(&python, "websockets") {
        return skip("no Python with websockets in ~/.cache/heirloom/venv (.ci/run makes one)");
    }
    if !is_installed("node", "--version") {
        return;
    }
    let _alone = alone();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let round = |program: &Path, script: &str, mode: &str, is_over_tls: bool| {
        let server = if is_over_tls { secure::start().0 } else { start("live") };
        let mut command = Command::new(program);
        command.arg(scripts.join(script)).args([mode, &server.target().to_string(), "10", "2", "1200"]);
        let output = command.args(is_over_tls.then_some("--tls")).output().expect("a program");
        let shown = String::from_utf8_lossy(&output.stdout);
        println!("{script} {shown}");
        assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    };
    // Each with a server of its own, at the same time.
    thread::scope(|scope| {
        for mode in ["websocket", "stream"] {
            for is_over_tls in [false, true] {
                let (round, python) = (&round, &python);
                scope.spawn(move || round(python, "live-load.py", mode, is_over_tls));
            }
        }
        // Debian's Node has no WebSocket of its own yet.
        scope.spawn(|| round(Path::new("node"), "live-load.js", "stream", true));
    });
}

#[test]
fn clients_of_http2() {
    let tools = [("go", "version"), ("node", "--version"), ("curl", "--version"), ("h2load", "--version")];
    if !tools.iter().all(|(tool, version)| is_installed(tool, version)) {
        return;
    }
    if !Path::new("/usr/share/gocode/src/golang.org/x/net/http2").is_dir() {
        return skip("no golang.org/x/net/http2 (golang-golang-x-net-dev)");
    }
    if !has_module(&venv_python(), "httpx, h2") {
        return skip("no Python with httpx and h2 in ~/.cache/heirloom/venv (.ci/run makes one)");
    }
    if !has_module(Path::new("/usr/bin/python3"), "grpc") {
        return skip("no Python with grpc (python3-grpcio)");
    }
    let _alone = alone();
    let folder = TestDir::new();
    for program in ["live", "rpc"] {
        Binary::install(program, &folder.path().join(program));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/h2-test.sh");
    let output = Command::new(script).arg("short").arg(folder.path()).output().expect("a shell");
    let shown = String::from_utf8_lossy(&output.stdout);
    println!("{shown}");
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
}
