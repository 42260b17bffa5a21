//! Skipping a test so that it shows: cargo says `ok` of it, and keeps what it prints.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::thread;

/// Says so on the real standard error, and in the summary at the end of the run (`tests/zz_skipped.rs`).
///
/// # Panics
/// Under `CI=true`, which skips none.
pub fn skip(why: &str) {
    assert!(!is_ci(), "{why}; CI skips none");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    // Not by a macro, whose output is kept.
    let _ = writeln!(std::io::stderr(), "\n*** SKIPPED {test}: {why} ***");
    let list = File::options().create(true).append(true).open(list());
    // At once, since other tests write there too.
    list.and_then(|mut list| list.write_all(format!("{test}: {why}\n").as_bytes()))
        .expect("a list of what is skipped");
}

/// Whether nothing may be skipped.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// What this run has skipped so far, which is then forgotten.
pub fn take_skipped() -> Vec<String> {
    let skipped = fs::read_to_string(list()).unwrap_or_default();
    let _ = fs::remove_file(list());
    skipped.lines().map(str::to_owned).collect()
}

/// One run is one cargo, which starts all of its tests.
fn list() -> PathBuf {
    super::programs::scratch().join(format!("skipped-by-{}", std::os::unix::process::parent_id()))
}
