//! Fields in bytes, as the messages of the handover and what travels in them have them:
//! `[tag][length, 4 bytes little endian][value]`.

/// What is wrong with bytes that should be fields: they end within one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Truncated;

/// From here on, a tag may be skipped by a reader that does not know it. Below it, the reader cannot go on.
pub const OPTIONAL: u8 = 128;

/// How many bytes a field has beside its value.
#[cfg(feature = "tls")]
pub(crate) const OVERHEAD: usize = 5;

/// Appends a field. One of more than 4 GiB is over every limit of what it is part of, and is not sent.
pub(crate) fn push(bytes: &mut Vec<u8>, tag: u8, value: &[u8]) {
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    bytes.push(tag);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(value);
}

/// Takes the next field; `None` at the end.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Truncated> {
    let Some((&tag, after_tag)) = rest.split_first() else { return Ok(None) };
    let (length, after_length) = after_tag.split_first_chunk::<4>().ok_or(Truncated)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| Truncated)?;
    let (value, after) = after_length.split_at_checked(length).ok_or(Truncated)?;
    *rest = after;
    Ok(Some((tag, value)))
}
