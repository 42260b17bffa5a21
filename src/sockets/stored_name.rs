//! Names for sockets in the service manager's store: what the next start needs to know of each, in the only
//! place that there is for it.
//!
//! A name is `heirloom-COOKIE-NAME-REQUESTED`. The cookie makes it unlike every other, so that one socket can
//! be taken out again; the other two are what a listener is found by. The manager allows 255 printable
//! characters without a colon.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::handover::percent;

/// What a name in the store says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Of the socket, as a number that orders sockets by their making as a rule.
    pub(crate) cookie: u64,
    /// The listener's.
    pub(crate) name: String,
    /// The address that was asked for; empty when it was too long to say.
    pub(crate) requested: OsString,
}

impl Stored {
    /// The name in the store.
    pub(crate) fn encode(&self) -> String {
        let (cookie, name) = (self.cookie, escape(self.name.as_bytes()));
        let whole = format!("{PREFIX}{cookie:x}-{name}-{}", escape(self.requested.as_bytes()));
        if whole.len() <= LONGEST {
            return whole;
        }
        // Without it the socket is found by its own address, which is what was asked for unless that was port
        // 0.
        let short = format!("{PREFIX}{cookie:x}-{name}-");
        if short.len() <= LONGEST { short } else { format!("{PREFIX}{cookie:x}--") }
    }

    /// `None` for a name that is not heirloom's.
    pub(crate) fn decode(name: &str) -> Option<Stored> {
        let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
        let cookie = u64::from_str_radix(parts.next()?, 16).ok()?;
        let name = String::from_utf8(percent::unescape(parts.next()?)?).ok()?;
        let requested = OsString::from_vec(percent::unescape(parts.next()?)?);
        Some(Stored { cookie, name, requested })
    }
}

/// No unit or user would call a socket so by chance.
const PREFIX: &str = "heirloom-";

/// FDNAME_MAX of systemd.
const LONGEST: usize = 255;

/// Everything but letters, digits, `.` and `/` as `%XX`: the rest either has a meaning here (`-`, `%`) or in
/// the manager's list (`:`).
fn escape(bytes: &[u8]) -> String {
    percent::escape(bytes, |byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, requested: &str) -> Stored {
        Stored { cookie: 0x1f, name: name.to_owned(), requested: requested.into() }
    }

    #[test]
    fn a_name_is_found_again() {
        for (name, requested) in
            [("", "127.0.0.1:0"), ("tls-a:b", "[::]:8443"), ("ü", "unix:/run/a-b.sock"), ("%", "unix:@x")]
        {
            let stored = stored(name, requested);
            let text = stored.encode();
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'), "{text}");
            assert_eq!(Stored::decode(&text), Some(stored));
        }
        assert_eq!(stored("", "127.0.0.1:0").encode(), "heirloom-1f--127.0.0.1%3a0");
    }

    #[test]
    fn a_long_address_is_left_out_and_a_long_name_as_well() {
        let long = "-".repeat(100);
        assert_eq!(Stored::decode(&stored("a", &long).encode()), Some(stored("a", "")));
        assert_eq!(Stored::decode(&stored(&long, &long).encode()), Some(stored("", "")));
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in
            ["", "http.socket", "stored", "heirloom-", "heirloom-x-a-b", "heirloom-1-%f-b", "heirloom-1-a"]
        {
            assert_eq!(Stored::decode(name), None, "{name}");
        }
    }
}
