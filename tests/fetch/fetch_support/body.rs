//! A body that comes as a test wants: whole, in pieces, cut, or stuck.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// What happens to a body on its way.
#[derive(Clone, Copy, Debug, Default)]
pub enum Fate {
    #[default]
    Whole,
    /// The connection breaks after so many bytes.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stuck(usize),
    /// In this many pieces, with a pause before each.
    Paced(usize, Duration),
}

pub struct Sent {
    left: Bytes,
    length: u64,
    fate: Fate,
    piece: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Sent {
    pub fn new(bytes: Bytes, fate: Fate) -> Sent {
        let length = bytes.len() as u64;
        let piece = match fate {
            Fate::Paced(pieces, _) => bytes.len().div_ceil(pieces).max(1),
            _ => 16 * 1024,
        };
        Sent { left: bytes, length, fate, piece, pause: None }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let sent = self.length as usize - self.left.len();
        let mut piece = self.piece.min(self.left.len());
        match self.fate {
            Fate::Cut(after) if sent >= after => {
                // allow: sleep (what came before is on its way when the line breaks: hyper sends it while it waits)
                let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(Duration::from_millis(20))));
                return pause.as_mut().poll(cx).map(|()| Some(Err(io::ErrorKind::Other.into())));
            }
            Fate::Stuck(after) if sent >= after => return Poll::Pending,
            Fate::Cut(after) | Fate::Stuck(after) => piece = piece.min(after - sent),
            Fate::Paced(_, between) if piece > 0 => {
                // allow: sleep (a server behind a slow line)
                let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(between)));
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            Fate::Whole | Fate::Paced(..) => (),
        }
        if piece == 0 {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
