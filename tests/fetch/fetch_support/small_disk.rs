//! A file system with little room.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Unmounted when it is dropped.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None for whoever may not mount one, whose test is skipped.
    pub fn mount(at: &Path, kib: u32) -> Option<SmallDisk> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={kib}k,mode=755");
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "heirloom-test"]).arg(at).output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk(at.to_owned())),
            other => {
                support::skip(&format!("a full disk takes root, to mount a small one: {other:?}"));
                None
            }
        }
    }

    /// Takes all room but this.
    pub fn leave(&self, kib: usize) {
        use std::io::Write;
        let ballast = self.0.join("ballast");
        let mut file = std::fs::File::create(&ballast).unwrap();
        let mut length = 0_u64;
        while let Ok(count) = file.write(&[1; 1024]) {
            length += count as u64;
        }
        file.set_len(length - kib as u64 * 1024).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
