//! What the prose says of the tree is true: the paths that it names exist, and comments keep to their width.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_path_that_is_named_exists() {
    let mut missing = Vec::new();
    for file in prose() {
        let text = fs::read_to_string(&file).unwrap();
        let named: Vec<&str> = paths_in(&text).collect();
        assert!(!file.ends_with("CONTRIBUTING.md") || named.len() > 40, "{} paths", named.len());
        let absent = named.into_iter().filter(|path| !root().join(path).exists());
        missing.extend(absent.map(|path| format!("{}: {path}", file.display())));
    }
    assert!(missing.is_empty(), "no such files:\n{}", missing.join("\n"));
}

#[test]
fn a_path_is_seen_in_backquotes_and_in_links() {
    let text = "`src/lib.rs`, [it](tests/web.rs), `scripts/load.sh 5`, src/not_quoted.rs, `https://src/x`";
    assert!(paths_in(text).eq(["src/lib.rs", "tests/web.rs", "scripts/load.sh"]));
}

#[test]
fn comments_are_no_wider_than_110_columns() {
    let mut wide = Vec::new();
    for file in below(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().enumerate().filter(|(_, line)| is_wide_comment(line));
        wide.extend(lines.map(|(at, _)| format!("{}:{}", file.display(), at + 1)));
    }
    assert!(wide.is_empty(), "wider than {WIDTH} columns:\n{}", wide.join("\n"));
}

/// The pages that send a reader to files.
fn prose() -> Vec<PathBuf> {
    let pages = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name));
    pages
        .into_iter()
        .chain(below(&root().join("src/docs")))
        .filter(|file| !file.ends_with("tests.rs"))
        .collect()
}

/// What stands in backquotes or as a link's target and begins with one of the tree's folders.
fn paths_in(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split(['`', '(']).skip(1);
    let words = quoted.filter_map(|rest| rest.split(['`', ')', '#', ' ', '\n']).next());
    words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder)))
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { below(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}

/// A table's row cannot be broken.
fn is_wide_comment(line: &str) -> bool {
    let text = line.trim_start();
    let is_row = text.trim_start_matches(['/', '!']).trim_start().starts_with('|');
    text.starts_with("//") && !is_row && line.chars().count() > WIDTH
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const FOLDERS: [&str; 5] = ["src/", "tests/", "scripts/", "examples/", ".ci/"];

/// As code has it (rustfmt.toml).
const WIDTH: usize = 110;
