//! A `hello` that fails as the file `fault` beside it says.
fn main() {}
