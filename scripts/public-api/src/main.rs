//! Prints the public surface that rustdoc's JSON describes: one item a line, sorted.
//!
//! ```text
//! heirloom-public-api FILE
//! ```

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args_os().nth(1).ok_or("which file? (rustdoc's JSON)")?;
    let written: HashSet<String> = items(Path::new(&file), false)?.into_iter().collect();
    // That a type is `Clone` is promised to its users; the functions of the derived impl say nothing more.
    let listed = items(Path::new(&file), true)?;
    listed.iter().filter(|item| item.starts_with("impl") || written.contains(*item)).for_each(|item| {
        println!("{item}");
    });
    Ok(())
}

/// Without what is implemented for all types or by the compiler, which `cargo semver-checks` compares.
fn items(file: &Path, derived: bool) -> Result<Vec<String>, public_api::Error> {
    let api = public_api::Builder::from_rustdoc_json(file)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(!derived)
        .build()?;
    Ok(api.items().map(ToString::to_string).collect())
}
