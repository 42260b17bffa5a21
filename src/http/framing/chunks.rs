//! A body in chunks, followed byte by byte (RFC 9112, 7.1): where its chunks end, and where it ends.

use super::up_to;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) enum Chunks {
    /// Between two chunks.
    #[default]
    Between,
    /// In the number of the next one's bytes.
    Size(u64),
    /// Behind that number, in what may follow it on its line.
    Extension(u64),
    /// In its bytes and the line end behind them.
    Data(u64),
    /// In the lines behind the last chunk, of which the present one has something on it or not.
    Trailers {
        empty: bool,
    },
    Over,
    /// These are no chunks.
    Broken,
}

impl Chunks {
    /// Follows what was read or written. How many of the bytes belong to the body.
    pub(in crate::http) fn follow(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && *self != Chunks::Over {
            if let Chunks::Data(left) = self {
                let count = up_to(*left, &bytes[at..]);
                *left -= count as u64;
                at += count;
                if *left == 0 {
                    *self = Chunks::Between;
                }
                continue;
            }
            *self = self.after(bytes[at]);
            at += 1;
        }
        at
    }

    /// How many of these bytes, which come next, belong to the body.
    pub(in crate::http) fn within(mut self, bytes: &[u8]) -> usize {
        self.follow(bytes)
    }

    /// Where another chunk may begin.
    pub(in crate::http) fn is_between(self) -> bool {
        self == Chunks::Between
    }

    fn after(self, byte: u8) -> Chunks {
        match self {
            Chunks::Between | Chunks::Size(_) if byte.is_ascii_hexdigit() => {
                let size = if let Chunks::Size(size) = self { size } else { 0 };
                let digit = char::from(byte).to_digit(16).map_or(0, u64::from);
                size.checked_mul(16)
                    .filter(|size| *size <= LONGEST)
                    .map_or(Chunks::Broken, |size| Chunks::Size(size | digit))
            }
            Chunks::Size(size) | Chunks::Extension(size) if byte == b'\n' => match size {
                0 => Chunks::Trailers { empty: true },
                size => Chunks::Data(size + LINE_END),
            },
            Chunks::Size(size) | Chunks::Extension(size) => Chunks::Extension(size),
            Chunks::Trailers { empty: true } if byte == b'\n' => Chunks::Over,
            Chunks::Trailers { .. } if byte == b'\n' => Chunks::Trailers { empty: true },
            Chunks::Trailers { empty } => Chunks::Trailers { empty: empty && byte == b'\r' },
            _ => Chunks::Broken,
        }
    }
}

/// Behind a chunk's bytes.
const LINE_END: u64 = 2;

/// So that one more digit and a line end fit.
const LONGEST: u64 = u64::MAX / 32;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(bytes: &str) -> Chunks {
        let mut chunks = Chunks::default();
        chunks.follow(bytes.as_bytes());
        chunks
    }

    #[test]
    fn it_is_between_two_chunks_and_nowhere_else() {
        let body = "5\r\nhello\r\n1A;name=value\r\nabcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n";
        let between: Vec<_> = (0..=body.len()).filter(|end| after(&body[..*end]).is_between()).collect();
        assert_eq!(between, [0, 10, 10 + 15 + 28]);
        assert_eq!(after(body), Chunks::Over);
    }

    #[test]
    fn trailers_belong_to_it_and_what_follows_does_not() {
        let mut chunks = Chunks::default();
        let body = "0\r\nname: value\r\nother: 0\r\n\r\n";
        assert_eq!(chunks.follow(format!("{body}GET /").as_bytes()), body.len());
        assert_eq!(chunks, Chunks::Over);
        assert_eq!(chunks.follow(b"GET /"), 0);
    }

    #[test]
    fn what_is_no_chunk_is_never_between_two() {
        for bytes in ["\r\n", "hello", "ffffffffffffffffff\r\n", "-1\r\n", " 5\r\n"] {
            let mut chunks = after(bytes);
            chunks.follow(b"0\r\n\r\n5\r\nhello\r\n");
            assert!(!chunks.is_between() && chunks != Chunks::Over, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn however_it_is_cut_it_ends_where_it_does(
            sizes in proptest::collection::vec(1..3000_usize, 0..5),
            cut in 1..50_usize,
        ) {
            let mut body: String = sizes.iter().map(|size| format!("{size:x}\r\n{}\r\n", "x".repeat(*size))).collect();
            body.push_str("0\r\n\r\n");
            let length = body.len();
            body.push_str("next");
            let (mut chunks, mut count) = (Chunks::default(), 0);
            for piece in body.as_bytes().chunks(cut) {
                count += chunks.follow(piece);
            }
            prop_assert_eq!((chunks, count), (Chunks::Over, length));
        }

        #[test]
        fn any_bytes_are_followed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Chunks::default().follow(&bytes) <= bytes.len());
        }
    }
}
