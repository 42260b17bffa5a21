//! The command `heirloom`.

fn main() {}
