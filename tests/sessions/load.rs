//! Other clients than Rust's, by the same programs that make the full table: `scripts/live-test.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use super::{secure, start};
use support::beside::is_installed;
use support::{alone, skip};

#[test]
fn clients_in_python_and_node() {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let python = home.join(".cache/heirloom/venv/bin/python");
    let has_websockets = Command::new(&python).args(["-c", "import websockets"]).status();
    if !has_websockets.is_ok_and(|status| status.success()) {
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
        command.arg(scripts.join(script)).args([mode, &server.target().to_string(), "10", "2", "600"]);
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
