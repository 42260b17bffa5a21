//! The programs that tests start: the examples, the test servers, and the command. No test finds an old one.
//!
//! Cargo builds the command before the tests that want it, and of the rest, when one test is run, nothing. So the first
//! test of a process that wants an example or a server lets cargo build them all: with the features and the profile that `cargo test
//! --all-features` has, so there it finds all but the servers done. (For that heirloom's dev-dependencies name what only the
//! servers need.)

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex};

/// Where an example or a test server is, as its sources are now.
///
/// # Panics
/// When it cannot be built.
pub fn example_path(name: &str) -> PathBuf {
    LazyLock::force(&BUILT);
    let path = match is_example(name) {
        true => profile().join("examples").join(name),
        false => server(name),
    };
    assert!(path.is_file(), "there is no example and no test server {name:?}");
    path
}

/// The command, which cargo has built for this test: `CARGO_BIN_EXE_heirloom`, which it tells the test alone.
pub fn heirloom() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| profile().join("heirloom"));
    assert!(
        PATH.is_file(),
        "{} is not built: the tests that use it need the feature \"cli\"",
        PATH.display()
    );
    &PATH
}

/// A folder for files of tests, on the file system of the programs.
pub fn scratch() -> PathBuf {
    let scratch = target().join("tmp");
    fs::create_dir_all(&scratch).unwrap_or_else(|error| panic!("{}: {error}", scratch.display()));
    scratch
}

/// What lies at this path of the checkout.
pub fn checkout(path: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/support in a checkout");
    root.join(path)
}

fn is_example(name: &str) -> bool {
    checkout("examples").join(name).with_extension("rs").is_file()
}

/// The file that is this server: a copy of the program of all, as new as that.
fn server(name: &str) -> PathBuf {
    static STAMPING: Mutex<()> = Mutex::new(());
    let _one = STAMPING.lock();
    let (all, path) = (profile().join(SERVERS), profile().join("servers").join(name));
    let modified = |path: &Path| fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&path) != modified(&all) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for servers");
        let stamped = Command::new(&all).arg(name).arg(&path).status();
        assert!(stamped.is_ok_and(|status| status.success()), "{} {name} {}", all.display(), path.display());
    }
    path
}

static BUILT: LazyLock<()> = LazyLock::new(|| {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--all-features", "--package", "heirloom", "--package", SERVERS]);
    cargo.args(["--examples", "--bin", SERVERS, "--manifest-path"]).arg(checkout("Cargo.toml"));
    cargo.arg("--target-dir").arg(target()).args(like_this_test());
    // What cargo tells a test, build scripts would take for news.
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in names.filter(|name| TOLD.iter().any(|told| name.starts_with(told))) {
        cargo.env_remove(name);
    }
    build(&mut cargo);
});

/// Runs cargo, and shows what it does, unless that is nothing.
fn build(cargo: &mut Command) {
    let mut child = cargo.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("cargo");
    let mut said = Vec::new();
    for line in BufReader::new(child.stderr.take().expect("a pipe")).lines() {
        let line = line.expect("words of cargo");
        if line.trim_start().starts_with("Compiling") {
            // Not by a macro, whose output is kept.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        said.push(line);
    }
    let status = child.wait().expect("the end of cargo");
    assert!(status.success(), "the programs of the tests cannot be built: {cargo:?}\n{}", said.join("\n"));
}

/// The options of cargo that this test was built with: its profile and its platform.
fn like_this_test() -> Vec<String> {
    let below = profile().strip_prefix(target()).expect("a profile below the target");
    let mut folders: Vec<_> = below.iter().map(|folder| folder.to_string_lossy().into_owned()).collect();
    let profile = match folders.pop().expect("a profile").as_str() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    let platform = folders.pop().map(|triple| ["--target".to_owned(), triple]);
    ["--profile".to_owned(), profile].into_iter().chain(platform.into_iter().flatten()).collect()
}

/// `target/PROFILE` or `target/TRIPLE/PROFILE`, of `target/PROFILE/deps/TEST`.
fn profile() -> &'static Path {
    static TEST: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::current_exe().expect("the path of this test"));
    TEST.ancestors().nth(2).expect("target/PROFILE/deps/TEST")
}

/// The folder in which cargo keeps what it knows of the compiler. (It marks one as a cache only if it has made it.)
fn target() -> &'static Path {
    let target = profile().ancestors().find(|folder| folder.join(".rustc_info.json").is_file());
    target.expect("a target folder above the test")
}

/// The package, and its program.
const SERVERS: &str = "heirloom-test-servers";

/// How the variables begin that cargo sets for one test alone.
const TOLD: [&str; 6] =
    ["CARGO_BIN_", "CARGO_CRATE_", "CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_PRIMARY_", "OUT_DIR"];
