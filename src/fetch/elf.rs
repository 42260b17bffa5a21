//! Whether a file is a whole program for this machine, told before the kernel says no, or the dynamic linker
//! crashes.
//!
//! Only what every ELF loader relies on is read: what kind of machine it is for, and that what its headers
//! promise lies within the file. What this process runs on says what "this machine" is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::CheckError;

/// Checks a file that is to be executed. Blocks while it reads.
pub(super) fn check(path: &Path) -> Result<(), CheckError> {
    let own = File::open("/proc/self/exe").and_then(|own| Header::read(&own)).ok().flatten();
    let read = |source| CheckError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(read)?;
    let length = file.metadata().map_err(read)?.len();
    let header = Header::read(&file).map_err(read)?.ok_or_else(|| {
        let mut start = [0; 8];
        if file.read_exact_at(&mut start[..TAR_MAGIC.len()], TAR_MAGIC_AT).is_ok()
            && start.starts_with(TAR_MAGIC)
        {
            return CheckError::Tar;
        }
        let count = file.read_at(&mut start, 0).unwrap_or(0);
        CheckError::NotAProgram { start: String::from_utf8_lossy(&start[..count]).into_owned() }
    })?;
    if let Some(own) = own
        && (header.machine, header.class, header.order) != (own.machine, own.class, own.order)
    {
        return Err(CheckError::Architecture { found: header.describe(), own: own.describe() });
    }
    if !EXECUTABLE_TYPES.contains(&header.kind) {
        return Err(CheckError::NotExecutable { kind: header.kind });
    }
    let needed = header.extent(&file);
    if length < needed {
        return Err(CheckError::Truncated { bytes: length, needed });
    }
    Ok(())
}

struct Header {
    class: u8,
    order: u8,
    kind: u16,
    machine: u16,
    /// The whole of it: 64 bytes, of which a 32-bit one uses 52.
    bytes: [u8; 64],
}

impl Header {
    /// None if the file is no ELF file.
    fn read(file: &File) -> io::Result<Option<Header>> {
        let mut bytes = [0; 64];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        if filled < 20 || !bytes.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let mut header = Header { class: bytes[4], order: bytes[5], kind: 0, machine: 0, bytes };
        header.kind = header.number(16, 2) as u16;
        header.machine = header.number(18, 2) as u16;
        Ok(Some(header))
    }

    /// How long the file must be to hold its header, its segments and its section table, which linkers put
    /// last.
    fn extent(&self, file: &File) -> u64 {
        let wide = self.class == CLASS_64;
        let at = |narrow: (usize, usize), if_wide: (usize, usize)| {
            let (offset, size) = if wide { if_wide } else { narrow };
            self.number(offset, size)
        };
        let (segments, size, count) = (at((28, 4), (32, 8)), at((42, 2), (54, 2)), at((44, 2), (56, 2)));
        let (sections, section_size, section_count) =
            (at((32, 4), (40, 8)), at((46, 2), (58, 2)), at((48, 2), (60, 2)));
        let mut extent = sections.saturating_add(section_size * section_count);
        extent = extent.max(segments.saturating_add(size * count)).max(if wide { 64 } else { 52 });
        for index in 0..count {
            let mut segment = [0; 64];
            let place = segments.saturating_add(index * size);
            // That the table is not all there, or in no place at all, is in the extent already.
            if file.read_at(&mut segment, place).unwrap_or(0) < 56.min(size as usize) {
                break;
            }
            let number = |(offset, length): (usize, usize)| self.number_in(&segment, offset, length);
            let (offset, length) =
                if wide { (number((8, 8)), number((32, 8))) } else { (number((4, 4)), number((16, 4))) };
            extent = extent.max(offset.saturating_add(length));
        }
        extent
    }

    fn number(&self, offset: usize, length: usize) -> u64 {
        self.number_in(&self.bytes, offset, length)
    }

    fn number_in(&self, bytes: &[u8], offset: usize, length: usize) -> u64 {
        let digits = &bytes[offset..offset + length];
        let join = |number: u64, byte: &u8| (number << 8) | u64::from(*byte);
        if self.order == BIG_ENDIAN { digits.iter().fold(0, join) } else { digits.iter().rev().fold(0, join) }
    }

    fn describe(&self) -> String {
        let name = MACHINES.iter().find(|(machine, _)| *machine == self.machine).map(|(_, name)| *name);
        let bits = if self.class == CLASS_64 { 64 } else { 32 };
        let order = if self.order == BIG_ENDIAN { "big-endian" } else { "little-endian" };
        match name {
            Some(name) => format!("{name} ({bits}-bit, {order})"),
            None => format!("machine {:#x} ({bits}-bit, {order})", self.machine),
        }
    }
}

/// In the first header of an archive, after the file's name, modes and size.
const TAR_MAGIC: &[u8] = b"ustar";
const TAR_MAGIC_AT: u64 = 257;

const CLASS_64: u8 = 2;
const BIG_ENDIAN: u8 = 2;

/// ET_EXEC, and ET_DYN for what is position independent.
const EXECUTABLE_TYPES: [u16; 2] = [2, 3];

/// Those that people build servers for; others are told of by number.
const MACHINES: [(u16, &str); 9] = [
    (0x03, "x86"),
    (0x08, "mips"),
    (0x15, "powerpc64"),
    (0x16, "s390x"),
    (0x28, "arm"),
    (0x3e, "x86_64"),
    (0xb7, "aarch64"),
    (0xf3, "riscv"),
    (0x102, "loongarch"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check_bytes(name: &str, bytes: &[u8]) -> Result<(), CheckError> {
        let path = std::env::temp_dir().join(format!("heirloom-elf-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let result = check(&path);
        std::fs::remove_file(path).unwrap();
        result
    }

    #[test]
    fn this_program_is_one() {
        check(Path::new("/proc/self/exe")).unwrap();
    }

    #[test]
    fn every_way_of_not_being_one() {
        let own = std::fs::read("/bin/true").unwrap();
        let show = |result: Result<(), CheckError>| result.unwrap_err().to_string();
        check_bytes("whole", &own).unwrap();
        let text = show(check_bytes("page", b"<html>not found</html>"));
        assert!(text.contains("<html>"), "{text}");
        assert!(matches!(check_bytes("empty", b""), Err(CheckError::NotAProgram { .. })));
        for length in [20, 63, 64, 100, own.len() / 2, own.len() - 1] {
            let result = check_bytes("cut", &own[..length]);
            assert!(matches!(result, Err(CheckError::Truncated { .. })), "{length}: {result:?}");
        }
        let mut foreign = own.clone();
        // The other of the two machines that this runs on.
        let other: u16 = if cfg!(target_arch = "x86_64") { 0xb7 } else { 0x3e };
        foreign[18..20].copy_from_slice(&other.to_ne_bytes());
        let text = show(check_bytes("foreign", &foreign));
        assert!(text.contains(if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" }), "{text}");
        let mut object = own;
        object[16..18].copy_from_slice(&1_u16.to_ne_bytes());
        assert!(matches!(check_bytes("object", &object), Err(CheckError::NotExecutable { kind: 1 })));
        for byte in 0..64 {
            let mut bytes = vec![0xff; 64];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[byte] ^= 0x5a;
            assert!(check_bytes("garbage", &bytes).is_err());
        }
    }
}
