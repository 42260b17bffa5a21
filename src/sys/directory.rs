//! Whether two paths lead to one directory: the shell's `$PWD` is worth believing only then, since it keeps
//! the symlinks that getcwd resolves away.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether both paths, symlinks followed, lead to the same directory.
pub(crate) fn same_directory(a: &Path, b: &Path) -> io::Result<bool> {
    let (a, b) = (std::fs::metadata(a)?, std::fs::metadata(b)?);
    Ok(a.is_dir() && (a.dev(), a.ino()) == (b.dev(), b.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inode_decides_and_not_the_name() {
        let home = std::env::current_dir().unwrap();
        assert!(same_directory(&home, Path::new("/proc/self/cwd")).unwrap());
        assert!(same_directory(Path::new("/"), Path::new("/..")).unwrap());
        assert!(!same_directory(Path::new("/"), Path::new("/proc")).unwrap());
        let program = std::env::current_exe().unwrap();
        assert!(!same_directory(&program, &program).unwrap());
        assert_eq!(same_directory(&home, Path::new("/nowhere")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
