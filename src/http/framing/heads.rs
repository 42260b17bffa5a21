//! What the heads of a request and of its response say of the bytes behind them (RFC 9112, 6).

/// What a request's head says of what follows it, and of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct RequestHead {
    pub(in crate::http) body: Body,
    method: Method,
    closes: bool,
}

/// What a response's head says of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) struct ResponseHead {
    status: u16,
    body: Body,
    closes: bool,
}

/// How long the body of a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http) enum Body {
    Length(u64),
    Chunks,
    /// Up to the end of the connection.
    UntilEnd,
}

/// As far as it matters for the bytes of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Method {
    Head,
    Connect,
    Other,
}

impl RequestHead {
    /// `None` for what different servers may take for different things.
    pub(in crate::http) fn parse(head: &[u8]) -> Option<RequestHead> {
        let (first, fields) = Fields::parse(head)?;
        let mut parts = first.split(|byte| *byte == b' ');
        let (method, version) = (parts.next()?, parts.next_back()?);
        let is_old = is_old(version)?;
        let body = fields.body(is_old)?.unwrap_or(Body::Length(0));
        let method = match method {
            b"HEAD" => Method::Head,
            b"CONNECT" => Method::Connect,
            _ => Method::Other,
        };
        Some(RequestHead { body, method, closes: fields.closes(is_old) })
    }
}

impl ResponseHead {
    /// `None` for what different clients may take for different things.
    pub(in crate::http) fn parse(head: &[u8]) -> Option<ResponseHead> {
        let (first, fields) = Fields::parse(head)?;
        let mut parts = first.splitn(3, |byte| *byte == b' ');
        let is_old = is_old(parts.next()?)?;
        let status: u16 = str::from_utf8(parts.next()?).ok()?.parse().ok()?;
        let body = fields.body(is_old)?.unwrap_or(Body::UntilEnd);
        Some(ResponseHead { status, body, closes: fields.closes(is_old) })
    }

    /// Informational: another head follows.
    pub(in crate::http) fn is_interim(self) -> bool {
        (100..200).contains(&self.status) && self.status != SWITCHING
    }

    /// Whether something else than HTTP/1 is spoken from here on.
    pub(in crate::http) fn switches(self, request: RequestHead) -> bool {
        self.status == SWITCHING || request.method == Method::Connect && (200..300).contains(&self.status)
    }

    /// The body that follows, as an answer to that request.
    pub(in crate::http) fn body(self, request: RequestHead) -> Body {
        let has_none = request.method == Method::Head || matches!(self.status, 204 | 304);
        if has_none { Body::Length(0) } else { self.body }
    }

    /// Whether the connection ends behind it, as both sides know by then.
    pub(in crate::http) fn closes(self, request: RequestHead) -> bool {
        self.closes || request.closes || self.body(request) == Body::UntilEnd
    }
}

/// The fields of a head that say how its message is framed.
#[derive(Default)]
struct Fields {
    length: Option<u64>,
    is_chunked: bool,
    says_close: bool,
    says_keep_alive: bool,
}

impl Fields {
    /// The first line, and these fields; `None` for what is in doubt.
    fn parse(head: &[u8]) -> Option<(&[u8], Fields)> {
        let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut lines = lines.skip_while(|line| line.is_empty());
        let first = lines.next()?;
        let mut fields = Fields::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            let colon = line.iter().position(|byte| *byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            // Also a line that goes on the one before, and blanks before the colon.
            if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
                return None;
            }
            fields.add(name, value)?;
        }
        Some((first, fields))
    }

    fn add(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if name.eq_ignore_ascii_case(b"content-length") {
            let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let length = str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()?;
            if self.length.is_some_and(|before| before != length) {
                return None;
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return None;
            }
            self.is_chunked = true;
        } else if name.eq_ignore_ascii_case(b"connection") {
            let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.says_close |= options.clone().any(|option| option.eq_ignore_ascii_case(b"close"));
            self.says_keep_alive |= options.any(|option| option.eq_ignore_ascii_case(b"keep-alive"));
        }
        Some(())
    }

    /// The inner `None`: nothing is said of it.
    fn body(&self, is_old: bool) -> Option<Option<Body>> {
        match (self.length, self.is_chunked) {
            (Some(_), true) => None,
            (None, true) if is_old => None,
            (None, true) => Some(Some(Body::Chunks)),
            (length, false) => Some(length.map(Body::Length)),
        }
    }

    fn closes(&self, is_old: bool) -> bool {
        self.says_close || is_old && !self.says_keep_alive
    }
}

