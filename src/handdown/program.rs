//! Which program the successor runs, and where: decided once, at the start.
//!
//! Why at the start, and by name: `/proc/self/exe` names the *old* file once a deploy has replaced it, and
//! resolves the `current ->` symlink that a deploy flips. So the path is taken as the user typed it, made
//! absolute, and left unresolved; whatever lies there at the restart is what runs.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys::directory::same_directory;
use crate::sys::environment;

/// What is executed at a restart.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Absolute, unresolved.
    pub(crate) path: PathBuf,
    /// The directory that the first generation was started in, unresolved; the successor starts there again,
    /// so that a relative path among its arguments means what it meant.
    pub(crate) directory: PathBuf,
    pub(crate) arguments: Vec<OsString>,
    pub(crate) changes: Vec<(OsString, Option<OsString>)>,
}

impl Program {
    /// This process's own program, or what its predecessor found for it.
    pub(crate) fn own(inherited: Option<(PathBuf, PathBuf)>) -> Program {
        let arguments: Vec<OsString> = env::args_os().collect();
        let (path, directory) = inherited.unwrap_or_else(|| {
            if !environment::is_trusted() {
                // The name is the caller's, too.
                let image = env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
                return (image, PathBuf::from("/"));
            }
            let directory = start_directory();
            let name = arguments.first().cloned().unwrap_or_default();
            let found = find(&name, &directory)
                // A first argument that says nothing of the file (`-bash`, say): then only the running image
                // is left.
                .or_else(|| env::current_exe().ok())
                .unwrap_or_else(|| name.into());
            (found, directory)
        });
        Program { path, directory, arguments, changes: Vec::new() }
    }

    /// Another program than this one, as a shell in this process's place would find it.
    #[cfg(feature = "supervisor")]
    pub(crate) fn of(command: Vec<OsString>, directory: Option<PathBuf>) -> Program {
        let own = start_directory();
        let directory = directory.map_or_else(|| own.clone(), |directory| own.join(directory));
        let name = command.first().cloned().unwrap_or_default();
        let path = find(&name, &directory).unwrap_or_else(|| {
            // What is said of it is why it cannot be run. If it is nowhere, that is to be said, and not that
            // some folder of the path may not be searched.
            let first = |is_that: fn(&PathBuf) -> bool| in_path(&name, &directory).find(is_that);
            first(|there| there.is_file())
                .or_else(|| first(|missing| is_missing(missing)))
                .unwrap_or_else(|| name.into())
        });
        Program { path, directory, arguments: command, changes: Vec::new() }
    }

    /// The successor's environment: this process's own, without what is meant for this process alone, with
    /// the user's changes and the announcement.
    pub(crate) fn environment(&self, announcement: (&str, OsString)) -> Vec<(OsString, OsString)> {
        let changed = |key: &OsStr| self.changes.iter().any(|(name, _)| name == key);
        let own = |key: &OsStr| key == announcement.0 || OWN.iter().any(|name| key == *name);
        let kept = env::vars_os().filter(|(key, _)| !own(key) && !changed(key));
        let set = self.changes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?)));
        kept.chain(set).chain([(announcement.0.into(), announcement.1.clone())]).collect()
    }
}

/// Variables that name this process's own id or descriptors. Without WATCHDOG_PID the watchdog is for any
/// process that reads WATCHDOG_USEC, which is what a successor whose id nobody knows yet needs.
const OWN: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"];

/// The start directory as the shell saw it: `$PWD` if it names the directory that we are in, since getcwd
/// gives the old release behind a `current ->` symlink.
fn start_directory() -> PathBuf {
    let shell = env::var_os("PWD").map(PathBuf::from).filter(|pwd| pwd.is_absolute());
    match shell {
        Some(pwd) if same_directory(&pwd, Path::new(".")).unwrap_or(false) => pwd,
        _ => env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    }
}

fn find(name: &OsStr, directory: &Path) -> Option<PathBuf> {
    if name.as_encoded_bytes().contains(&b'/') {
        return Some(directory.join(name));
    }
    in_path(name, directory).find(|candidate| is_executable(candidate))
}

fn in_path(name: &OsStr, directory: &Path) -> impl Iterator<Item = PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).collect();
    folders.into_iter().map(move |folder| directory.join(folder).join(name))
}

#[cfg(feature = "supervisor")]
fn is_missing(path: &Path) -> bool {
    path.metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_is_kept_unresolved() {
        let found = |name: &str, directory: &str| find(OsStr::new(name), Path::new(directory)).unwrap();
        assert_eq!(found("./hello", "/srv/current"), Path::new("/srv/current/./hello"));
        assert_eq!(found("/opt/hello", "/srv"), Path::new("/opt/hello"));
    }

    #[test]
    fn a_bare_name_is_looked_up_in_the_path() {
        let found = find(OsStr::new("sh"), Path::new("/")).unwrap();
        assert!(found.is_absolute() && found.ends_with("sh"), "{found:?}");
    }

    #[test]
    fn the_environment_is_ours_but_for_what_names_us() {
        let mut program = Program::own(None);
        program.changes = vec![("HOME".into(), None), ("ADDED".into(), Some("1".into()))];
        let environment = program.environment(("HEIRLOOM", "1 generation=2".into()));
        let value = |key: &str| {
            environment.iter().filter(|(name, _)| name == key).map(|(_, v)| v).collect::<Vec<_>>()
        };
        assert_eq!(value("HEIRLOOM"), ["1 generation=2"]);
        assert_eq!(value("ADDED"), ["1"]);
        assert!(value("HOME").is_empty());
        assert!(value("LISTEN_FDS").is_empty());
    }
}
