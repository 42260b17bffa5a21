//! hyper's buffer filled by what reads into tokio's, without a copy between the two.

use std::io;
use std::task::{Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::ReadBuf;

/// Has `read` fill what is left of `buf`. How many bytes came, in all.
#[inline(always)]
pub(crate) fn read_into(
    mut buf: ReadBufCursor<'_>,
    read: impl FnOnce(&mut ReadBuf<'_>) -> Poll<io::Result<()>>,
) -> Poll<io::Result<usize>> {
    // SAFETY: A `ReadBuf` never makes bytes uninitialised that were initialised before.
    let space = unsafe { buf.as_mut() };
    let start = space.as_ptr().cast::<u8>();
    let mut filling = ReadBuf::uninit(space);
    ready!(read(&mut filling))?;
    let filled = filling.filled();
    // A reader that is out of its mind may have put another buffer in its place.
    assert!(std::ptr::eq(filled.as_ptr(), start), "the reader has filled another buffer");
    let count = filled.len();
    // SAFETY: They are filled, and so initialised, from the first byte of the space on.
    unsafe { buf.advance(count) };
    Poll::Ready(Ok(count))
}

#[cfg(test)]
mod tests {
    use std::mem::MaybeUninit;

    use hyper::rt::ReadBuf as HyperBuf;

    use super::*;

    #[test]
    fn what_is_read_comes_behind_what_was() {
        let mut space = [MaybeUninit::uninit(); 8];
        let mut buf = HyperBuf::uninit(&mut space);
        for (bytes, all) in [(&b"abc"[..], &b"abc"[..]), (b"", b"abc"), (b"defgh", b"abcdefgh")] {
            let polled = read_into(buf.unfilled(), |filling| {
                filling.put_slice(bytes);
                Poll::Ready(Ok(()))
            });
            assert!(matches!(polled, Poll::Ready(Ok(count)) if count == bytes.len()));
            assert_eq!(buf.filled(), all);
        }
    }

    #[test]
    fn what_waits_or_fails_reads_nothing() {
        let mut space = [MaybeUninit::uninit(); 8];
        let mut buf = HyperBuf::uninit(&mut space);
        assert!(read_into(buf.unfilled(), |_| Poll::Pending).is_pending());
        let failed = read_into(buf.unfilled(), |filling| {
            filling.put_slice(b"lost");
            Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
        });
        assert!(matches!(failed, Poll::Ready(Err(_))));
        assert!(buf.filled().is_empty());
    }

    #[test]
    #[should_panic(expected = "another buffer")]
    fn a_buffer_that_was_swapped_is_not_taken_for_filled() {
        let mut space = [MaybeUninit::uninit(); 8];
        let mut buf = HyperBuf::uninit(&mut space);
        let _ = read_into(buf.unfilled(), |filling| {
            let mut other = ReadBuf::new(Box::leak(Box::new([0; 8])));
            other.advance(8);
            *filling = other;
            Poll::Ready(Ok(()))
        });
    }
}
