//! Where the head of an HTTP/1 message ends.

/// Looks for the end of a head: an empty line, with or without CR, behind any that come before its first
/// line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum HeadEnd {
    /// Before the first line.
    #[default]
    Before,
    InLine,
    /// At the begin of a line, or behind a CR there.
    LineBegin,
}

impl HeadEnd {
    /// Follows what was read or written. Behind which of the bytes the head ends; from then on it looks for
    /// the next one's.
    pub(in crate::http) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (*self, byte) {
                (HeadEnd::LineBegin, b'\n') => {
                    *self = HeadEnd::Before;
                    return Some(at + 1);
                }
                (HeadEnd::Before, b'\r' | b'\n') => HeadEnd::Before,
                (HeadEnd::LineBegin, b'\r') => HeadEnd::LineBegin,
                (_, b'\n') => HeadEnd::LineBegin,
                _ => HeadEnd::InLine,
            };
        }
        None
    }

    /// How many of these bytes, which come next, belong to the head.
    pub(in crate::http) fn within(mut self, bytes: &[u8]) -> usize {
        self.follow(bytes).unwrap_or(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_head_ends_with_an_empty_line_in_any_of_its_forms() {
        for (head, rest) in [
            ("GET / HTTP/1.1\r\nhost: x\r\n\r\n", "GET"),
            ("\r\n\r\nGET / HTTP/1.1\r\n\r\n", "\r\n"),
            ("GET / HTTP/1.1\nhost: x\n\n", "\n"),
            ("GET / HTTP/1.1\nhost: x\r\n\n", ""),
        ] {
            let bytes = format!("{head}{rest}");
            let mut end = HeadEnd::default();
            assert_eq!(end.follow(bytes.as_bytes()), Some(head.len()), "{bytes:?}");
            assert_eq!(end, HeadEnd::Before);
            for cut in 1..head.len() {
                let mut end = HeadEnd::default();
                assert_eq!(end.follow(&bytes.as_bytes()[..cut]), None);
                assert_eq!(
                    end.follow(&bytes.as_bytes()[cut..]),
                    Some(head.len() - cut),
                    "{bytes:?} at {cut}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_followed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = HeadEnd::default().follow(&bytes);
        }
    }
}
