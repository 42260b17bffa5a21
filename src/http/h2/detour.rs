//! The way between the socket and hyper while a connection leaves, or has just come: frame by frame.
//!
//! ```text
//! leaving:   Barrier ── ACK ──▶ Holding ── quiet ──▶ gone
//!               │                  │
//!               └──────────────────┴── given up ──▶ Returning ── nothing held or owed ──▶ Settling
//! arriving:  Arriving ── hyper knows all ──▶ Settling ── all ACKs, nothing read ahead ──▶ (no detour)
//! ```

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use super::arriving::{Arriving, Ghost, Progress};
use super::carried::Carried;
use super::frame::{
    DATA, DEFAULT_FRAME, DEFAULT_TABLE, HEAD, HEADER_TABLE_SIZE, Head, MAX_FRAME_SIZE, NO_ERROR, PING,
    SETTINGS, Settings, WINDOW_UPDATE, goaway, increment, one_setting, push, push_window,
};
use super::line::Followed;

#[derive(Debug)]
pub(super) struct Detour {
    stage: Stage,
    /// Read from the socket, and not looked at.
    raw: BytesMut,
    /// What belongs to new streams.
    held: BytesMut,
    /// How much of that counts against a window.
    held_data: usize,
    /// What is left of the frame that has begun, and where it goes.
    current: Option<(Course, usize)>,
    /// To be written between two frames of hyper's.
    injected: BytesMut,
    /// How many SETTINGS are in that.
    injected_settings: u32,
    /// In bytes: how much may be held. A frame of the longest may still come behind it.
    room: usize,
}

#[derive(Debug)]
enum Stage {
    Arriving(Box<Arriving>),
    /// The client is to forget its table of fields, so that the next decoder needs not know it.
    Barrier,
    /// It has; new streams wait, for the successor.
    Holding,
    /// They have waited in vain, and hyper is given them, as far as its window goes: the client may have been
    /// given more.
    Returning,
    /// The client is told the size of its table again.
    Settling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    FromRaw,
    FromHeld,
    ToHeld,
}

impl Detour {
    /// Of a connection that is to leave.
    pub(super) fn leaving(room: usize) -> Detour {
        let mut detour = Detour { room, ..Detour::new(Stage::Barrier) };
        detour.inject_table(0);
        detour
    }

    /// Of one that has come.
    pub(super) fn arriving(carried: &Carried, ghost: Ghost) -> Detour {
        Detour::new(Stage::Arriving(Box::new(Arriving::new(carried, ghost))))
    }

    /// Of one that stays, and whose client is told something.
    pub(super) fn aside() -> Detour {
        Detour::new(Stage::Settling)
    }

