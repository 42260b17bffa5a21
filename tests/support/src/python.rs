//! The two Pythons of the tests: the system's, and one with modules that Debian has not.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's own, where there is one: a version manager's stand-in for it takes longer than the program.
pub fn system_python() -> &'static str {
    if Path::new("/usr/bin/python3").exists() { "/usr/bin/python3" } else { "python3" }
}

/// The one with more modules, where `.ci/run` makes it; it need not be there.
pub fn venv_python() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    home.join(".cache/heirloom/venv/bin/python")
}

/// `names`: of one module, or of several with commas.
pub fn has_module(python: &Path, names: &str) -> bool {
    let imported = Command::new(python).args(["-c", &format!("import {names}")]).status();
    imported.is_ok_and(|status| status.success())
}
