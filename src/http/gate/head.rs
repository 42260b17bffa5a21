//! What the head of a response says of the session that may follow it.

/// What a response's head says of what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) is_chunked: bool,
    /// What a continuation of it must say as well: of a WebSocket its subprotocol and its extensions, of a
    /// stream its type, its encoding and its status.
    pub(super) terms: Vec<String>,
}

impl ResponseHead {
    /// Reads what hyper has written; `None` for what it would not write.
    pub(super) fn parse(head: &[u8]) -> Option<ResponseHead> {
        let head = std::str::from_utf8(head).ok()?;
        let mut lines = head.lines();
        let status: u16 = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let fields: Vec<(String, &str)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
            .collect();
        let values = |wanted: &str| -> String {
            let values: Vec<_> =
                fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect();
            values.join(",")
        };
        Some(ResponseHead {
            status,
            is_chunked: values("transfer-encoding").eq_ignore_ascii_case("chunked"),
            terms: match status {
                SWITCHING => [PROTOCOL, EXTENSIONS].map(values).into(),
                _ => vec![values(TYPE), values(ENCODING), status.to_string()],
            },
        })
    }

    /// Informational: another head follows.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != SWITCHING
    }

    /// Of a WebSocket: whether nothing but its library knows what its extensions remember of earlier
    /// messages.
    pub(super) fn keeps_context(&self) -> bool {
        let extensions = self.terms.get(1).map(String::as_str).unwrap_or_default();
        extensions.split(',').map(str::trim).filter(|extension| !extension.is_empty()).any(|extension| {
            let mut parts = extension.split(';').map(str::trim);
            let is_deflate = parts.next() == Some("permessage-deflate");
            let parts: Vec<_> = parts.collect();
            !is_deflate
                || !["server_no_context_takeover", "client_no_context_takeover"]
                    .iter()
                    .all(|wanted| parts.contains(wanted))
        })
    }
}

pub(super) const SWITCHING: u16 = 101;

const PROTOCOL: &str = "sec-websocket-protocol";
const EXTENSIONS: &str = "sec-websocket-extensions";
const TYPE: &str = "content-type";
const ENCODING: &str = "content-encoding";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(fields: &str) -> ResponseHead {
        ResponseHead::parse(format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n").as_bytes())
            .unwrap()
    }

    #[test]
    fn a_response_says_what_follows() {
        let head =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        let head = ResponseHead::parse(head).unwrap();
        assert_eq!((head.status, head.is_chunked), (200, true));
        assert_eq!(head.terms, ["text/event-stream", "", "200"]);
        assert!(ResponseHead::parse(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap().is_interim());
        assert!(!response("upgrade: websocket").is_interim());
        for no_response in
            ["", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"]
        {
            assert_eq!(ResponseHead::parse(no_response.as_bytes()), None);
        }
    }

    #[test]
    fn compression_without_memory_can_go_on_elsewhere() {
        let both = "server_no_context_takeover; client_no_context_takeover";
        for (extensions, keeps) in [
            (String::new(), false),
            (
                format!("sec-websocket-extensions: permessage-deflate; {both}; server_max_window_bits=12"),
                false,
            ),
            ("sec-websocket-extensions: permessage-deflate".to_owned(), true),
            ("sec-websocket-extensions: permessage-deflate; server_no_context_takeover".to_owned(), true),
            (format!("Sec-WebSocket-Extensions: permessage-deflate; {both}, other"), true),
        ] {
            assert_eq!(response(&extensions).keeps_context(), keeps, "{extensions}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = ResponseHead::parse(&bytes);
            let _ = ResponseHead::parse(&[b"HTTP/1.1 101 x\r\n", &bytes[..]].concat());
        }
    }
}
