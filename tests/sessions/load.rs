//! Other clients than Rust's, by the same program that makes the full table: `scripts/live-test.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::start;
use support::{alone, skip};

#[test]
fn clients_in_python() {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let python = home.join(".cache/heirloom/venv/bin/python");
    let has_websockets = Command::new(&python).args(["-c", "import websockets"]).status();
    if !has_websockets.is_ok_and(|status| status.success()) {
        return skip("no Python with websockets in ~/.cache/heirloom/venv (.ci/run makes one)");
    }
    let _alone = alone();
    for (mode, clients, restarts, events) in [("websocket", "20", "2", "0"), ("stream", "10", "2", "600")] {
        let server = start("live");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/live-load.py");
        let output = Command::new(&python)
            .arg(script)
            .args([mode, &server.target().to_string(), clients, restarts, events])
            .output()
            .expect("a Python");
        let shown = String::from_utf8_lossy(&output.stdout);
        println!("{shown}");
        assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
    }
}
