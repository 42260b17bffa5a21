//! A gzip file is unpacked; anything else is what it is. The first bytes decide, not the name.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};

use flate2::bufread::MultiGzDecoder;

use super::place::{Place, Temporary};
use super::{CheckError, Digest};
use crate::fetch::digest::Hasher;

/// The binary in what was downloaded, and its digest. Blocks while it reads and writes.
pub(super) fn unpack(
    packed: Temporary,
    digest: Digest,
    place: &Place,
    largest: u64,
) -> Result<(Temporary, Digest), CheckError> {
    let read = |source| CheckError::Read { path: packed.path().to_owned(), source };
    let mut file = BufReader::new(File::open(packed.path()).map_err(read)?);
    let mut start = Vec::new();
    file.by_ref().take(MAGIC.len() as u64).read_to_end(&mut start).map_err(read)?;
    if start != MAGIC {
        return Ok((packed, digest));
    }
    let again = BufReader::new(File::open(packed.path()).map_err(read)?);
    let path = place.temporary();
    let write = |source| CheckError::Write { path: path.clone(), source };
    let (mut output, unpacked) = Temporary::create(&path).map_err(write)?;
    // Members that follow each other are one file, as for gunzip; one byte more than allowed is enough to
    // know.
    let mut decoder = MultiGzDecoder::new(again).take(largest.saturating_add(1));
    let (mut hasher, mut buffer, mut bytes) = (Hasher::new(), vec![0; BUFFER], 0);
    loop {
        let count = decoder.read(&mut buffer).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                CheckError::Archive { source }
            }
            _ => read(source),
        })?;
        if count == 0 {
            return Ok((unpacked, hasher.finish()));
        }
        bytes += count as u64;
        if bytes > largest {
            return Err(CheckError::TooLarge { bytes, largest });
        }
        hasher.update(&buffer[..count]);
        output.write_all(&buffer[..count]).map_err(write)?;
    }
}

const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// As the files' own buffers, and more than inflate's window.
const BUFFER: usize = 128 * 1024;
