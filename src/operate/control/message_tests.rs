//! What is written, what is read, and what is not.

use super::*;
use proptest::prelude::*;

/// As release 0.1 writes them. Never edit a line; add lines for new releases.
const REQUESTS: [(&str, Request); 6] = [
    (r#"{"heirloom":1,"do":"status"}"#, Request::Status),
    (r#"{"heirloom":1,"do":"restart"}"#, Request::Restart),
    (r#"{"heirloom":1,"do":"follow"}"#, Request::Follow),
    (r#"{"heirloom":1,"do":"stop"}"#, Request::Stop { within_ms: None }),
    (r#"{"heirloom":1,"do":"stop","within_ms":250}"#, Request::Stop { within_ms: Some(250) }),
    (r#"{"heirloom":1,"do":"hammer"}"#, Request::Hammer),
];

/// As release 0.1 writes them; as above.
fn replies() -> Vec<(&'static str, Reply)> {
    vec![
        (r#"{"heirloom":1,"event":"starting"}"#, Reply::Starting),
        (
            r#"{"heirloom":1,"event":"settled","pid":7,"after_ms":1.5}"#,
            Reply::Settled { pid: 7, after_ms: 1.5 },
        ),
        (r#"{"heirloom":1,"event":"passed_on","pid":7}"#, Reply::PassedOn { pid: 7 }),
        (
            r#"{"heirloom":1,"event":"failed","pid":7,"reason":"no","after_ms":2.0}"#,
            Reply::Failed(Lost {
                pid: Some(7),
                reason: "no".into(),
                stderr: String::new(),
                stderr_goes_to: None,
                after_ms: 2.0,
            }),
        ),
        (
            r#"{"heirloom":1,"event":"error","code":"too_long","reason":"why"}"#,
            Reply::Error { code: ErrorCode::TooLong, reason: "why".into() },
        ),
    ]
}

#[test]
fn g7_recorded_lines_are_written_and_read() {
    for (text, request) in REQUESTS {
        assert_eq!(String::from_utf8(request.encode()).unwrap(), format!("{text}\n"));
        assert_eq!(Request::decode(text.as_bytes()), Ok(request));
    }
    for (text, reply) in replies() {
        assert_eq!(String::from_utf8(reply.encode()).unwrap(), format!("{text}\n"));
        assert_eq!(Reply::decode(text.as_bytes()).unwrap(), reply);
    }
}

#[test]
fn g7_what_a_later_release_adds_is_passed_over() {
    let more = br#"{"heirloom":1,"do":"stop","gently":true}"#;
    assert_eq!(Request::decode(more), Ok(Request::Stop { within_ms: None }));
    let more = br#"{"heirloom":1,"event":"sang","song":{"of":[1]}}"#;
    assert_eq!(Reply::decode(more).unwrap(), Reply::Unknown);
}

#[test]
fn what_is_no_request_is_told_so() {
    let code = |text: &str| Request::decode(text.as_bytes()).unwrap_err().0;
    assert_eq!(code("GET / HTTP/1.1"), ErrorCode::Malformed);
    assert_eq!(code("{}"), ErrorCode::Malformed);
    assert_eq!(code(r#"{"heirloom":1}"#), ErrorCode::Unsupported);
    assert_eq!(code(r#"{"heirloom":2,"do":"status"}"#), ErrorCode::Version);
    assert_eq!(code(r#"{"heirloom":1,"do":"sing"}"#), ErrorCode::Unsupported);
    assert_eq!(code(r#"{"heirloom":1,"do":"stop","within_ms":"soon"}"#), ErrorCode::Malformed);
    // As deep as fits: no overflow of the stack.
    assert_eq!(code(&"[".repeat(MAX_REQUEST)), ErrorCode::Malformed);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::decode(&bytes);
        let _ = Reply::decode(&bytes);
    }
}
