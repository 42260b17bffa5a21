//! Makes a server of each program in the README and the guide: a module with its code as it stands there.

#[path = "../support/src/book.rs"]
#[allow(unreachable_pub, reason = "the tests have it as a part of a library")]
mod book;

use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/servers in a checkout");
    println!("cargo::rerun-if-changed=../support/src/book.rs");
    println!("cargo::rerun-if-changed={}", root.join("src/docs").display());
    let (mut modules, mut arms) = (String::new(), String::new());
    for page in book::pages(root) {
        println!("cargo::rerun-if-changed={}", page.display());
        for snippet in book::snippets(&page).into_iter().filter(book::Snippet::is_program) {
            let module = snippet.name.replace('-', "_");
            let code = on_any_port(&snippet.code);
            write!(
                modules,
                "// {}\nmod {module} {{\n{code}\n\
                 pub(super) fn begin() -> std::process::ExitCode {{ std::process::Termination::report(main()) }}\n}}\n",
                snippet.place
            )
            .expect("room");
            writeln!(arms, "        \"{}\" => {module}::begin(),", snippet.name).expect("room");
        }
    }
    let run = format!(
        "{modules}/// Becomes this program.\npub(crate) fn run(name: &str) -> Option<std::process::ExitCode> {{\n    \
         Some(match name {{\n{arms}        _ => return None,\n    }})\n}}\n"
    );
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    fs::write(Path::new(&out).join("book.rs"), run).expect("a file of our own");
}

/// The one thing that is not as it stands: tests run beside each other.
fn on_any_port(code: &str) -> String {
    let mut parts = code.split("\"127.0.0.1:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out += "\"127.0.0.1:0";
        out += part.trim_start_matches(|letter: char| letter.is_ascii_digit());
    }
    out
}
