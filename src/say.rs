//! What heirloom's own threads say, and that they survive saying it.

/// Says something to the program's `tracing` subscriber, and goes on if that panics: it is not ours, and the usual one
/// does when standard error is a pipe that nobody reads any more. What follows in the driver must happen all the same.
macro_rules! say {
    ($level:ident: $($what:tt)*) => {{
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tracing::$level!($($what)*)));
    }};
}
