//! What there is to do with a connection beside serving it: it has come and is to become known, or it is to
//! leave.

use std::pin::Pin;
use std::task::Context;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::arriving::Progress;
use super::leaving::{Leaving, PATIENCE};
use super::line::Line;
use crate::drain::Entry;
use crate::http::session::Unmoved;

pub(in crate::http) enum Going {
    Nothing,
    /// Whoever serves it comes to know what a predecessor has begun, and at the latest by then.
    Arriving(Pin<Box<Sleep>>),
    Leaving(Box<Leaving>),
}

/// What there is to do next.
pub(in crate::http) enum Step {
    Wait,
    /// Whoever serves it has something to read.
    PollAgain,
    /// Whoever serves it did not come to know it.
    Unknown,
    /// It is told to go, for this reason.
    Stays(Unmoved),
    /// It can be taken from whoever serves it.
    Quiet,
}

impl Going {
    pub(in crate::http) fn arriving() -> Going {
        Going::Arriving(Box::pin(sleep(PATIENCE)))
    }

    pub(in crate::http) fn leaving(entry: &Entry) -> Going {
        Going::Leaving(Box::new(Leaving::new(entry)))
    }

    /// Coming or leaving.
    pub(in crate::http) fn is_on_its_way(&self) -> bool {
        !matches!(self, Going::Nothing)
    }

    /// To be called when whoever serves it waits.
    pub(in crate::http) fn poll<S>(&mut self, cx: &mut Context<'_>, line: &mut Line<S>, now: u64) -> Step
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self {
            Going::Nothing => Step::Wait,
            Going::Arriving(timer) => match line.arrives() {
                Progress::Waits if timer.as_mut().poll(cx).is_pending() => Step::Wait,
                Progress::Waits | Progress::Failed => Step::Unknown,
                Progress::Feeds => Step::PollAgain,
                Progress::Done { .. } => {
                    *self = Going::Nothing;
                    // It reads, and what there is to say to the client goes out with that.
                    Step::PollAgain
                }
            },
            Going::Leaving(leaving) => leaving.poll(cx, line, now),
        }
    }
}
