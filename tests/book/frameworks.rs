//! The chapter on frameworks says how much of a program changes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_frameworks_chapter_says_how_many_lines_change() {
    let said: BTreeMap<String, Vec<String>> = rows(&read("src/docs/frameworks.rs"));
    let mut programs = files("examples/frameworks/src/bin");
    programs.retain(|name, _| !name.ends_with("-load"));
    assert!(programs.len() >= 7 && said.keys().eq(programs.keys()), "{said:#?} of {:?}", programs.keys());
    for (name, program) in &programs {
        // A framework with two ways has one plain program.
        let plain = name.strip_suffix("-incoming").unwrap_or(name);
        let plain = read(&format!("examples/frameworks/plain/{plain}.rs"));
        let changed = changed(&plain, &fs::read_to_string(program).expect("a program"));
        let wanted = match &**name {
            // It says when a connection may go, and what with it.
            "key-value" | "threads" | "tokio-tungstenite" => 12,
            // One is for what a plain program has not: its health service at a restart.
            "tonic" | "tonic-incoming" => 6,
            _ => 5,
        };
        assert!(changed <= wanted, "{name}: {changed} lines");
        assert_eq!(said[name][2].split(',').next(), Some(&*changed.to_string()), "{name}");
        let to_copy = name.replace('-', "_");
        let copied = match fs::read_to_string(root().join(format!("examples/frameworks/src/{to_copy}.rs"))) {
            Ok(text) => format!("`{to_copy}.rs`, {} lines", text.lines().count()),
            Err(_) => String::new(),
        };
        assert!(
            said[name][3].starts_with(&copied) && said[name][3].is_empty() == copied.is_empty(),
            "{name}: {copied}"
        );
    }
}

#[test]
fn the_frameworks_chapter_says_how_many_lines_the_diffs_have() {
    let chapter = read("src/docs/frameworks.rs");
    let diffs = files("examples/registry");
    assert!(!diffs.is_empty());
    for (name, diff) in &diffs {
        let diff = fs::read_to_string(diff).expect("a diff");
        let lines = |mark: &str, header: &str| {
            diff.lines().filter(|line| line.starts_with(mark) && !line.starts_with(header)).count()
        };
        let row = format!("//! | {} | ", name.replace('-', " "));
        let said = chapter.lines().find(|line| line.starts_with(&row));
        let said = said.unwrap_or_else(|| panic!("no row of {name}"));
        let counts = format!(" | {} | {} |", lines("-", "---"), lines("+", "+++"));
        assert!(said.ends_with(&counts), "{said:?} of {counts:?}");
    }
}

/// The cells of each row of the first table, by the program in the first.
fn rows(chapter: &str) -> BTreeMap<String, Vec<String>> {
    let cells = |line: &str| line.split('|').skip(1).map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let (_, table) = chapter.split_once("| changed lines |").expect("a table");
    let lines = table.lines().skip(1).take_while(|line| line.starts_with("//! |"));
    let lines = lines.filter(|line| line.starts_with("//! | `"));
    lines.map(cells).map(|cells| (cells[0].trim_matches('`').to_owned(), cells)).collect()
}

fn files(folder: &str) -> BTreeMap<String, PathBuf> {
    let paths = fs::read_dir(root().join(folder)).expect("a folder").map(|file| file.expect("a file").path());
    paths.map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path)).collect()
}

/// How many lines of `new` are not in `old`, or lines of `old` not in `new`, if those are more; what they say of themselves
/// at the top is no line.
fn changed(old: &str, new: &str) -> usize {
    let lines = |text: &str| {
        text.lines().filter(|line| !line.starts_with("//!")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (old, new) = (lines(old), lines(new));
    // The longest common subsequence, row by row.
    let mut common = vec![0; new.len() + 1];
    for line in &old {
        let above = common.clone();
        for (column, other) in new.iter().enumerate() {
            common[column + 1] =
                if line == other { above[column] + 1 } else { above[column + 1].max(common[column]) };
        }
    }
    old.len().max(new.len()) - common[new.len()]
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
