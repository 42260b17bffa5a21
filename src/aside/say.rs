//! What heirloom itself logs, so that no thread waits for a reader of the log.
//!
//! The program's `tracing` subscriber writes where the program wants: to a pipe whose reader hangs, or to a
//! disk that is full. So a line is put together where it is said, and handed to a thread of heirloom's that
//! does nothing but say lines, in order. What does not fit into its queue is counted, and told as one line
//! later.

use std::error::Error;
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::dispatcher::{self, Dispatch};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::NoSubscriber;
use tracing::{Level, Span};

use crate::aside::Aside;
use crate::aside::unheard::{self, Plain};

/// Says something to the program's `tracing` subscriber, from a thread where that may block or panic.
///
/// As in tracing's own macros: fields (`name`, `%name`, `?name`, `name = value`, `name = %value`, `name =
/// ?value`), and a text with its arguments.
macro_rules! say {
    (@ $level:ident $more:tt [$($fields:tt)*] %$name:ident, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, shown, $name)] $($rest)*)
    };
    (@ $level:ident $more:tt [$($fields:tt)*] ?$name:ident, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, debugged, $name)] $($rest)*)
    };
    (@ $level:ident $more:tt [$($fields:tt)*] $name:ident, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, kept, $name)] $($rest)*)
    };
    (@ $level:ident $more:tt [$($fields:tt)*] $name:ident = %$value:expr, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, shown, $value)] $($rest)*)
    };
    (@ $level:ident $more:tt [$($fields:tt)*] $name:ident = ?$value:expr, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, debugged, $value)] $($rest)*)
    };
    (@ $level:ident $more:tt [$($fields:tt)*] $name:ident = $value:expr, $($rest:tt)*) => {
        say!(@ $level $more [$($fields)* ($name, kept, $value)] $($rest)*)
    };
    (@ $level:ident [seldom] $fields:tt $text:literal $($arguments:tt)*) => {{
        static LATELY: $crate::aside::say::Seldom =
            $crate::aside::say::Seldom::new(say!(# $level), $text, |times, span| tracing::$level!(target: "heirloom", parent: span, times, what = $text, "came again, and was not logged each time"));
        if LATELY.tells() {
            say!(@ $level [] $fields $text $($arguments)*)
        }
    }};
    (@ $level:ident [] [$(($name:ident, $how:ident, $value:expr))*] $text:literal $($arguments:tt)*) => {{
        if $crate::aside::say::is_heard(&say!(# $level)) {
            let text = format!($text $($arguments)*);
            $(let $name = $crate::aside::say::$how!($value);)*
            let context = $crate::aside::say::Context::here();
            let plain = context.is_unheard(say!(# $level)).then(|| {
                #[allow(unused_mut, reason = "not every line has fields")]
                let mut plain = $crate::aside::unheard::Plain::new(say!(# $level), &text);
                $(plain.field(stringify!($name), &$name);)*
                plain
            });
            context.line(plain, move |span| tracing::$level!(target: "heirloom", parent: span, $($name = $name,)* "{}", text));
        }
    }};
    (# error) => { tracing::Level::ERROR };
    (# warn) => { tracing::Level::WARN };
    (# info) => { tracing::Level::INFO };
    (# debug) => { tracing::Level::DEBUG };
    (# trace) => { tracing::Level::TRACE };
    ($level:ident: $($what:tt)*) => { say!(@ $level [] [] $($what)*) };
}

/// As [`say!`], for what others can make happen again and again: told at once, then counted, and the count
/// told once in a while. A peer that floods the socket, the accept loop or the channel does not flood the
/// log.
macro_rules! say_seldom {
    ($level:ident: $($what:tt)*) => { say!(@ $level [seldom] [] $($what)*) };
}

macro_rules! shown {
    ($value:expr) => {
        tracing::field::display(($value).to_string())
    };
}

macro_rules! debugged {
    ($value:expr) => {
        tracing::field::display(format!("{:?}", $value))
    };
}

macro_rules! kept {
    ($value:expr) => {{
        use $crate::aside::say::Keep as _;
        (&$value).keep()
    }};
}

pub(crate) use {debugged, kept, shown};

/// A value as it is when the line is said.
pub(crate) trait Keep {
    type Kept: tracing::Value + Send + 'static;

    fn keep(&self) -> Self::Kept;
}

impl Keep for str {
    type Kept = String;

    fn keep(&self) -> String {
        self.to_owned()
    }
}

macro_rules! plain {
    ($($kind:ty)*) => {
        $(impl Keep for $kind {
            type Kept = $kind;

            fn keep(&self) -> $kind {
                *self
            }
        })*
    };
}

plain!(bool u16 u32 u64 usize i32);
#[cfg(feature = "fetch")]
plain!(f64 Option<u64>);

#[cfg(feature = "fetch")]
impl Keep for Option<String> {
    type Kept = Option<String>;

    fn keep(&self) -> Option<String> {
        self.clone()
    }
}

/// An error and its sources, without what it holds.
#[derive(Debug)]
pub(crate) struct Told {
    text: String,
    source: Option<Box<Told>>,
}

impl Told {
    fn of(error: &dyn Error) -> Told {
        Told { text: error.to_string(), source: error.source().map(|source| Box::new(Told::of(source))) }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error for Told {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl Keep for dyn Error + 'static {
    type Kept = Box<dyn Error + Send + 'static>;

    fn keep(&self) -> Self::Kept {
        Box::new(Told::of(self))
    }
}

/// Whose lines these are, on a thread that is heirloom's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The driver of this generation.
    Generation(u64),
    #[cfg(feature = "supervisor")]
    Supervisor,
}

impl Voice {
    /// What this thread says from now on is said in this voice.
    pub(crate) fn speaks_here(self) {
        VOICE.set(Some(self));
    }

    /// Made where lines are said, since a subscriber may write about that as well.
    fn span(self) -> Span {
        match self {
            Voice::Generation(generation) => tracing::info_span!(target: "heirloom", "heirloom", generation),
            #[cfg(feature = "supervisor")]
            Voice::Supervisor => tracing::info_span!(target: "heirloom", "supervisor"),
        }
    }
}

/// What this thread says is the program's again.
#[cfg(feature = "supervisor")]
pub(crate) fn falls_silent() {
    VOICE.set(None);
}

thread_local! {
    static VOICE: std::cell::Cell<Option<Voice>> = const { std::cell::Cell::new(None) };
    /// On the thread that says the lines: the span of the voice that spoke last.
    static SPOKE: std::cell::RefCell<Option<(Voice, Span)>> = const { std::cell::RefCell::new(None) };
}

/// Stays: a thread that had to be made for a line might not be had when threads run out, which is when there
/// is something to say.
static LOG: Aside = Aside::new("heirloom-log", LINES, None);

/// A restart makes about twenty lines. So many are some hundred kilobytes, and say more than enough of what
/// happened while nobody read.
const LINES: usize = 1024;

/// How long an end, or an answer to an operator, waits for the lines before it. They take microseconds, on a
/// busy machine milliseconds; where nobody reads, no deadline of the program's is to be stretched by more
/// than this.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Lines that did not fit since the last one that did.
static MISSED: AtomicU64 = AtomicU64::new(0);

/// Whether a line of this level may reach anybody. Without a subscriber tracing may still pass it on (to
/// `log`).
pub(crate) fn is_heard(level: &Level) -> bool {
    match LevelFilter::current() {
        LevelFilter::OFF => *level <= Level::DEBUG,
        current => *level <= current,
    }
}

/// Makes the thread, while there is one to be had.
pub(crate) fn begin() {
    LOG.give(|| {});
}

/// Waits until all lines so far are said, unless nobody reads them.
pub(crate) fn finish() {
    LOG.finish(LAST_WORDS);
}

/// Where a line belongs.
#[derive(Clone)]
pub(crate) struct Context {
    /// `None`: there is no subscriber, and none may be pretended.
    dispatch: Option<Dispatch>,
    voice: Option<Voice>,
    span: Span,
}

impl Context {
    pub(crate) fn here() -> Context {
        Context { dispatch: subscriber(), voice: VOICE.get(), span: Span::current() }
    }

    /// Whether a line of this level belongs on standard error.
    pub(crate) fn is_unheard(&self, level: Level) -> bool {
        self.dispatch.is_none() && unheard::wants(level)
    }

    /// Has `say` say it, with the span that this thread is in; `plain` is for standard error.
    pub(crate) fn line(self, plain: Option<Plain>, say: impl FnOnce(&Span) + Send + 'static) {
        // Nothing else is published through the number.
        let missed = MISSED.swap(0, Ordering::Relaxed);
        if missed > 0 {
            let context = self.clone();
            let told = LOG.give(move || {
                let plain = context.counted(Level::WARN, MISSING, "missed", missed);
                context.speak(
                    plain,
                    |span| tracing::warn!(target: "heirloom", parent: span, missed, "{MISSING}"),
                );
            });
            if !told {
                MISSED.fetch_add(missed, Ordering::Relaxed);
            }
        }
        if !LOG.give(move || self.speak(plain, say)) {
            MISSED.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted(&self, level: Level, text: &str, name: &str, times: u64) -> Option<Plain> {
        self.is_unheard(level).then(|| {
            let mut plain = Plain::new(level, text);
            plain.field(name, &times);
            plain
        })
    }

    fn speak(self, plain: Option<Plain>, say: impl FnOnce(&Span)) {
        let Context { dispatch, voice, span } = self;
        let speak = || say(&voice.map_or(span, span_of));
        match dispatch {
            Some(dispatch) => return dispatcher::with_default(&dispatch, speak),
            None => speak(),
        }
        // Unless there has come one meanwhile, which has heard it now.
        if let Some(plain) = plain.filter(|_| subscriber().is_none()) {
            plain.write();
        }
    }
}

/// Who hears this thread's lines.
fn subscriber() -> Option<Dispatch> {
    dispatcher::get_default(|dispatch| (!dispatch.is::<NoSubscriber>()).then(|| dispatch.clone()))
}

const MISSING: &str = "lines are missing here: nobody has read the log for a while";

fn span_of(voice: Voice) -> Span {
    SPOKE.with_borrow_mut(|spoke| match spoke {
        // A subscriber that came later did not see it made.
        Some((last, span)) if *last == voice && !span.is_disabled() => span.clone(),
        _ => spoke.insert((voice, voice.span())).1.clone(),
    })
}

/// One warning that may come often.
pub(crate) struct Seldom {
    level: Level,
    what: &'static str,
    more: fn(u64, &Span),
    state: Mutex<Lately>,
}

struct Lately {
    told: Option<Instant>,
    since: u64,
}

/// Often enough to see that it goes on, seldom enough for a log.
const SELDOM: Duration = Duration::from_secs(10);

impl Seldom {
    /// `more` tells how often `what` came since.
    pub(crate) const fn new(level: Level, what: &'static str, more: fn(u64, &Span)) -> Seldom {
        Seldom { level, what, more, state: Mutex::new(Lately { told: None, since: 0 }) }
    }

    /// Whether it is told this time.
    pub(crate) fn tells(&'static self) -> bool {
        let now = Instant::now();
        let mut lately = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(told) = lately.told.filter(|told| now.saturating_duration_since(*told) < SELDOM) else {
            lately.told = Some(now);
            return true;
        };
        lately.since += 1;
        if lately.since == 1 {
            let context = Context::here();
            LOG.give_later(told + SELDOM, move || self.tell_how_often(context));
        }
        false
    }

    fn tell_how_often(&self, context: Context) {
        let times = {
            let mut lately = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            lately.told = Some(Instant::now());
            std::mem::take(&mut lately.since)
        };
        let plain = context.counted(self.level, &format!("came again: {}", self.what), "times", times);
        context.speak(plain, |span| (self.more)(times, span));
    }
}

#[cfg(test)]
#[path = "say_tests.rs"]
mod tests;
