//! Programs small enough to be fetched a hundred times: a real one of this machine, with some bytes after its end.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// A whole program; another `mark` makes another version.
pub fn program(mark: &str) -> Vec<u8> {
    let mut bytes = fs::read("/bin/true").expect("the program true");
    bytes.extend_from_slice(mark.as_bytes());
    bytes
}

/// A program of at least this size, whose bytes do not pack well.
pub fn program_of_size(mark: &str, bytes: usize) -> Vec<u8> {
    let mut program = program(mark);
    let mut state = 88_172_645_463_325_252_u64;
    while program.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        program.extend_from_slice(&state.to_ne_bytes());
    }
    program
}

/// A built example without its debugging information, which is nine tenths of it; whole where there is no `strip`.
pub fn stripped(example: &Path) -> Vec<u8> {
    let path = std::env::temp_dir().join(format!("heirloom-stripped-{}", std::process::id()));
    let strip = std::process::Command::new("strip").arg("-o").arg(&path).arg(example).status();
    let bytes = fs::read(if strip.is_ok_and(|status| status.success()) { &path } else { example });
    let _ = fs::remove_file(path);
    bytes.expect("a readable example")
}

/// A shell script, of more than the least size.
pub fn script(body: &str) -> Vec<u8> {
    format!("#!/bin/sh\n{body}\nexit\n{}\n", "#".repeat(5000)).into_bytes()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The same program for another machine.
pub fn foreign() -> Vec<u8> {
    let mut bytes = program("foreign");
    // Neither x86_64 nor aarch64: riscv.
    bytes[18..20].copy_from_slice(&0xf3_u16.to_ne_bytes());
    bytes
}

pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
