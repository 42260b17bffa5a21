//! The image: our Dockerfile, unchanged, built by the engine.
//!
//! No registry is asked. What it builds upon stands in under the same names: the libraries and a few programs of this machine
//! for Debian's image, and for Rust's the same with a `cargo` that hands over what cargo built before this test ran.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::super::binary::TestDir;
use super::super::programs::{example_path, heirloom};
use super::Engine;

/// The instructions of the file that we ship.
#[derive(Debug)]
pub struct Dockerfile(Vec<(String, String)>);

impl Dockerfile {
    pub const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/deploy/docker/Dockerfile");

    pub fn read() -> Dockerfile {
        let text = fs::read_to_string(Dockerfile::PATH).expect("the Dockerfile");
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let pairs = lines.map(|line| line.split_once(' ').expect("an instruction and its arguments"));
        Dockerfile(pairs.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect())
    }

    /// The arguments of each instruction of this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(other, _)| other == name).map(|(_, rest)| rest.as_str()).collect()
    }

    /// The words of the last instruction of this name, which is a list.
    pub fn words(&self, name: &str) -> Vec<String> {
        let list = *self.all(name).last().expect("such an instruction");
        list.trim_matches(['[', ']']).split(", ").map(|word| word.trim_matches('"').to_owned()).collect()
    }
}

/// Builds it, under the name [`IMAGE`].
pub(super) fn build(engine: &Engine) {
    let dir = TestDir::new();
    let dockerfile = Dockerfile::read();
    let bases = dockerfile.all("FROM").into_iter().map(|from| from.split(' ').next().expect("a name"));
    let [toolchain, base] = bases.collect::<Vec<_>>()[..] else { panic!("two stages: {dockerfile:?}") };

    let root = dir.path().join("base");
    let mut programs: Vec<_> = PROGRAMS.iter().map(|name| format!("/usr/bin/{name}")).collect();
    for program in &programs {
        copy(Path::new(program), &root);
    }
    let built = [("heirloom", heirloom().to_owned()), ("server", example_path("unit"))];
    programs.extend(built.iter().map(|(_, path)| path.display().to_string()));
    for library in libraries(&programs) {
        copy(Path::new(&library), &root);
    }
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).expect("a link");
    fs::create_dir(root.join("tmp")).expect("a directory");
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("everybody's directory");
    import(engine, &root, base);

    for (name, path) in built {
        let target = root.join("built");
        fs::create_dir_all(&target).expect("a directory");
        // Their symbols are most of them.
        let stripped = Command::new("strip").arg("-o").arg(target.join(name)).arg(path).status();
        assert!(stripped.is_ok_and(|status| status.success()), "strip, which comes with a linker");
    }
    fs::write(root.join("usr/bin/cargo"), CARGO).expect("a script");
    fs::set_permissions(root.join("usr/bin/cargo"), fs::Permissions::from_mode(0o755)).expect("a program");
    import(engine, &root, toolchain);

    // The checkout of heirloom, and the crate of the server, as the commands at the head of the file name them.
    let (heirloom, crate_) = (dir.path().join("heirloom"), dir.path().join("crate"));
    for directory in [&heirloom, &crate_] {
        fs::create_dir(directory).expect("a directory");
        fs::write(directory.join("Cargo.toml"), "").expect("a file");
    }
    let context = format!("heirloom={}", heirloom.display());
    let tag = ["build", "--pull=never", "--isolation=chroot", "--layers=false", "-t", IMAGE];
    let rest = ["--build-context", &context, "-f", Dockerfile::PATH, crate_.to_str().expect("a plain path")];
    engine.expect(tag.into_iter().chain(rest));
}

/// A directory becomes an image.
fn import(engine: &Engine, root: &Path, name: &str) {
    let archive = root.with_extension("tar");
    let packed = Command::new("tar")
        .args(["--owner=0", "--group=0", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(root)
        .arg(".")
        .status();
    assert!(packed.is_ok_and(|status| status.success()), "tar");
    engine.expect(["import", archive.to_str().expect("a plain path"), name]);
}

/// A file of this machine goes to the same path below `root`.
fn copy(path: &Path, root: &Path) {
    let target = root.join(path.strip_prefix("/").expect("an absolute path"));
    fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
    fs::copy(path, &target).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// What the loader would map for these programs, and the loader.
fn libraries(programs: &[String]) -> BTreeSet<String> {
    let output = Command::new("ldd").args(programs).output().expect("ldd, of every Debian");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/') && word.contains(".so"));
    words.map(str::to_owned).collect()
}

/// What the image is called here: as in the README.
pub const IMAGE: &str = "server";

/// What the tests run in the container beside the server, and what the Dockerfile runs while it is built.
const PROGRAMS: [&str; 6] = ["sh", "sleep", "chmod", "mkdir", "mv", "install"];

/// Knows the two calls that the Dockerfile makes, and where they are made.
const CARGO: &str = r#"#!/bin/sh
set -e
case "$*" in
"install --locked --root /usr/local --path /heirloom --features cli")
    [ -f /heirloom/Cargo.toml ]
    mkdir -p /usr/local/bin
    install /built/heirloom /usr/local/bin/heirloom
    ;;
"build --release --bin server")
    [ -f Cargo.toml ]
    mkdir -p target/release
    install /built/server target/release/server
    ;;
*)
    echo "cargo $*: this one knows no such thing" >&2
    exit 1
    ;;
esac
"#;
