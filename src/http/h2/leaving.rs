//! When an HTTP/2 connection begins to leave, how long it tries, and what it is told if it stays.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::frame::{NO_ERROR, goaway};
use super::going::Step;
use super::line::Line;
use crate::drain::{Connection, Entry};
use crate::http::session::Unmoved;

/// A connection that is to move as soon as it can.
pub(in crate::http) struct Leaving {
    /// When that is given up, as far as is known now.
    until: Instant,
    begun: Instant,
    /// How long it may take in all, while no stream is open for longer than that.
    longest: Duration,
    /// How long new streams are to wait at the next try.
    patience: Duration,
    /// While they wait.
    held: Option<Held>,
    /// None is tried while one of the streams up to this one is open: they were waited for in vain.
    not_below: u32,
    /// How many bytes of new streams may be held back.
    room: usize,
    timer: Pin<Box<Sleep>>,
}

/// New streams wait for those that are open to end.
struct Held {
    /// Until then, unless one more ends before.
    until: Instant,
    open: usize,
}

impl Leaving {
    pub(super) fn new(entry: &Entry) -> Leaving {
        let begun = Instant::now();
        let until = begun + PATIENCE;
        Leaving {
            until,
            begun,
            longest: entry.patience().max(PATIENCE),
            patience: FIRST_WAIT,
            held: None,
            not_below: 0,
            room: if entry.successor_takes_apart() { ROOM_APART } else { ROOM },
            timer: Box::pin(sleep_until(until)),
        }
    }

    /// To be called when whoever serves it waits.
    pub(super) fn poll<S>(&mut self, cx: &mut Context<'_>, line: &mut Line<S>, now: u64) -> Step
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let step = self.step(cx, line, now);
        if !matches!(step, Step::Wait) {
            return step;
        }
        // A wait that is on its way ends soon: no stream joins those that it is for.
        let until = if line.is_holding() { self.until + PATIENCE } else { self.until };
        if until <= Instant::now() {
            return Step::Stays(Unmoved::Busy);
        }
        let due = self.held.as_ref().map_or(until, |held| held.until.min(until));
        if self.timer.deadline() != due {
            self.timer.as_mut().reset(due);
        }
        if self.timer.as_mut().poll(cx).is_ready() { Step::PollAgain } else { Step::Wait }
    }

    fn step<S>(&mut self, cx: &mut Context<'_>, line: &mut Line<S>, now: u64) -> Step
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if line.is_ended() {
            // Whoever serves it comes to its end by itself.
            return Step::Wait;
        }
        if line.client_goes() {
            // As above, and may say so. What is held came before that.
            let gives_back = line.is_leaving();
            line.give_up();
            return if gives_back { Step::PollAgain } else { Step::Wait };
        }
        if line.is_ending() {
            return Step::Stays(Unmoved::Ending);
        }
        let at = Instant::now();
        self.goes_on(line, now, at);
        if !line.is_leaving() {
            // Given up on the way, by what came of it.
            if self.held.take().is_some() {
                self.waited_in_vain(line);
            }
            let long = self.longest.as_millis() as u64;
            if !line.may_begin_to_leave(self.not_below, now.saturating_sub(long)) {
                return Step::Wait;
            }
            line.begin_to_leave(self.room);
        }
        match line.poll_quiet(cx) {
            Poll::Ready(Ok(())) => return Step::Quiet,
            Poll::Ready(Err(_)) => return Step::Stays(Unmoved::Ending),
            Poll::Pending => {}
        }
        if line.is_holding() {
            self.holds_on(line, now, at);
            if self.held.as_ref().is_some_and(|held| held.until <= at) {
                line.give_up();
                self.held = None;
                self.waited_in_vain(line);
                return Step::PollAgain;
            }
        }
        Step::Wait
    }

    /// Gives it more time, where what is open may still end in it.
    fn goes_on<S>(&mut self, line: &Line<S>, now: u64, at: Instant) {
        let age = line.oldest(now).map(Duration::from_millis);
        let more = age.map_or(Duration::ZERO, |age| self.longest.saturating_sub(age));
        self.until = self.until.max(at + more).min(self.begun + self.longest);
    }

    /// New streams wait longer with each that ends; and while answers wait for the client, since those to
    /// what is held would have to wait as well.
    fn holds_on<S>(&mut self, line: &Line<S>, now: u64, at: Instant) {
        let open = line.open_streams();
        if line.waits_for_client() || self.held.as_ref().is_none_or(|held| open < held.open) {
            // Where requests take long anyway, so do those that are open. A user would notice more than that.
            let age = line.oldest(now).map(Duration::from_millis).filter(|age| *age < LONG);
            let usual = age.map_or(Duration::ZERO, |age| 2 * age);
            self.held = Some(Held { until: at + self.patience.max(usual).min(LONG), open });
        }
    }

    fn waited_in_vain<S>(&mut self, line: &Line<S>) {
        self.not_below = line.last_stream();
        self.patience *= 2;
    }
}

/// Tells a client that is not served here, and what it has sent that was not served anywhere.
pub(in crate::http) async fn say_not_here<S>(
    mut connection: Connection<S>,
    last_stream: u32,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.entry().say_goodbye();
    let goodbye = goaway(last_stream, NO_ERROR);
    timeout(PATIENCE, connection.write_all(&goodbye)).await??;
    connection.close().await
}

/// For how long a connection is served on in order to move, before it is told to go; twice that at most if
/// it waits by then: a client that does not speak HTTP/2 properly is not worth more, and streams that have
/// lasted for long will hardly end. It has as long as the drain leaves time while those that are open have
/// begun of late.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// New streams are not held back for longer than that at once, unless others end meanwhile.
const LONG: Duration = PATIENCE;

/// For how long new streams are held back at the first try, and twice that at each after it: what a user does
/// not notice, and most requests are over in. Anew with each stream that ends meanwhile, since on a busy
/// connection the last of a hundred takes longer, and a next try would find as many. Longer where the oldest
/// that is open has taken half of that or more.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// In bytes: forty uploads of 100 kB. What is open needs the client's window as well, so that of what is held
/// it is given back.
const ROOM_APART: usize = 4 << 20;

/// And to a successor of an older release: it has to be in one message with the rest.
const ROOM: usize = 48 << 10;
