//! HTTP/2 frames (RFC 9113, 4.1), as far as a connection that moves has to know them.

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the payload.
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

impl Head {
    #[inline]
    pub(super) fn of(bytes: &[u8; HEAD]) -> Head {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        let length = u32::from_be_bytes([0, a, b, c]);
        Head { length, kind, flags, stream: u32::from_be_bytes(stream) & STREAM }
    }

    #[inline]
    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Of all of the frame.
    pub(super) fn whole(self) -> usize {
        HEAD + self.length as usize
    }

    /// A part of the fields of a request or a response.
    #[inline]
    pub(super) fn is_block(self) -> bool {
        matches!(self.kind, HEADERS | PUSH_PROMISE | CONTINUATION)
    }

    pub(super) fn is_ack_of_settings(self) -> bool {
        self.kind == SETTINGS && self.has(ACK)
    }
}

/// Whether these bytes, which a server says first, are SETTINGS.
pub(in crate::http) fn are_settings(bytes: &[u8]) -> bool {
    let head = bytes.first_chunk::<HEAD>().map(Head::of);
    head.is_some_and(|head| head.kind == SETTINGS && head.flags == 0 && head.stream == 0)
}

/// Appends a frame.
pub(super) fn push(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("a frame of our own is short").to_be_bytes();
    out.extend_from_slice(&length[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// WINDOW_UPDATE of the connection; none for nothing.
pub(super) fn push_window(out: &mut Vec<u8>, more: u32) {
    if more > 0 {
        push(out, WINDOW_UPDATE, 0, 0, &more.to_be_bytes());
    }
}

/// GOAWAY, behind which the client knows what is not served.
pub(in crate::http) fn goaway(last_stream: u32, error: u32) -> Vec<u8> {
    let mut out = Vec::new();
    push(&mut out, GOAWAY, 0, 0, &[last_stream.to_be_bytes(), error.to_be_bytes()].concat());
    out
}

/// What one side has said by SETTINGS, as far as this release knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings([Option<u32>; LAST_SETTING as usize]);

impl Settings {
    pub(super) fn get(&self, setting: u16) -> Option<u32> {
        self.0[usize::from(setting) - 1]
    }

    pub(super) fn set(&mut self, setting: u16, value: u32) {
        self.0[usize::from(setting) - 1] = Some(value);
    }

    /// By the payload of one more frame.
    pub(super) fn merge(&mut self, payload: &[u8]) {
        for [a, b, value @ ..] in payload.as_chunks::<SETTING>().0 {
            let setting = u16::from_be_bytes([*a, *b]);
            if (1..=LAST_SETTING).contains(&setting) {
                self.set(setting, u32::from_be_bytes(*value));
            }
        }
    }

    /// Whether a client that was told `told` does no harm to who says this: all is the same, or wider.
    pub(super) fn bear(&self, told: &Settings) -> bool {
        self.0
            .iter()
            .zip(told.0)
            .all(|(said, told)| *said == told || said.zip(told).is_some_and(|(said, told)| said > told))
    }

    /// The payload of one frame that says it all.
    pub(super) fn payload(&self) -> Vec<u8> {
        let said = (1..).zip(self.0).filter_map(|(setting, value)| Some(one_setting(setting, value?)));
        said.flatten().collect()
    }
}

/// A part of the payload of SETTINGS.
pub(super) fn one_setting(setting: u16, value: u32) -> [u8; SETTING] {
    let ([a, b], [c, d, e, f]) = (setting.to_be_bytes(), value.to_be_bytes());
    [a, b, c, d, e, f]
}

/// Of the payload of a WINDOW_UPDATE.
#[inline]
pub(super) fn increment(payload: &[u8]) -> u32 {
    payload.try_into().map_or(0, |bytes| u32::from_be_bytes(bytes) & STREAM)
}

/// A frame's length (24 bits), kind, flags and stream.
pub(super) const HEAD: usize = 9;
/// Without the bit that is reserved.
const STREAM: u32 = u32::MAX >> 1;
const SETTING: usize = 6;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const HEADER_TABLE_SIZE: u16 = 1;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
pub(super) const MAX_FRAME_SIZE: u16 = 5;
pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
const LAST_SETTING: u16 = ENABLE_CONNECT_PROTOCOL;

/// Of the table of fields, where nobody has said another size.
pub(super) const DEFAULT_TABLE: u32 = 4096;
/// The longest payload, where nobody has said another.
pub(super) const DEFAULT_FRAME: u32 = 16_384;
/// Of every window, where nobody has said another size.
pub(super) const DEFAULT_WINDOW: u32 = 65_535;
pub(super) const LARGEST_WINDOW: u32 = STREAM;

pub(in crate::http) const NO_ERROR: u32 = 0;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut bytes = Vec::new();
        push(&mut bytes, HEADERS, END_STREAM | END_HEADERS, 7, &[1; 300]);
        let head = Head::of(bytes.first_chunk().unwrap());
        assert_eq!(head, Head { length: 300, kind: HEADERS, flags: 5, stream: 7 });
        assert_eq!(head.whole(), bytes.len());
    }

    #[test]
    fn the_last_word_on_a_setting_counts_and_an_unknown_one_is_passed_over() {
        let mut settings = Settings::default();
        settings
            .merge(&[one_setting(4, 1), one_setting(9, 9), one_setting(0, 9), one_setting(4, 2)].concat());
        settings.merge(&one_setting(1, 0));
        assert_eq!(settings.get(INITIAL_WINDOW_SIZE), Some(2));
        assert_eq!(settings.payload(), [one_setting(1, 0), one_setting(4, 2)].concat());
    }

    #[test]
    fn a_client_may_have_been_told_the_same_or_less() {
        let of = |window, streams: Option<u32>| {
            let mut settings = Settings::default();
            settings.set(INITIAL_WINDOW_SIZE, window);
            settings.0[usize::from(MAX_CONCURRENT_STREAMS) - 1] = streams;
            settings
        };
        let told = of(70_000, Some(200));
        for (said, bears) in [
            (told, true),
            (of(80_000, Some(300)), true),
            (of(60_000, Some(200)), false),
            (of(70_000, Some(100)), false),
            (of(70_000, None), false),
        ] {
            assert_eq!(said.bear(&told), bears, "{said:?}");
        }
    }

    #[test]
    fn settings_are_known_by_their_head() {
        let mut settings = Vec::new();
        push(&mut settings, SETTINGS, 0, 0, &one_setting(4, 1));
        assert!(are_settings(&settings));
        assert!(!are_settings(b"HTTP/1.1 200 OK\r\n") && !are_settings(&settings[..8]));
    }
}
