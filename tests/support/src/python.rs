//! Python with what Debian has not.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where `.ci/run` makes one.
pub fn python() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".cache/heirloom/venv/bin/python")
}

/// `names`: of one module, or of several with commas.
pub fn has_module(python: &Path, names: &str) -> bool {
    let imported = Command::new(python).args(["-c", &format!("import {names}")]).status();
    imported.is_ok_and(|status| status.success())
}
