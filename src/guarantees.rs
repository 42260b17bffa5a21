//! What holds, numbered, and what does not.
