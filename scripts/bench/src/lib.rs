//! What the tests have as well: a load client that hides nothing, and a look at processes.
//!
//! Their files and not their package, which has more dependencies than `scripts/restart-test.sh` should wait for.

#[path = "../../../tests/support/src/load/mod.rs"]
pub mod load;
#[path = "../../../tests/support/src/proc.rs"]
pub mod proc;
