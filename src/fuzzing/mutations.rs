//! The fuzz targets without a fuzzer: seeds, each changed a little in ways that a number decides. The same
//! every time.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// As often is each target fed: together they take about two seconds.
const ROUNDS: u64 = 3_000;

/// In bytes.
const LONGEST: usize = 4 * 1024;

type Target = (&'static str, fn(&[u8]));

fn targets() -> Vec<Target> {
    let mut targets: Vec<Target> = vec![
        ("announcement", super::announcement),
        ("message", super::message),
        ("stored_name", super::stored_name),
        ("control", super::control),
    ];
    #[cfg(feature = "http")]
    targets.extend::<[Target; 5]>([
        ("carried", super::carried),
        ("frames", super::frames),
        ("http1", super::http1),
        ("http2", super::http2),
        ("sessions", super::sessions),
    ]);
    #[cfg(feature = "tls")]
    targets.extend::<[Target; 2]>([("records", super::records), ("tls_carried", super::tls_carried)]);
    #[cfg(feature = "udp")]
    targets.extend::<[Target; 2]>([("flow_frames", super::flow_frames), ("datagrams", super::datagrams)]);
    #[cfg(feature = "quic")]
    targets.extend::<[Target; 2]>([
        ("quic_headers", super::quic_headers),
        ("quic_sessions", super::quic_sessions),
    ]);
    #[cfg(feature = "supervisor")]
    targets.extend::<[Target; 2]>([("env_file", super::env_file), ("notices", super::notices)]);
    #[cfg(feature = "fetch")]
    targets.extend::<[Target; 2]>([("elf", super::elf), ("releases", super::releases)]);
    targets
}

#[test]
fn whatever_comes_nothing_panics() {
    let failed: Vec<_> = targets().into_iter().filter_map(|(name, feed)| failing(name, feed)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_target_has_a_program_and_every_folder_of_seeds_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let programs = fs::read_to_string(root.join("tests/fuzz/Cargo.toml")).expect("the fuzzer's manifest");
    let known: Vec<_> = targets().into_iter().map(|(name, _)| name).collect();
    for name in &known {
        assert!(programs.contains(&format!("path = \"targets/{name}.rs\"")), "no program for {name}");
    }
    if cfg!(all(
        feature = "http",
        feature = "tls",
        feature = "supervisor",
        feature = "fetch",
        feature = "udp",
        feature = "quic"
    )) {
        for folder in fs::read_dir(root.join("src/fuzzing/seeds")).expect("seeds") {
            let folder = folder.expect("a folder").file_name();
            assert!(known.iter().any(|name| folder == **name), "{folder:?} is for no target");
        }
    }
}

/// The bytes that make it panic, if any do.
fn failing(name: &str, feed: fn(&[u8])) -> Option<String> {
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let changed = (0..ROUNDS).map(|_| changed(&seeds, &mut dice)).collect::<Vec<_>>();
    let mut all = seeds.iter().chain(&changed);
    let failing = all.find(|bytes| catch_unwind(|| feed(bytes)).is_err())?;
    Some(format!("{name} panics, fed with \"{}\"", failing.escape_ascii()))
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzzing/seeds").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files.map(|file| file.expect("a seed").path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a seed")).collect()
}

/// One of the seeds, or the begin of one and the end of another, with a few changes.
fn changed(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds[dice.below(seeds.len())].clone();
    if dice.below(4) == 0 {
        let other = &seeds[dice.below(seeds.len())];
        bytes.truncate(dice.below(bytes.len() + 1));
        bytes.extend_from_slice(&other[dice.below(other.len() + 1)..]);
    }
    for _ in 0..=dice.below(4) {
        change(&mut bytes, dice);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    let end = at + dice.below(bytes.len() - at + 1).min(1 << dice.below(8));
    match dice.below(6) {
        0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        1 if at < bytes.len() => bytes[at] = TELLING[dice.below(TELLING.len())],
        2 => bytes.insert(at, TELLING[dice.below(TELLING.len())]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes[at..end].to_vec();
            bytes.splice(at..at, part);
        }
        _ => bytes.extend((0..dice.below(16)).map(|_| dice.next() as u8).collect::<Vec<_>>()),
    }
}

/// Ends of lines and texts, digits, quotes, signs, and the numbers at which something begins or ends.
const TELLING: &[u8] = b"\0\x01\x7f\x80\xfe\xff\r\n 09afz{}[]\",:/%=-+";

/// Xorshift: numbers without any order that anybody sees, from a first one.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}
