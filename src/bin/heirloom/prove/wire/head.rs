//! The head of an HTTP/1 answer.

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// The server says that it is the last one here.
    pub(crate) closes: bool,
    pub(crate) body: Body,
}

/// How long what comes behind it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Length(usize),
    Chunks,
    ToTheEnd,
}

impl Head {
    /// To a request that is no HEAD.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Head> {
        let text = str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        let first = lines.next()?.strip_prefix("HTTP/1.")?;
        let (version, rest) = first.split_at_checked(1)?;
        let status = rest.trim_start().get(..3)?.parse().ok()?;
        let (mut length, mut is_chunked) = (None, false);
        let mut closes = version == "0";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse().ok()?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                is_chunked = value.to_ascii_lowercase().ends_with("chunked");
            } else if name.eq_ignore_ascii_case("connection") {
                let mut words = value.split(',').map(str::trim);
                closes = match closes {
                    false => words.any(|word| word.eq_ignore_ascii_case("close")),
                    true => !words.any(|word| word.eq_ignore_ascii_case("keep-alive")),
                };
            }
        }
        let body = match (status, is_chunked, length) {
            (100..200 | 204 | 304, ..) => Body::Length(0),
            (_, true, _) => Body::Chunks,
            (_, _, Some(length)) => Body::Length(length),
            _ => Body::ToTheEnd,
        };
        closes |= body == Body::ToTheEnd;
        Some(Head { status, closes, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let read = |text: &str| {
            let head = Head::parse(text.as_bytes())?;
            Some((head.status, head.closes, head.body))
        };
        assert_eq!(read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), Some((200, false, Body::Length(5))));
        assert_eq!(
            read("HTTP/1.1 200 \r\ncontent-length:5\r\nConnection: x, Close\r\n\r\n"),
            Some((200, true, Body::Length(5)))
        );
        assert_eq!(read("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n"), Some((200, true, Body::Length(5))));
        assert_eq!(
            read("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n"),
            Some((200, false, Body::Length(5)))
        );
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Some((200, false, Body::Chunks))
        );
        assert_eq!(read("HTTP/1.1 200 OK\r\n\r\n"), Some((200, true, Body::ToTheEnd)));
        assert_eq!(read("HTTP/1.1 204 No\r\n\r\n"), Some((204, false, Body::Length(0))));
        for bad in [
            "HTTP/2 200\r\n\r\n",
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 x\r\n\r\n",
            "HTTP/1.1 200\r\nContent-Length: -1\r\n\r\n",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
