//! `src/fuzzing/mod.rs` says what has to hold; `scripts/fuzz.sh tls_carried` runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::fuzzing::tls_carried(bytes));
