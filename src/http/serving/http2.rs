//! An HTTP/2 connection: served, told to go, or let go of so that it moves.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::drain::{Base, Connection, Entry};
use crate::http::HttpService;
use crate::http::config::Prepared;
use crate::http::h2::{self, Carried, Lever, Line, NO_ERROR, Progress, Tap, goaway};
use crate::http::moving;
use crate::http::session::Unmoved;
use crate::http::streams::StreamService;

type Inner<S, H> = http2::Connection<Tap<S>, StreamService<H>, TokioExecutor>;

pub(super) struct Http2<S, H: HttpService> {
    connection: Pin<Box<Inner<S, H>>>,
    told: bool,
    /// `None` where it cannot move.
    lever: Option<Arc<Lever<S>>>,
    going: Going,
    /// For the case that it goes and comes back.
    service: H,
}

/// What there is to do beside serving.
enum Going {
    Nothing,
    Arriving(Pin<Box<Sleep>>),
    Leaving(Box<Leaving>),
}

/// A connection that is to move as soon as it can.
struct Leaving {
    /// When that is given up.
    until: Instant,
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

/// What a connection that is served has come to.
pub(super) enum Ended<S> {
    /// At its end.
    Served(hyper::Result<()>),
    /// Let go of, to move, with what goes along.
    Left(Connection<S>, Carried, Bytes),
    /// hyper did not come to know what a predecessor had begun.
    Unknown(Option<Connection<S>>),
}

/// What is to be done once hyper waits.
enum Next<S> {
    Wait,
    PollAgain,
    End(Ended<S>),
}

impl<S, H> Http2<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: HttpService,
{
    pub(super) fn new(
        prepared: &Prepared,
        entry: &Arc<Entry>,
        connection: Connection<S>,
        ahead: Bytes,
        service: H,
    ) -> Self {
        let moves = prepared.moves_http2 && moving::can_move(&connection);
        let introduction = prepared.introduction(&connection);
        let tap = Tap::new(connection, ahead, moves);
        let lever = tap.lever();
        let streams =
            StreamService::new(service.clone(), entry.clone(), introduction, prepared.sessions, moves);
        let connection = Box::pin(prepared.http2.serve_connection(tap, streams));
        Http2 { connection, told: false, lever, going: Going::Nothing, service }
    }

    /// One that a predecessor has begun.
    pub(super) fn resumed(
        prepared: &Prepared,
        entry: &Arc<Entry>,
        connection: Connection<S>,
        carried: &Carried,
        service: H,
    ) -> Self {
        let introduction = prepared.introduction(&connection);
        let tap = Tap::resumed(connection, carried);
        let lever = tap.lever();
        let mut builder = prepared.http2.clone();
        h2::go_on(&mut builder, carried);
        let streams =
            StreamService::new(service.clone(), entry.clone(), introduction, prepared.sessions, true)
                .with_ghost(h2::ghost_bytes(carried));
        let connection = Box::pin(builder.serve_connection(tap, streams));
        let going = Going::Arriving(Box::pin(sleep_until(Instant::now() + PATIENCE)));
        Http2 { connection, told: false, lever, going, service }
    }

    pub(super) fn into_service(self) -> H {
        self.service
    }

    pub(super) fn is_told(&self) -> bool {
        self.told
    }

    /// Coming or leaving.
    pub(super) fn is_on_its_way(&self) -> bool {
        !matches!(self.going, Going::Nothing)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, entry: &Entry) -> Poll<Ended<S>> {
        loop {
            if entry.is_draining() && !self.told {
                self.heed_drain(entry);
            }
            if let Poll::Ready(ended) = self.connection.as_mut().poll(cx) {
                return Poll::Ready(Ended::Served(ended));
            }
            let next = match &mut self.going {
                Going::Nothing => return Poll::Pending,
                Going::Arriving(_) => self.arrive(cx),
                Going::Leaving(_) => self.leave(cx, entry),
            };
            match next {
                Next::Wait => return Poll::Pending,
                Next::PollAgain => {}
                Next::End(ended) => return Poll::Ready(ended),
            }
        }
    }

    /// What is on its way is served, and what is open finishes.
    pub(super) fn say_goodbye(&mut self, entry: &Entry) {
        if let (Going::Leaving(_), Some(lever)) = (&self.going, &self.lever) {
            lever.with(Line::give_up);
            lever.wants(false);
            self.going = Going::Nothing;
        }
        self.told = true;
        self.connection.as_mut().graceful_shutdown();
        // What it was overdue for is over: it has until the linger's end to go.
        entry.enter(Base::Busy);
    }

    #[cold]
    fn heed_drain(&mut self, entry: &Entry) {
        let moves = entry.is_moving() && self.lever.is_some();
        match (&self.going, &self.lever) {
            // hyper may not speak before it knows the client.
            (Going::Arriving(_), _) => {}
            (Going::Nothing, Some(lever)) if moves && entry.successor_takes_http2() => {
                lever.wants(true);
                let room = if entry.successor_takes_apart() { ROOM_APART } else { ROOM };
                self.going = Going::Leaving(Box::new(Leaving::new(room)));
            }
            (Going::Leaving(_), _) if moves => {}
            _ => self.say_goodbye(entry),
        }
    }

