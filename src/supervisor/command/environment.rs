//! The environment of the next worker, read anew at each start from a directory or a file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where variables of the workers stand.
///
/// It is read before each start, so a change takes effect at the next restart; where it cannot be read, that
/// restart fails with the reason and the old worker serves on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvironmentSource {
    /// A directory as daemontools' `envdir` reads it: a file's name is the variable, its first line the value
    /// (blanks at its end removed, NUL bytes made line ends), and an empty file removes the variable. Names
    /// that begin with a dot are skipped, which is what makes a mounted Kubernetes ConfigMap one.
    Directory(PathBuf),
    /// A file of `NAME=VALUE` lines. Empty lines and those that begin with `#` are skipped, and one pair of
    /// quotes around a value is removed; nothing else is interpreted. Without `=VALUE` the variable is
    /// removed.
    File(PathBuf),
}

/// One variable, and what becomes of it: set, or removed.
pub(crate) type Change = (OsString, Option<OsString>);

/// Why the environment was not read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// The system refuses.
    #[error("cannot read the environment from {path:?}")]
    #[non_exhaustive]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file or a line names no variable.
    #[error("{path:?}{} names no variable: {name:?} (write a name without = and NUL bytes)", line_number(*line))]
    #[non_exhaustive]
    Name {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1; 0 when it is the file's own name.
        line: usize,
        /// What stands there.
        name: OsString,
    },
    /// A value begins with a quote that does not end with its line, or holds a NUL byte.
    #[error("{path:?}, line {line}: the value has no closing quote, or holds a NUL byte")]
    #[non_exhaustive]
    Value {
        /// The file.
        path: PathBuf,
        /// The line in it, from 1.
        line: usize,
    },
    /// A directory, a FIFO, a device.
    #[error("{path:?} is not a regular file; remove it, or give it a name that begins with a dot")]
    #[non_exhaustive]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More than the kernel takes.
    #[error("{path:?} is larger than {MAX_VALUE} bytes, which no environment can hold")]
    #[non_exhaustive]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl EnvironmentSource {
    /// What it says now.
    pub(crate) fn read(&self) -> Result<Vec<Change>, EnvironmentError> {
        match self {
            EnvironmentSource::Directory(path) => read_directory(path),
            EnvironmentSource::File(path) => parse(path, &read_bounded(path)?),
        }
    }

    /// The directory or file.
    pub fn path(&self) -> &Path {
        match self {
            EnvironmentSource::Directory(path) | EnvironmentSource::File(path) => path,
        }
    }
}

/// `environment` with `changes` made to it, a later one over an earlier.
pub(crate) fn apply(environment: &mut Vec<(OsString, OsString)>, changes: Vec<Change>) {
    for (name, value) in changes {
        environment.retain(|(present, _)| *present != name);
        if let Some(value) = value {
            environment.push((name, value));
        }
    }
}

fn read_directory(path: &Path) -> Result<Vec<Change>, EnvironmentError> {
    let failed = |source| EnvironmentError::Read { path: path.into(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name());
    }
    // The order of a directory is anybody's guess; errors and logs should not be.
    names.sort();
    names.retain(|name| !name.as_bytes().starts_with(b"."));
    names.into_iter().map(|name| read_variable(path, name)).collect()
}

fn read_variable(directory: &Path, name: OsString) -> Result<Change, EnvironmentError> {
    let path = directory.join(&name);
    if !is_name(&name) {
        return Err(EnvironmentError::Name { path, line: 0, name });
    }
    let bytes = read_bounded(&path)?;
    if bytes.is_empty() {
        return Ok((name, None));
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let value = line.trim_ascii_end().iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect();
    Ok((name, Some(OsString::from_vec(value))))
}

pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Vec<Change>, EnvironmentError> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).zip(1..);
    lines
        .filter(|(line, _)| !line.is_empty() && !line.starts_with(b"#"))
        .map(|(text, line)| {
            let equals = text.iter().position(|byte| *byte == b'=');
            let (name, value) = equals.map_or((text, None), |at| (&text[..at], Some(&text[at + 1..])));
            let name = OsStr::from_bytes(name.trim_ascii_end()).to_owned();
            if !is_name(&name) || name.as_bytes().contains(&b' ') {
                return Err(EnvironmentError::Name { path: path.into(), line, name });
            }
            let wrong = || EnvironmentError::Value { path: path.into(), line };
            let value = value.map(|value| unquote(value.trim_ascii_start()).ok_or_else(wrong)).transpose()?;
            Ok((name, value.map(|value| OsStr::from_bytes(value).to_owned())))
        })
        .collect()
}

