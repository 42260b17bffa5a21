//! What a sandbox may lack is named, with what to do: pidfd_open, and /proc.

use std::ffi::OsStr;
use std::path::Path;

use support::python::system_python;
use support::run::Setup as Run;
use support::{Setup, beside_others, namespaces};

#[test]
fn without_pidfd_open_a_server_says_so() {
    let _shared = beside_others();
    let ended = Setup::hello().under([system_python(), &without_pidfd_open()]).run();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    says_what_to_do(&ended.stderr);
}

#[test]
fn without_pidfd_open_heirloom_run_says_so() {
    let _shared = beside_others();
    for ready in ["after=1s", "heirloom"] {
        let without = without_pidfd_open();
        let run = Run::new().listen().options(&["--ready", ready]).under(&[system_python(), &without]);
        let (status, lines) = run.spawn(&[OsStr::new("sleep"), OsStr::new("1000")]).end();
        assert_eq!(status.code(), Some(1), "{lines:?}");
        says_what_to_do(&lines.join("\n"));
    }
}

#[test]
fn without_proc_heirloom_run_says_so() {
    if !namespaces::may_mount() {
        return;
    }
    let _shared = beside_others();
    let hide = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let run = Run::new().listen().under(&["unshare", "--mount", "sh", "-c", hide]);
    let (status, lines) = run.spawn(&[OsStr::new("sleep"), OsStr::new("1000")]).end();
    let said = lines.join("\n");
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("/proc/self/exe") && said.contains("mount -t proc proc /proc"), "{said}");
}

fn says_what_to_do(said: &str) {
    let words = ["pidfd_open fails", "Linux 5.4 or newer", "seccomp", "Operation not permitted"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
}

fn without_pidfd_open() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/without_pidfd_open.py");
    script.to_str().expect("a path that is text").to_owned()
}
