//! The servers that the tests start, as one program.
//!
//! Which of them a file is, it carries itself: a copy of this program with a name stamped into it *is* that server, under
//! any name, by any link, for its successors as well. Neither its arguments nor its name can say it: the tests put one server in
//! the place of another while that runs, start servers by the names of links, and look at what a successor is started with.
//!
//! ```text
//! heirloom-test-servers NAME PATH      puts the server NAME at PATH
//! ```
//!
//! The tests do so for themselves (`tests/support/src/programs.rs`).

mod blocking;
mod completions;
mod conversing;
mod faulty;
mod fetching;
mod framework;
mod hostile;
mod impostor;
mod listeners;
mod metered;
mod metered_parent;
mod mover;
mod planted;
mod probe;
mod recorded;
mod rpc;
mod secure;
mod silent;
mod sockets;
mod stateful;
mod stopping;
mod unit;
mod web;
mod websocket;
mod workers;

/// The programs of the README and the guide, by their page and number (build.rs).
#[allow(dead_code, unused_imports, reason = "a reader's programs, as they stand there")]
mod book {
    include!(concat!(env!("OUT_DIR"), "/book.rs"));
}

use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::hint::black_box;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{ExitCode, Termination};

fn main() -> ExitCode {
    match stamped() {
        Some(name) => run(name).unwrap_or_else(|| panic!("no server {name:?}")),
        None => stamp(std::env::args_os().skip(1).collect()).report(),
    }
}

/// Becomes this server.
fn run(name: &str) -> Option<ExitCode> {
    Some(match name {
        "blocking" => blocking::main().report(),
        "completions" => completions::main().report(),
        "conversing" => conversing::main().report(),
        "faulty" => faulty::main().report(),
        "fetching" => fetching::main().report(),
        "framework" => framework::main().report(),
        "hostile" => hostile::main().report(),
        "impostor" => impostor::main().report(),
        "listeners" => listeners::main().report(),
        "metered" => metered::main().report(),
        "metered_parent" => metered_parent::main().report(),
        "mover" => mover::main().report(),
        "planted" => planted::main().report(),
        "probe" => probe::main().report(),
        "rpc" => rpc::main().report(),
        "secure" => secure::main().report(),
        "silent" => silent::main().report(),
        "sockets" => sockets::main().report(),
        "stateful" => stateful::main().report(),
        "stopping" => stopping::main().report(),
        "unit" => unit::main().report(),
        "web" => web::main().report(),
        "websocket" => websocket::main().report(),
        "workers" => workers::main().report(),
        _ => return book::run(name.strip_prefix(BOOK)?),
    })
}

/// The name that is stamped into this file.
fn stamped() -> Option<&'static str> {
    // The compiler does not know what the file says by now.
    let name = black_box(&STAMP).0.strip_prefix(MARK).expect("a stamp begins with its mark");
    let name = std::str::from_utf8(name).expect("a name that is text").trim_end();
    (!name.is_empty()).then_some(name)
}

/// Writes a copy of this file with a name in it. A process of its own does so: in a test, a child that another thread
/// starts meanwhile would hold the file open for writing, and nobody could execute it.
fn stamp(arguments: Vec<OsString>) -> Result<(), Box<dyn Error>> {
    let usage = "usage: heirloom-test-servers NAME PATH";
    let [name, path] = <[OsString; 2]>::try_from(arguments).map_err(|_| usage)?;
    let name = name.to_str().filter(|name| name.len() <= SIZE - MARK.len()).ok_or(usage)?;
    let mut bytes = fs::read("/proc/self/exe")?;
    // What is aligned in memory is so in the file, which is mapped by whole pages.
    let mut places: Vec<_> = bytes.chunks_exact_mut(SIZE).filter(|bytes| **bytes == STAMP.0).collect();
    let [place] = &mut places[..] else { return Err(format!("{} places for a name", places.len()).into()) };
    place[MARK.len()..][..name.len()].copy_from_slice(name.as_bytes());
    write(Path::new(&path), &bytes)
}

/// All of it or nothing is there, whoever else does the same.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, bytes)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    // By this the tests know of which build it is.
    fs::File::options().write(true).open(&new)?.set_modified(fs::metadata("/proc/self/exe")?.modified()?)?;
    Ok(fs::rename(new, path)?)
}

/// How the names of the book's programs begin.
const BOOK: &str = "book-";

#[repr(align(64))]
struct Stamp([u8; SIZE]);

/// Where the name goes: blanks behind the mark.
#[used]
static STAMP: Stamp = Stamp(*b"heirloom test server:                                           ");

const MARK: &[u8] = b"heirloom test server:";

const SIZE: usize = 64;
