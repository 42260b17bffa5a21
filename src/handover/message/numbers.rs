//! The numbers of kinds and fields. One that was released is never given to another.

pub(super) mod kind {
    use crate::handover::message::OPTIONAL;

    pub(in crate::handover::message) const READY: u8 = 1;
    pub(in crate::handover::message) const FAILED: u8 = 2;
    pub(in crate::handover::message) const LEAVING: u8 = 3;
    pub(in crate::handover::message) const COMMIT: u8 = 4;
    pub(in crate::handover::message) const SETTLED: u8 = 5;
    pub(in crate::handover::message) const STOP: u8 = 6;
    pub(in crate::handover::message) const MOVE: u8 = 7;
    pub(in crate::handover::message) const TAKEN: u8 = 8;
    pub(in crate::handover::message) const REFUSED: u8 = 9;
    // From OPTIONAL on, since a predecessor without state has nothing to lose by not answering. 128 itself
    // stays the kind that nobody knows.
    pub(in crate::handover::message) const STATE_REQUEST: u8 = OPTIONAL + 1;
    pub(in crate::handover::message) const STATE: u8 = OPTIONAL + 2;
    // Between a supervisor and its workers, which say by the announcement that they know each other.
    pub(in crate::handover::message) const SUCCESSOR: u8 = 10;
    pub(in crate::handover::message) const PAUSE: u8 = 11;
    pub(in crate::handover::message) const RESUME: u8 = 12;
    pub(in crate::handover::message) const HAND_OVER: u8 = 13;
    pub(in crate::handover::message) const RESTART: u8 = 14;
    pub(in crate::handover::message) const RESTARTED: u8 = OPTIONAL + 3;
    pub(in crate::handover::message) const KEEP: u8 = 15;
    pub(in crate::handover::message) const HAND_DOWN: u8 = 16;
    pub(in crate::handover::message) const WITHHOLD: u8 = 17;
    pub(in crate::handover::message) const HAMMER: u8 = 18;
    pub(in crate::handover::message) const DRAINED: u8 = OPTIONAL + 6;
    pub(in crate::handover::message) const WORDS: u8 = OPTIONAL + 4;
    pub(in crate::handover::message) const FOLLOWERS: u8 = OPTIONAL + 5;
    // Optional, since a predecessor that does not know it settles without.
    pub(in crate::handover::message) const ACCEPTING: u8 = OPTIONAL + 7;
    // Sent only to those that have said that they answer.
    pub(in crate::handover::message) const PROBE: u8 = OPTIONAL + 8;
}

pub(super) mod tag {
    use crate::handover::message::OPTIONAL;

    pub(in crate::handover::message) const UNCLAIMED: u8 = 1;
    pub(in crate::handover::message) const REASON: u8 = 2;
    pub(in crate::handover::message) const RESTART_AGAIN: u8 = 3;
    pub(in crate::handover::message) const PROBATION: u8 = 4;
    pub(in crate::handover::message) const CONNECTIONS: u8 = 5;
    pub(in crate::handover::message) const IDS: u8 = 6;
    pub(in crate::handover::message) const ID: u8 = 7;
    pub(in crate::handover::message) const NAME: u8 = 8;
    pub(in crate::handover::message) const AT_END: u8 = 9;
    pub(in crate::handover::message) const GIVEN: u8 = 10;
    pub(in crate::handover::message) const WITHHELD: u8 = 11;
    pub(in crate::handover::message) const PID: u8 = 12;
    pub(in crate::handover::message) const COOKIES: u8 = 13;
    pub(in crate::handover::message) const TOLD: u8 = 14;
    pub(in crate::handover::message) const SOCKET: u8 = 15;
    pub(in crate::handover::message) const FIGURES: u8 = 16;
    pub(in crate::handover::message) const WORDS: u8 = 17;
    /// Optional: a predecessor that does not know it moves nothing.
    pub(in crate::handover::message) const TAKES_MOVES: u8 = OPTIONAL;
    /// Optional: a predecessor that does not know it does not wait for an answer.
    pub(in crate::handover::message) const ANSWERS: u8 = OPTIONAL + 1;
    /// Optional: a predecessor that does not know it moves no sessions.
    pub(in crate::handover::message) const TAKES_SESSIONS: u8 = OPTIONAL + 2;
    /// Optional: a predecessor that does not know it moves no HTTP/2.
    pub(in crate::handover::message) const TAKES_HTTP2: u8 = OPTIONAL + 3;
    /// Optional: who does not know it tells no more than how many have moved.
    pub(in crate::handover::message) const MOVES: u8 = OPTIONAL + 4;
    /// Optional: a predecessor that does not know it sends within the message what was read of a connection.
    pub(in crate::handover::message) const TAKES_APART: u8 = OPTIONAL + 5;
}
