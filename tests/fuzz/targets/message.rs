//! Any packet of the handover channel: it is read without a panic, and what was understood is written as it was read.
//!
//! To run it, in `tests/fuzz` (the second line writes the seeds, the third needs `cargo install cargo-fuzz`):
//!
//! ```sh
//! cd tests/fuzz
//! ./seeds.sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --fuzz-dir . message -- -max_total_time=30
//! ```
//!
//! RUSTC_BOOTSTRAP lets a stable toolchain take the sanitizer's flag, which is a nightly one.
#![no_main]

use heirloom::handover::message::Message;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(message)) = Message::decode(bytes) {
        assert_eq!(Message::decode(&message.encode()), Ok(Some(message)));
    }
});
