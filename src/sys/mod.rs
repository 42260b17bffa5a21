//! The only place with `unsafe`: each file one family of system calls, no policy.
#![allow(unsafe_code)]
