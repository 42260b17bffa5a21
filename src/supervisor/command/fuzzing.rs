//! For [fuzzers](crate::fuzzing): what operators write for workers, and what workers say.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::{environment, readiness};

/// A file with variables: none has a name or a value that an environment cannot hold.
pub fn env_file(bytes: &[u8]) {
    let Ok(changes) = environment::parse(Path::new("env"), bytes) else { return };
    let mut environment = Vec::new();
    for (name, value) in &changes {
        assert!(!name.is_empty() && !name.as_bytes().iter().any(|byte| b"=\0\n ".contains(byte)), "{name:?}");
        assert!(
            !value.as_deref().unwrap_or(OsStr::new("")).as_bytes().iter().any(|byte| b"\0\n".contains(byte))
        );
    }
    environment::apply(&mut environment, changes);
}

/// A datagram to a worker's `NOTIFY_SOCKET`.
pub fn notices(bytes: &[u8]) {
    readiness::read_notices(bytes);
}
