//! HTTP/3 clients of other makers, by the program that has the full row: `scripts/quic-test.sh http3`.

use std::path::Path;
use std::process::Command;

use support::beside::is_installed;
use support::python::{has_module, venv_python};
use support::{alone, skip};

use super::start_example;

#[test]
fn clients_of_http3_by_aioquic_and_chromium() {
    let python = venv_python();
    if !has_module(&python, "aioquic, websockets") {
        return skip("no Python with aioquic and websockets in ~/.cache/heirloom/venv (.ci/run makes one)");
    }
    if !is_installed("chromium", "--version") {
        return;
    }
    let _alone = alone();
    let served = start_example("http3", &["--drain-timeout", "100s", "--probation", "200ms"]);
    let file = |name: &str| served.dir.path().join(name);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/h3-load.py");
    let mut command = Command::new(python);
    command.arg(script).arg(served.address().to_string()).arg(file("cert.pem")).arg(file("pid"));
    let output = command.args(["8", "2", "aioquic", "chromium"]).output().expect("a program");
    let shown = String::from_utf8_lossy(&output.stdout);
    println!("{shown}");
    assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
}