    #[cold]
    fn arrive(&mut self, cx: &mut Context<'_>) -> Next<S> {
        let (Going::Arriving(timer), Some(lever)) = (&mut self.going, &self.lever) else { return Next::Wait };
        match lever.with(Line::arrives).unwrap_or(Progress::Failed) {
            Progress::Waits if timer.as_mut().poll(cx).is_pending() => Next::Wait,
            Progress::Waits | Progress::Failed => {
                Next::End(Ended::Unknown(lever.take().map(Line::into_connection)))
            }
            Progress::Feeds => Next::PollAgain,
            Progress::Done { .. } => {
                self.going = Going::Nothing;
                // It reads, and what there is to say to the client goes out with that.
                Next::PollAgain
            }
        }
    }

    #[cold]
    fn leave(&mut self, cx: &mut Context<'_>, entry: &Entry) -> Next<S> {
        let (Going::Leaving(leaving), Some(lever)) = (&mut self.going, &self.lever) else {
            return Next::Wait;
        };
        let step = lever.with(|line| leaving.step(cx, line, entry.tick())).unwrap_or(Step::Wait);
        match step {
            Step::Wait if leaving.until <= Instant::now() => {
                entry.could_not_move(Unmoved::Busy.name());
                self.say_goodbye(entry);
                Next::PollAgain
            }
            Step::Wait => {
                let due = leaving.held.as_ref().map_or(leaving.until, |held| held.until.min(leaving.until));
                if leaving.timer.deadline() != due {
                    leaving.timer.as_mut().reset(due);
                }
                if leaving.timer.as_mut().poll(cx).is_ready() { Next::PollAgain } else { Next::Wait }
            }
            Step::PollAgain => Next::PollAgain,
            Step::Never => {
                entry.could_not_move(Unmoved::Ending.name());
                self.say_goodbye(entry);
                Next::PollAgain
            }
            Step::Quiet => match lever.take().map(Line::depart) {
                Some((connection, carried, unread)) => {
                    Next::End(Ended::Left(connection, carried, unread.into()))
                }
                None => Next::Wait,
            },
        }
    }
}

enum Step {
    Wait,
    PollAgain,
    Never,
    Quiet,
}

impl Leaving {
    fn new(room: usize) -> Leaving {
        let until = Instant::now() + PATIENCE;
        Leaving {
            until,
            patience: FIRST_WAIT,
            held: None,
            not_below: 0,
            room,
            timer: Box::pin(sleep_until(until)),
        }
    }

    fn step<S>(&mut self, cx: &mut Context<'_>, line: &mut Line<S>, now: u64) -> Step
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if line.is_ended() {
            // hyper comes to its end by itself.
            return Step::Wait;
        }
        if line.is_ending() {
            return Step::Never;
        }
        if !line.is_leaving() {
            // Given up on the way, by what came of it.
            if self.held.take().is_some() {
                self.waited_in_vain(line);
            }
            let long = LONG.as_millis() as u64;
            if !line.may_begin_to_leave(self.not_below, now.saturating_sub(long)) {
                return Step::Wait;
            }
            line.begin_to_leave(self.room);
        }
        match line.poll_quiet(cx) {
            Poll::Ready(Ok(())) => return Step::Quiet,
            Poll::Ready(Err(_)) => return Step::Never,
            Poll::Pending => {}
        }
        if line.is_holding() {
            let at = Instant::now();
            let open = line.open_streams();
            if self.held.as_ref().is_none_or(|held| open < held.open) {
                // Where requests take long anyway, so do those that are open.
                let usual = line.oldest(now).map_or(Duration::ZERO, |age| Duration::from_millis(2 * age));
                self.held = Some(Held { until: at + self.patience.max(usual), open });
            }
            if self.held.as_ref().is_some_and(|held| held.until <= at) {
                line.give_up();
                self.held = None;
                self.waited_in_vain(line);
                return Step::PollAgain;
            }
        }
        Step::Wait
    }

    fn waited_in_vain<S>(&mut self, line: &Line<S>) {
        self.not_below = line.last_stream();
        self.patience *= 2;
    }
}

/// Tells a client that is not served here, and what it has sent that was not served anywhere.
pub(super) async fn say_not_here<S>(mut connection: Connection<S>, last_stream: u32) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    connection.entry().say_goodbye();
    let goodbye = goaway(last_stream, NO_ERROR);
    timeout(PATIENCE, connection.write_all(&goodbye)).await??;
    connection.close().await
}

/// For how long a connection is served on in order to move, before it is told to go. Its requests end here
/// meanwhile, and would be cut off by the drain's deadline; streams that last longer are seldom short.
const PATIENCE: Duration = Duration::from_secs(2);

/// A stream that is open for so long is not waited for while others are held back: it will hardly end within
/// [`PATIENCE`].
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
