//! The program file that restarts execute, broken for a while: a copy or a link, and never the user's file.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Its place is taken by renames, so that whoever executes it finds it whole.
#[derive(Debug)]
pub(super) struct Program {
    path: PathBuf,
    /// The same file or link, while something else has its name.
    kept: PathBuf,
    is_broken: bool,
    /// Of a copy: what is to be removed with it.
    own_folder: Option<PathBuf>,
}

impl Program {
    /// A copy in a folder of its own, with the same file name.
    pub(super) fn copied(command: &OsStr) -> Result<Program, String> {
        let from = found(command).ok_or_else(|| format!("there is no program {}", command.display()))?;
        let folder = std::env::temp_dir().join(format!("heirloom-prove-{}", std::process::id()));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.map_err(|error| format!("cannot make the folder {}: {error}", folder.display()))?;
        let mut program = Program::at(folder.join(from.file_name().unwrap_or(OsStr::new("program"))));
        program.own_folder = Some(folder);
        fs::copy(&from, &program.path).map_err(|error| {
            format!("cannot copy {} to {}: {error}", from.display(), program.path.display())
        })?;
        Ok(program)
    }

    /// One that the user has made for it. The file that it leads to stays as it is.
    pub(super) fn link(path: &Path) -> Result<Program, String> {
        let named = |error: io::Error| format!("{}: {error}", path.display());
        if !fs::symlink_metadata(path).map_err(named)?.is_symlink() {
            return Err(format!(
                "{} is no symbolic link, and a file of yours is not touched: let restarts execute a link to it, and \
                 name that",
                path.display()
            ));
        }
        let program = Program::at(path.to_owned());
        if fs::symlink_metadata(&program.kept).is_ok() {
            return Err(format!(
                "{} is there: an earlier run was killed, so rename it back to {} first",
                program.kept.display(),
                path.display()
            ));
        }
        Ok(program)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it ends at once, with status 1.
    pub(super) fn break_it(&mut self) -> Result<(), String> {
        let broken = beside(&self.path, ".broken");
        let made = fs::write(&broken, "#!/bin/sh\nexit 1\n")
            .and_then(|()| fs::set_permissions(&broken, PermissionsExt::from_mode(0o755)))
            // Of a link it is the link that gets a second name.
            .and_then(|()| fs::hard_link(&self.path, &self.kept))
            .and_then(|()| fs::rename(&broken, &self.path));
        made.map_err(|error| format!("cannot break {}: {error}", self.path.display()))?;
        self.is_broken = true;
        Ok(())
    }

    pub(super) fn put_back(&mut self) -> Result<(), String> {
        if std::mem::take(&mut self.is_broken) {
            fs::rename(&self.kept, &self.path).map_err(|error| {
                format!("cannot rename {} back to {}: {error}", self.kept.display(), self.path.display())
            })?;
        }
        Ok(())
    }

    fn at(path: PathBuf) -> Program {
        let kept = beside(&path, ".kept");
        Program { path, kept, is_broken: false, own_folder: None }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // What cannot be put back is named by what follows: the next restart fails.
        let _ = self.put_back();
        if let Some(folder) = &self.own_folder {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// As a shell finds it.
fn found(command: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if command.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(command)).filter(is_program);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(command)).find(is_program)
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_broken_and_the_program_is_not() {
        let mut copy = Program::copied(OsStr::new("true")).unwrap();
        let runs = |path: &Path| std::process::Command::new(path).status().unwrap().success();
        let path = copy.path().to_owned();
        assert!(runs(&path) && path != found(OsStr::new("true")).unwrap());
        copy.break_it().unwrap();
        assert!(!runs(&path) && runs(Path::new("true")));
        copy.put_back().unwrap();
        assert!(runs(&path));
        // A second run would not find it broken.
        copy.break_it().unwrap();
        let folder = copy.own_folder.clone().unwrap();
        drop(copy);
        assert!(!folder.exists());
    }

    #[test]
    fn only_a_link_is_taken_and_it_is_put_back() {
        let folder = std::env::temp_dir().join(format!("heirloom-prove-link-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (file, link) = (folder.join("server"), folder.join("current"));
        fs::write(&file, "the user's").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(Program::link(&file).unwrap_err().contains("is no symbolic link"));
        let mut program = Program::link(&link).unwrap();
        program.break_it().unwrap();
        assert!(fs::read_to_string(&link).unwrap().contains("exit 1"));
        assert_eq!(fs::read_to_string(&file).unwrap(), "the user's");
        assert!(Program::link(&folder.join("current")).is_err(), "it is no link now");
        drop(program);
        assert_eq!(fs::read_link(&link).unwrap(), file);
        fs::remove_dir_all(folder).unwrap();
    }
}
