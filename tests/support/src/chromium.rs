//! Headless Chromium, which shows one page and does nothing else.

use std::path::Path;
use std::process::Command;

/// Its command line so far. `profile`: a folder of its own, in which it keeps what it keeps.
pub fn chromium(profile: &Path) -> Command {
    let mut command = Command::new("chromium");
    command.args(FLAGS).arg(format!("--user-data-dir={}", profile.display()));
    command
}

/// Nothing but the page: no sandbox (it asks for rights that a container lacks), no requests of its own.
const FLAGS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];
