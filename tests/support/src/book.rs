//! The programs in the README and in the guide, as a reader would paste them.
//!
//! The build script of tests/servers uses this file, too.

use std::fs;
use std::path::{Path, PathBuf};

/// A piece of Rust in the text.
#[derive(Debug)]
pub struct Snippet {
    /// `readme-1`, `server-2`: its page, and its number there.
    pub name: String,
    /// Where its code begins, for people.
    pub place: String,
    pub code: String,
}

impl Snippet {
    pub fn is_program(&self) -> bool {
        self.code.contains("fn main(")
    }
}

/// The README, the front page and the chapters, below this root of a checkout.
pub fn pages(root: &Path) -> Vec<PathBuf> {
    let chapters = fs::read_dir(root.join("src/docs"))
        .expect("the chapters")
        .map(|entry| entry.expect("an entry").path());
    let mut chapters: Vec<PathBuf> =
        chapters.filter(|path| !path.ends_with("tests.rs") && !path.is_dir()).collect();
    chapters.sort();
    [root.join("README.md"), root.join("src/lib.rs")].into_iter().chain(chapters).collect()
}

/// All Rust on a page.
pub fn snippets(page: &Path) -> Vec<Snippet> {
    let text = fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let is_markdown = page.extension().is_some_and(|extension| extension == "md");
    let stem = page.file_stem().expect("a name").to_string_lossy().to_lowercase();
    let mut found: Vec<Snippet> = Vec::new();
    let mut within: Option<bool> = None;
    for (number, line) in text.lines().enumerate() {
        let Some(line) = (if is_markdown { Some(line) } else { prose(line) }) else { continue };
        match (within, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let is_rust = is_rust(language);
                within = Some(is_rust);
                if is_rust {
                    let name = format!("{stem}-{}", found.len() + 1);
                    let place = format!("{}:{}", page.display(), number + 2);
                    found.push(Snippet { name, place, code: String::new() });
                }
            }
            // Another way to open the same one, for other features.
            (Some(true), Some("ignore")) => {}
            (Some(_), Some(_)) => within = None,
            (Some(true), None) if !is_hidden(line) => {
                let code = &mut found.last_mut().expect("one that has begun").code;
                code.push_str(line);
                code.push('\n');
            }
            (_, None) => {}
        }
    }
    found
}

/// What a line of module documentation says.
fn prose(line: &str) -> Option<&str> {
    if let Some(fence) = line.split_once("doc = \"```").map(|(_, fence)| fence) {
        // From the backquotes on.
        let start = line.len() - fence.len() - "```".len();
        return line[start..].strip_suffix("\")]");
    }
    line.strip_prefix("//!").map(|text| text.strip_prefix(' ').unwrap_or(text))
}

fn is_rust(language: &str) -> bool {
    let mut words = language.split(',').map(str::trim);
    words.all(|word| matches!(word, "" | "rust" | "no_run" | "ignore"))
}

/// What rustdoc leaves out is not pasted.
fn is_hidden(line: &str) -> bool {
    let line = line.trim_start();
    line == "#" || line.starts_with("# ")
}
