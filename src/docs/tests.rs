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

#[test]
fn chapters_lead_to_each_other_in_order() {
    let contents = fs::read_to_string(root().join("src/docs/mod.rs")).unwrap();
    let order: Vec<&str> = contents
        .lines()
        .filter_map(|line| line.strip_prefix("//! | [`"))
        .filter_map(|line| line.split('`').next())
        .collect();
    let all = below(&root().join("src/docs")).into_iter().map(|file| file.file_stem().unwrap().to_owned());
    let all: Vec<_> = all.filter(|name| name != "mod" && name != "tests").collect();
    assert!(all.len() == order.len() && all.iter().all(|name| order.iter().any(|known| *known == *name)));
    for (at, chapter) in order.iter().enumerate() {
        let text = fs::read_to_string(root().join(format!("src/docs/{chapter}.rs"))).unwrap();
        let last = text.lines().last().unwrap_or_default();
        let link = |word: &str, to: &str| last.contains(&format!("{word}: [`{to}`](super::{to})"));
        let before = at == 0 || link("Before", order[at - 1]);
        let next = at + 1 == order.len() || link("Next", order[at + 1]);
        assert!(before && next, "{chapter} ends with {last:?}");
    }
}

#[test]
fn what_others_call_it_is_shown_by_tests_that_are_there() {
    let text = fs::read_to_string(root().join("src/docs/coming_from.rs")).unwrap();
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("//! |") && line.contains("heirloom") || line.contains(".rs`"))
        .collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    let mut missing = Vec::new();
    for row in rows.into_iter().filter(|row| row.starts_with("//! |") && !row.ends_with("shown by |")) {
        let shown = row.rsplit("| `tests/").next().unwrap_or_default();
        let mut words = shown.split('`').step_by(2);
        let (file, test) = (words.next().unwrap_or_default(), shown.split('`').nth(2).unwrap_or_default());
        let code = fs::read_to_string(root().join("tests").join(file)).unwrap_or_default();
        if test.is_empty() || !code.contains(&format!("fn {test}()")) {
            missing.push(row);
        }
    }
    assert!(missing.is_empty(), "not shown: {missing:#?}");
}

#[test]
fn every_message_is_explained() {
    let page = fs::read_to_string(root().join("src/docs/messages.rs")).unwrap();
    let page: Vec<&str> = page.lines().map(|line| line.trim_start_matches("//!").trim()).collect();
    let page = page.join(" ");
    let (mut count, mut missing) = (0, Vec::new());
    for file in below(&root().join("src")) {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let is_other = path.contains("tests")
            || ["src/bin", "src/docs", "src/aside"].iter().any(|own| path.starts_with(own));
        if is_other {
            continue;
        }
        let code = fs::read_to_string(&file).unwrap();
        let code = code.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for message in messages(code) {
            count += 1;
            if !page.contains(&message) {
                missing.push(format!("{path}: {message}"));
            }
        }
    }
    assert!(count > 200, "{count} messages");
    assert!(missing.is_empty(), "not in src/docs/messages.rs:\n{}", missing.join("\n"));
}

/// The words before or between what is filled in, of each warning and each error.
fn messages(code: &str) -> impl Iterator<Item = String> {
    let starts = ["say!(warn:", "say!(error:", "say_seldom!(warn:", "say_seldom!(error:", "#[error("];
    let texts = starts.into_iter().flat_map(move |start| code.split(start).skip(1)).filter_map(literal);
    texts.filter_map(|text| {
        let parts =
            text.split(['{', '}']).step_by(2).map(|part| part.trim_matches([' ', ':', ';', ',', '"']));
        let lead = parts.map(str::to_owned).find(|part| part.len() > 3)?;
        // As much of a long one as is worth to be looked for.
        Some(if lead.len() > LONG {
            lead.split_whitespace().take(6).collect::<Vec<_>>().join(" ")
        } else {
            lead
        })
    })
}

/// The first string in it, before the call or the attribute ends.
fn literal(code: &str) -> Option<String> {
    let begin = code.find('"')?;
    if code[..begin].contains([';', ']']) {
        return None;
    }
    let (mut text, mut letters) = (String::new(), code[begin + 1..].chars());
    loop {
        match letters.next()? {
            '"' => return Some(text),
            '\\' => match letters.next()? {
                // A line that goes on: its indentation is no part of it.
                '\n' => letters = letters.as_str().trim_start().chars(),
                letter => text.push(letter),
            },
            letter => text.push(letter),
        }
    }
}

const LONG: usize = 60;

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