/// `None` for a quote without its end, and where a C string would end early.
fn unquote(value: &[u8]) -> Option<&[u8]> {
    let value = match value {
        [quote @ (b'"' | b'\''), inner @ .., last] if quote == last => inner,
        [b'"' | b'\'', ..] => return None,
        plain => plain,
    };
    (!value.contains(&0)).then_some(value)
}

fn is_name(name: &OsStr) -> bool {
    let name = name.as_bytes();
    !name.is_empty() && !name.contains(&b'=') && !name.contains(&0)
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, EnvironmentError> {
    let failed = |source| EnvironmentError::Read { path: path.into(), source };
    // A FIFO would make the open wait, a terminal the read, and a restart with them.
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(EnvironmentError::NotAFile { path: path.into() });
    }
    let mut bytes = Vec::new();
    file.take(MAX_VALUE as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > MAX_VALUE {
        return Err(EnvironmentError::TooLarge { path: path.into() });
    }
    Ok(bytes)
}

fn line_number(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line},") }
}

/// The kernel's limit for one string of the environment. A whole file of them may not be longer either:
/// nobody writes one by hand, and it keeps a wrong path from being read for minutes.
const MAX_VALUE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::alone::scratch;

    fn set(name: &str, value: &str) -> Change {
        (name.into(), Some(value.into()))
    }

    #[test]
    fn a_directory_reads_as_envdir_has_it() {
        let directory = scratch("envdir");
        for (name, text) in [
            ("PLAIN", "value\nsecond line\n"),
            ("BLANKS", " led, trailed \t\n"),
            ("LINES", "a\0b"),
            ("BLANK_LINE", "\n"),
            ("GONE", ""),
            (".hidden", "x"),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
        fs::create_dir(directory.join("..data")).unwrap();
        std::os::unix::fs::symlink("PLAIN", directory.join("LINKED")).unwrap();
        let read = EnvironmentSource::Directory(directory.clone()).read().unwrap();
        assert_eq!(
            read,
            [
                set("BLANKS", " led, trailed"),
                set("BLANK_LINE", ""),
                ("GONE".into(), None),
                set("LINES", "a\nb"),
                set("LINKED", "value"),
                set("PLAIN", "value"),
            ]
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn what_is_wrong_in_a_directory_is_named() {
        let directory = scratch("envdir-wrong");
        let source = EnvironmentSource::Directory(directory.clone());
        let complaint = |name: &str| {
            let error = source.read().unwrap_err();
            let text = format!(
                "{error}: {}",
                std::error::Error::source(&error).map_or(String::new(), ToString::to_string)
            );
            assert!(text.contains(name), "{name} is not in {text}");
        };
        fs::write(directory.join("A=B"), "x").unwrap();
        complaint("A=B");
        fs::remove_file(directory.join("A=B")).unwrap();
        fs::create_dir(directory.join("FOLDER")).unwrap();
        complaint("FOLDER");
        fs::remove_dir(directory.join("FOLDER")).unwrap();
        nix::unistd::mkfifo(&directory.join("PIPE"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        complaint("PIPE");
        fs::remove_file(directory.join("PIPE")).unwrap();
        fs::write(directory.join("LARGE"), vec![b'x'; MAX_VALUE + 1]).unwrap();
        complaint("LARGE");
        fs::remove_dir_all(&directory).unwrap();
        complaint("envdir-wrong");
    }

    #[test]
    fn a_file_reads_line_by_line() {
        let text = b"# comment\n\nA=1\n B = two words \nC=\"quoted \"\nD='#'\nE=\nF\nG=a=b\nH=\"\"\r\n";
        let read = parse(Path::new("env"), text).unwrap();
        assert_eq!(
            read,
            [
                set("A", "1"),
                set("B", "two words"),
                set("C", "quoted "),
                set("D", "#"),
                set("E", ""),
                ("F".into(), None),
                set("G", "a=b"),
                set("H", ""),
            ]
        );
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_line() {
        for (text, line) in [("A=1\n=2", 2), ("export A=1", 1), ("\n\nA=\"b", 3), ("A='", 1), ("A=b\0c", 1)] {
            let error = parse(Path::new("/etc/app.env"), text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("/etc/app.env") && error.contains(&format!("line {line}")), "{error}");
        }
    }

    #[test]
    fn changes_replace_and_remove() {
        let mut environment = vec![("A".into(), "1".into()), ("B".into(), "2".into())];
        apply(&mut environment, vec![set("A", "3"), ("B".into(), None), set("C", "4"), set("C", "5")]);
        assert_eq!(
            environment,
            [("A".into(), "3".into()), ("C".into(), "5".into())] as [(OsString, OsString); 2]
        );
    }
}
