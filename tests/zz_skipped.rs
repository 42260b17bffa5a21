//! The last of all tests (cargo runs them by their names): says what the others have left out.

use std::io::Write;

#[test]
fn what_was_skipped() {
    let skipped = support::skip::take_skipped();
    if !skipped.is_empty() {
        // Not by a macro, whose output is kept.
        let _ = writeln!(std::io::stderr(), "\n*** {} SKIPPED:\n{}\n***", skipped.len(), skipped.join("\n"));
    }
}
