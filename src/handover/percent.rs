//! Bytes as text in which some of them have a meaning of their own: those stand as `%xx`.

/// Writes all bytes as they are for which `is_plain` says so.
pub(crate) fn escape(bytes: &[u8], is_plain: impl Fn(u8) -> bool) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len()), |mut text, &byte| {
        match is_plain(byte) {
            true => text.push(char::from(byte)),
            false => text += &format!("%{byte:02x}"),
        }
        text
    })
}

/// The bytes again; `None` for what [`escape`] does not write.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        bytes.push(match byte {
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    Some(bytes)
}
