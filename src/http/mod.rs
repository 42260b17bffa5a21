//! Serving HTTP.