/// Whether that is HTTP/1.0; `None` if it is no version of HTTP/1.
fn is_old(version: &[u8]) -> Option<bool> {
    match version {
        b"HTTP/1.1" => Some(false),
        b"HTTP/1.0" => Some(true),
        _ => None,
    }
}

const SWITCHING: u16 = 101;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Option<RequestHead> {
        RequestHead::parse(text.replace('\n', "\r\n").as_bytes())
    }

    fn response(text: &str) -> ResponseHead {
        ResponseHead::parse(text.replace('\n', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn a_request_says_how_long_it_is() {
        for (text, body) in [
            ("GET / HTTP/1.1\nhost: x\n\n", Body::Length(0)),
            ("\n\nPOST / HTTP/1.1\nContent-Length:  17 \n\n", Body::Length(17)),
            ("POST / HTTP/1.1\ncontent-length: 5\ncontent-length: 5\n\n", Body::Length(5)),
            ("PUT / HTTP/1.1\nTransfer-Encoding: Chunked\n\n", Body::Chunks),
            ("GET / HTTP/1.0\n\n", Body::Length(0)),
        ] {
            assert_eq!(request(text).unwrap().body, body, "{text}");
        }
    }

    #[test]
    fn what_may_be_understood_differently_is_not_understood() {
        for text in [
            "POST / HTTP/1.1\ncontent-length: 5\ntransfer-encoding: chunked\n\n",
            "POST / HTTP/1.1\ncontent-length: 5\ncontent-length: 6\n\n",
            "POST / HTTP/1.1\ncontent-length: 5, 5\n\n",
            "POST / HTTP/1.1\ncontent-length: +5\n\n",
            "POST / HTTP/1.1\ncontent-length : 5\n\n",
            "POST / HTTP/1.1\na: b\n content-length: 5\n\n",
            "POST / HTTP/1.1\ntransfer-encoding: gzip, chunked\n\n",
            "POST / HTTP/1.1\ntransfer-encoding: chunked\ntransfer-encoding: chunked\n\n",
            "POST / HTTP/1.0\ntransfer-encoding: chunked\n\n",
            "GET / HTTP/1.1\nno field\n\n",
            "PRI * HTTP/2.0\n\n",
            "GET /\n\n",
            "",
        ] {
            assert_eq!(request(text), None, "{text}");
        }
    }

    #[test]
    fn a_response_depends_on_its_request() {
        let get = request("GET / HTTP/1.1\n\n").unwrap();
        let head = request("HEAD / HTTP/1.1\n\n").unwrap();
        let connect = request("CONNECT x:1 HTTP/1.1\n\n").unwrap();
        let ten = response("HTTP/1.1 200 OK\ncontent-length: 10\n\n");
        assert_eq!((ten.body(get), ten.body(head)), (Body::Length(10), Body::Length(0)));
        assert!(ten.switches(connect) && !ten.switches(get) && !ten.closes(get));
        let none = response("HTTP/1.1 304 Not Modified\ncontent-length: 10\n\n");
        assert_eq!(none.body(get), Body::Length(0));
        let unsaid = response("HTTP/1.1 200 OK\n\n");
        assert_eq!(unsaid.body(get), Body::UntilEnd);
        assert!(unsaid.closes(get) && !unsaid.closes(head));
        assert!(response("HTTP/1.1 100 Continue\n\n").is_interim());
        assert!(response("HTTP/1.1 101 Switching Protocols\n\n").switches(get));
    }

    #[test]
    fn who_is_to_close_is_known() {
        let keep = "HTTP/1.1 200 OK\ncontent-length: 0\n\n";
        for (asked, answer, closes) in [
            ("GET / HTTP/1.1\n\n", keep, false),
            ("GET / HTTP/1.1\nconnection: x, Close\n\n", keep, true),
            ("GET / HTTP/1.1\n\n", "HTTP/1.1 200 OK\ncontent-length: 0\nConnection: close\n\n", true),
            ("GET / HTTP/1.0\n\n", keep, true),
            ("GET / HTTP/1.0\nconnection: keep-alive\n\n", keep, false),
        ] {
            assert_eq!(response(answer).closes(request(asked).unwrap()), closes, "{asked}{answer}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = RequestHead::parse(&bytes);
            let _ = ResponseHead::parse(&bytes);
            let _ = RequestHead::parse(&[b"GET / HTTP/1.1\r\n", &bytes[..]].concat());
        }
    }
}