    fn new(stage: Stage) -> Detour {
        Detour {
            stage,
            raw: BytesMut::new(),
            held: BytesMut::new(),
            held_data: 0,
            current: None,
            injected: BytesMut::new(),
            injected_settings: 0,
            room: 0,
        }
    }

    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.stage, Stage::Arriving(_))
    }

    pub(super) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Barrier | Stage::Holding)
    }

    pub(super) fn is_holding(&self) -> bool {
        matches!(self.stage, Stage::Holding)
    }

    /// Nothing is to be looked at frame by frame any more.
    pub(super) fn is_over(&self, followed: &Followed) -> bool {
        matches!(self.stage, Stage::Settling)
            && self.raw.is_empty()
            && self.injected.is_empty()
            && !followed.ledger.has_injected_unacknowledged()
    }

    /// So much is held that reading on would be dear.
    pub(super) fn is_full(&self) -> bool {
        self.held.len() > self.room
    }

    /// What is held counts against the window of the whole connection: without more of it the client could
    /// not end what has to end first.
    pub(super) fn credit(&mut self, followed: &mut Followed) {
        let due = if self.is_leaving() { followed.ledger.credit_due(self.held_data) } else { 0 };
        if due > 0 {
            self.inject_window(due);
            followed.ledger.windows.credits(due);
        }
    }

    /// Whether the client is to hear of hyper's window no more than is left when its credit is paid.
    pub(super) fn collects(&self, followed: &Followed) -> bool {
        matches!(self.stage, Stage::Returning) && followed.ledger.windows.has_credit()
    }

    /// How many of these bytes, which hyper writes between two frames, are kept from the client to pay its
    /// credit.
    pub(super) fn collect(&mut self, bytes: &[u8], followed: &mut Followed) -> Option<usize> {
        let head = bytes.first_chunk::<HEAD>().map(Head::of)?;
        let payload = bytes.get(HEAD..head.whole())?;
        if head.kind != WINDOW_UPDATE || head.stream != 0 {
            return None;
        }
        let rest = followed.ledger.windows.pays(increment(payload));
        if rest > 0 {
            self.inject_window(rest);
            followed.ledger.windows.credited(rest);
        }
        Some(head.whole())
    }

    /// Whether hyper's connection can be taken from it, between two frames of both directions.
    pub(super) fn is_quiet(&self, followed: &Followed) -> bool {
        self.is_holding()
            && self.current.is_none()
            && self.injected.is_empty()
            && followed.reading.is_between()
            && followed.writing.is_between()
            && followed.ledger.is_quiet()
    }

    /// Frames that are on their way have to be here before it goes: one more round trip.
    pub(super) fn repeat_barrier(&mut self) {
        self.stage = Stage::Barrier;
        self.inject_table(0);
    }

    /// What was held back is hyper's after all.
    pub(super) fn give_up(&mut self, followed: &Followed) {
        self.stage = Stage::Returning;
        self.restore_table(followed);
    }

    /// What the successor has to be given, before what it reads from the socket.
    pub(super) fn into_unread(mut self) -> Vec<u8> {
        self.held.extend_from_slice(&self.raw);
        self.held.into()
    }

    /// What the client has not asked yet it is to ask elsewhere.
    pub(super) fn inject_goodbye(&mut self) {
        self.injected.extend_from_slice(&goaway(LAST_OF_ALL, NO_ERROR));
    }

    fn inject_window(&mut self, more: u32) {
        let mut frame = Vec::new();
        push_window(&mut frame, more);
        self.injected.extend_from_slice(&frame);
    }

    fn inject_table(&mut self, size: u32) {
        self.inject(&one_setting(HEADER_TABLE_SIZE, size));
    }

    fn restore_table(&mut self, followed: &Followed) {
        self.inject_table(followed.ledger.own().get(HEADER_TABLE_SIZE).unwrap_or(DEFAULT_TABLE));
    }

    /// With them the client gets its table back.
    fn inject_settings(&mut self, mut said: Settings, followed: &mut Followed) {
        followed.ledger.says(said);
        said.set(HEADER_TABLE_SIZE, said.get(HEADER_TABLE_SIZE).unwrap_or(DEFAULT_TABLE));
        self.inject(&said.payload());
    }

    fn inject(&mut self, settings: &[u8]) {
        let mut frame = Vec::new();
        push(&mut frame, SETTINGS, 0, 0, settings);
        self.injected.extend_from_slice(&frame);
        self.injected_settings += 1;
    }

    /// Those that are to be written now.
    pub(super) fn injected(&self) -> &[u8] {
        &self.injected
    }

    pub(super) fn wrote_injected(&mut self, count: usize, followed: &mut Followed) {
        self.injected.advance(count);
        if self.injected.is_empty() {
            (0..std::mem::take(&mut self.injected_settings))
                .for_each(|_| followed.ledger.injected_settings());
        }
    }

    /// hyper writes, to a client that has heard all that.
    pub(super) fn swallow(&mut self, bytes: &[u8]) {
        if let Stage::Arriving(arriving) = &mut self.stage {
            arriving.wrote(bytes);
        }
    }

    /// How far hyper is with its story, while it waits. When that is over, the connection is live.
    pub(super) fn progress(&mut self, followed: &mut Followed) -> Progress {
        let Stage::Arriving(arriving) = &mut self.stage else { return Progress::Waits };
        let progress = arriving.progress();
        if let Progress::Done { window } = progress {
            let (said, given) = (arriving.said(), followed.ledger.carried().receive_window);
            self.stage = Stage::Settling;
            match said {
                // hyper's window is never below the client's: it was built with no less.
                None => self.restore_table(followed),
                Some(said) if said.bear(followed.ledger.own()) => {
                    self.inject_settings(said, followed);
                    if given > window {
                        // The client gets no more before it has used up what this one does not bear.
                        followed.ledger.windows.owes(given - window);
                        self.stage = Stage::Returning;
                    }
                }
                Some(_) => return Progress::Failed,
            }
            let more = window.saturating_sub(given);
            self.inject_window(more);
            followed.ledger.windows.credited(more);
        }
        progress
    }

    /// What was read from the socket.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(bytes);
    }

    /// Gives hyper what it may have now. All of it may be nothing.
    pub(super) fn give(&mut self, followed: &mut Followed, now: u64, buf: &mut ReadBuf<'_>) -> Given {
        if let Stage::Arriving(arriving) = &mut self.stage {
            return if arriving.give(buf) { Given::Some } else { Given::Nothing };
        }
        let (before, mut bearable) = (buf.filled().len(), true);
        while buf.remaining() > 0 && bearable {
            if self.current.is_none() && !self.begin(followed) {
                break;
            }
            let Some((course, left)) = self.current else { break };
            let source = if course == Course::FromHeld { &mut self.held } else { &mut self.raw };
            let mut count = left.min(source.len());
            if course == Course::ToHeld {
                let part = source.split_to(count);
                self.held.extend_from_slice(&part);
            } else {
                count = count.min(buf.remaining());
                bearable = followed.read(&source[..count], now);
                buf.put_slice(&source[..count]);
                source.advance(count);
            }
            self.current = (left > count).then_some((course, left - count));
            if count == 0 {
                break;
            }
        }
        match buf.filled().len() > before {
            _ if !bearable => Given::TooMuch,
            true => Given::Some,
            false => Given::Nothing,
        }
    }

    /// Finds out where the next frame goes. `false` if there is none.
    fn begin(&mut self, followed: &mut Followed) -> bool {
        loop {
            // The detour may have begun amid a frame.
            let left = followed.reading.left();
            if left > 0 {
                self.current = Some((Course::FromRaw, left));
                return true;
            }
            let in_block = followed.reading.is_in_block();
            let is_returning = matches!(self.stage, Stage::Returning);
            if is_returning && self.held.is_empty() && !in_block && !followed.ledger.windows.has_credit() {
                self.stage = Stage::Settling;
            }
            let next = self.held.first_chunk::<HEAD>().map(Head::of).filter(|_| is_returning);
            if let Some(head) = next.filter(|head| is_borne(*head, followed)) {
                if head.kind == DATA {
                    self.held_data = self.held_data.saturating_sub(head.length as usize);
                }
                self.current = Some((Course::FromHeld, head.whole()));
                return true;
            }
            // All of a block is on one side: new streams are held with all that is theirs.
            let Some(head) = self.raw.first_chunk::<HEAD>().map(Head::of) else { return false };
            if !in_block && head.is_ack_of_settings() && followed.ledger.awaits_own_ack() {
                if self.raw.len() < head.whole() {
                    return false;
                }
                self.raw.advance(head.whole());
                self.acknowledged(followed);
                continue;
            }
            let is_new = !in_block && head.stream > followed.ledger.last_stream();
            let holds = match self.stage {
                Stage::Holding => true,
                Stage::Barrier => !self.held.is_empty(),
                _ => false,
            };
            // Behind what hyper does not bear yet, but for what makes it bear more.
            let queues =
                next.is_some() && !overtakes(head, followed) || is_returning && !is_borne(head, followed);
            let mut course = if is_new && holds || queues { Course::ToHeld } else { Course::FromRaw };
            if course == Course::ToHeld && !is_acceptable(head, followed) {
                // hyper is to see it, and to say what is wrong.
                if self.is_leaving() {
                    self.give_up(followed);
                    continue;
                }
                course = Course::FromRaw;
            }
            if course == Course::ToHeld && head.kind == DATA {
                self.held_data += head.length as usize;
            }
            self.current = Some((course, head.whole()));
            return true;
        }
    }

    fn acknowledged(&mut self, followed: &mut Followed) {
        followed.ledger.own_ack_heard();
        let is_last = self.injected_settings == 0 && !followed.ledger.has_injected_unacknowledged();
        if matches!(self.stage, Stage::Barrier) && is_last {
            self.stage = Stage::Holding;
        }
    }

    pub(super) fn has_raw(&self) -> bool {
        !self.raw.is_empty()
    }

    /// Past all rules: it is the rest of a frame.
    pub(super) fn give_raw(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.raw.len().min(buf.remaining());
        buf.put_slice(&self.raw.split_to(count));
    }

    /// At the end of the socket: what is left will never be whole.
    pub(super) fn give_rest(&mut self, buf: &mut ReadBuf<'_>) {
        for rest in [&mut self.held, &mut self.raw] {
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest.split_to(count));
        }
    }
}

/// What hyper was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    Some,
    Nothing,
    /// Something, among it a flood.
    TooMuch,
}

fn is_borne(head: Head, followed: &Followed) -> bool {
    head.kind != DATA || followed.ledger.windows.bears(head.length)
}

/// What a handler may wait for before it reads on, and does not belong behind anything that is held.
fn overtakes(head: Head, followed: &Followed) -> bool {
    matches!(head.kind, WINDOW_UPDATE | SETTINGS | PING) && head.stream <= followed.ledger.last_stream()
}

fn is_acceptable(head: Head, followed: &Followed) -> bool {
    head.length <= followed.ledger.own().get(MAX_FRAME_SIZE).unwrap_or(DEFAULT_FRAME)
}

/// The last stream that there can be: whatever is on its way is still served.
const LAST_OF_ALL: u32 = u32::MAX >> 1;

#[cfg(test)]
#[path = "detour_tests.rs"]
mod tests;
