//! `src/fuzzing/mod.rs` says what has to hold; `scripts/fuzz.sh quic_headers` runs it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| heirloom::fuzzing::quic_headers(bytes));
