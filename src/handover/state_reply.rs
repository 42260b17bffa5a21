//! What a predecessor answers when it is asked for state: that a sealed memfd comes along, or why none does.

use std::time::Duration;

use super::message::{MAX_REASON, cut};

/// Longest name in bytes of a state or of a descriptor that is handed down: as long as a file's name may be.
pub const MAX_NAME: usize = 255;

/// The answer to a [`StateRequest`](super::message::Message::StateRequest).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StateAnswer {
    /// It is in the descriptor that came along, a memfd that is sealed against every change.
    Given {
        /// The program's own version of what is in it.
        tag: u32,
        /// How many bytes it has.
        length: u64,
    },
    /// There is none; nothing came along.
    Withheld(Withheld),
}

/// Why there is no state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Withheld {
    /// Nobody provides it.
    NoSuchName,
    /// Its provider wrote more than the predecessor allows.
    TooLarge {
        /// How many bytes are allowed.
        limit: u64,
    },
    /// Its provider panicked.
    Panicked,
    /// Its provider was not done in time.
    TimedOut {
        /// How long it was given, to the millisecond.
        after: Duration,
    },
    /// Its provider is at work for an earlier request.
    Busy,
    /// Its provider failed, or the system did; or for a reason that this release does not know.
    Failed {
        /// For the successor's log; at most [`MAX_REASON`] bytes.
        reason: String,
    },
}

impl StateAnswer {
    pub(super) fn encode_given(tag: u32, length: u64) -> Vec<u8> {
        [&tag.to_le_bytes()[..], &length.to_le_bytes()].concat()
    }

    pub(super) fn decode_given(value: &[u8]) -> Option<StateAnswer> {
        let (tag, length) = value.split_first_chunk::<4>()?;
        let length = length.try_into().ok()?;
        Some(StateAnswer::Given { tag: u32::from_le_bytes(*tag), length: u64::from_le_bytes(length) })
    }
}

impl Withheld {
    /// `[code][number, 8 bytes little endian][text]`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let (code, number, text) = match self {
            Withheld::NoSuchName => (code::NO_SUCH_NAME, 0, ""),
            Withheld::TooLarge { limit } => (code::TOO_LARGE, *limit, ""),
            Withheld::Panicked => (code::PANICKED, 0, ""),
            Withheld::TimedOut { after } => {
                (code::TIMED_OUT, u64::try_from(after.as_millis()).unwrap_or(u64::MAX), "")
            }
            Withheld::Busy => (code::BUSY, 0, ""),
            Withheld::Failed { reason } => (code::FAILED, 0, reason.as_str()),
        };
        [&[code], &u64::to_le_bytes(number)[..], cut(text, MAX_REASON).as_bytes()].concat()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Withheld> {
        let (code, rest) = value.split_first()?;
        let (number, text) = rest.split_first_chunk::<8>()?;
        let number = u64::from_le_bytes(*number);
        Some(match *code {
            code::NO_SUCH_NAME => Withheld::NoSuchName,
            code::TOO_LARGE => Withheld::TooLarge { limit: number },
            code::PANICKED => Withheld::Panicked,
            code::TIMED_OUT => Withheld::TimedOut { after: Duration::from_millis(number) },
            code::BUSY => Withheld::Busy,
            // A newer release may have more reasons; the asking process learns at least that there is no
            // state (G7).
            _ => Withheld::Failed { reason: cut(&String::from_utf8_lossy(text), MAX_REASON).to_owned() },
        })
    }
}

mod code {
    pub(super) const NO_SUCH_NAME: u8 = 1;
    pub(super) const TOO_LARGE: u8 = 2;
    pub(super) const PANICKED: u8 = 3;
    pub(super) const TIMED_OUT: u8 = 4;
    pub(super) const BUSY: u8 = 5;
    pub(super) const FAILED: u8 = 6;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_survives() {
        for withheld in [
            Withheld::NoSuchName,
            Withheld::TooLarge { limit: 1 << 40 },
            Withheld::Panicked,
            Withheld::TimedOut { after: Duration::from_millis(1500) },
            Withheld::Busy,
            Withheld::Failed { reason: "the disk is full".to_owned() },
        ] {
            assert_eq!(Withheld::decode(&withheld.encode()), Some(withheld));
        }
    }

    #[test]
    fn g7_a_reason_that_nobody_knows_is_a_failure() {
        let newer = b"\x63\0\0\0\0\0\0\0\0on strike";
        assert_eq!(Withheld::decode(newer), Some(Withheld::Failed { reason: "on strike".to_owned() }));
    }

    #[test]
    fn what_is_too_short_is_refused() {
        assert_eq!(Withheld::decode(b""), None);
        assert_eq!(Withheld::decode(b"\x01\0\0"), None);
        assert_eq!(StateAnswer::decode_given(b"\x01\0\0\0\0"), None);
        assert_eq!(StateAnswer::decode_given(&[0; 13]), None);
    }
}
