//! SHA-256: how binaries are told apart, and how published ones are checked.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use thiserror::Error;

/// The SHA-256 digest of a file. Displayed, and read, as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; LENGTH]);

/// What is not a digest.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a SHA-256 digest: it has 64 hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// From its bytes.
    pub fn from_bytes(bytes: [u8; LENGTH]) -> Digest {
        Digest(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// Of what is in memory.
    pub fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Of a file. Blocks while it reads.
    pub fn of_file(path: &Path) -> io::Result<Digest> {
        let (mut file, mut hasher, mut buffer) = (File::open(path)?, Hasher::new(), vec![0; BUFFER]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }

    /// From what `sha256sum` and its like write: a bare digest, `DIGEST  NAME`, or `SHA256 (NAME) = DIGEST`;
    /// of several lines, the one for `name`.
    pub fn from_listing(listing: &str, name: &str) -> Option<Digest> {
        let entries: Vec<_> = listing.lines().filter_map(entry).collect();
        match entries.as_slice() {
            [(digest, _)] => Some(*digest),
            several => several.iter().find(|(_, of)| *of == name).map(|(digest, _)| *digest),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Digest, NotADigest> {
        let digits = text.as_bytes();
        if digits.len() != 2 * LENGTH {
            return Err(NotADigest);
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16).ok_or(NotADigest);
            // Two hexadecimal digits fit.
            *byte = (value(pair[0])? * 16 + value(pair[1])?) as u8;
        }
        Ok(Digest(bytes))
    }
}

/// A digest in the making.
pub(super) struct Hasher(Context);

impl Hasher {
    pub(super) fn new() -> Hasher {
        Hasher(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Digest {
        let mut bytes = [0; LENGTH];
        bytes.copy_from_slice(self.0.finish().as_ref());
        Digest(bytes)
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").finish_non_exhaustive()
    }
}

fn entry(line: &str) -> Option<(Digest, &str)> {
    let line = line.trim();
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (name, digest) = rest.rsplit_once(") = ")?;
        return Some((digest.parse().ok()?, name));
    }
    let (digest, name) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    // `*` marks what was read as binary.
    let name = name.trim_start().trim_start_matches('*');
    Some((digest.parse().ok()?, name.rsplit('/').next().unwrap_or(name)))
}

const LENGTH: usize = 32;

/// Large enough that the calls do not count beside the hashing.
const BUFFER: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_listing() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        for listing in [
            format!("{one}\n"),
            format!("{one}  app\n"),
            format!("{one} *./app"),
            format!("SHA256 (app) = {one}"),
        ] {
            assert_eq!(Digest::from_listing(&listing, "app"), Some(one), "{listing}");
        }
        let both = format!("{one}  other\n{two}  app\n");
        assert_eq!(Digest::from_listing(&both, "app"), Some(two));
        assert_eq!(Digest::from_listing(&both, "third"), None);
        assert_eq!(Digest::from_listing("<html>not found</html>", "app"), None);
    }

    #[test]
    fn a_digest_is_what_it_says() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(empty.to_uppercase().parse(), Ok(Digest::of(b"")));
        assert_eq!("é".repeat(32).parse::<Digest>(), Err(NotADigest));
    }
}
