use super::*;
use crate::http::gate::frames::{close, pong};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\n\r\n";
const STREAM: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// A masked text message of one byte.
const MESSAGE: &[u8] = b"\x81\x81\x01\x02\x03\x04y";

fn begins(kind: SessionKind) -> Begins {
    Begins { kind: Some(kind), body: RequestBody::None, may_upgrade: kind == SessionKind::WebSocket }
}

/// Gives out what may be given, as often as there is something.
fn give(following: &mut Following, mut bytes: &[u8]) -> usize {
    let before = bytes.len();
    loop {
        let count = following.may_give(bytes, false);
        if count == 0 {
            return before - bytes.len();
        }
        following.given(&bytes[..count]);
        bytes = &bytes[count..];
    }
}

fn in_session(kind: SessionKind, response: &[u8]) -> Following {
    let mut following = Following::new();
    following.given(GET);
    assert!(following.begin(begins(kind), true));
    following.written(response);
    following
}

fn resumed(kind: SessionKind, response: &[u8], replayed: &[u8]) -> Following {
    let carried = in_session(kind, response).carried(b"state".to_vec()).unwrap();
    assert_eq!(carried.request, GET);
    let mut following = Following::resumed(&carried);
    following.given(&carried.request);
    assert!(following.begin(begins(kind), true));
    assert_eq!(give(&mut following, MESSAGE), 0, "not before its answer");
    let mut rest = replayed;
    while following.swallows() && !rest.is_empty() {
        let count = following.swallow(&rest[..rest.len().min(7)]);
        rest = &rest[count..];
    }
    following
}

#[test]
fn nothing_behind_a_head_is_given_out_before_its_response() {
    let mut following = Following::new();
    let pipelined = [GET, GET].concat();
    assert_eq!(following.may_give(&pipelined, false), GET.len());
    following.given(GET);
    assert!(following.begin(begins(SessionKind::Stream), true));
    assert_eq!(following.may_give(GET, false), 0);
    assert_eq!(following.readiness(), Readiness::NotYet, "the response is not begun");
    // An ordinary response: the next request is no longer held.
    assert!(following.written(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    assert_eq!(following.may_give(GET, false), GET.len());
    assert_eq!(following.readiness(), Readiness::Ending);
}

#[test]
fn bodies_are_followed_to_the_next_head() {
    for (body, bytes) in [
        (RequestBody::Length(5), &b"hello"[..]),
        (RequestBody::Chunks, b"5\r\nhello\r\n0\r\n\r\n"),
        (RequestBody::None, b""),
    ] {
        let mut following = Following::new();
        following.given(GET);
        assert!(!following.begin(Begins { kind: None, body, may_upgrade: false }, true));
        let all = [bytes, GET, b"what comes later"].concat();
        let mut given = 0;
        for _ in 0..2 {
            let count = following.may_give(&all[given..], false);
            following.given(&all[given..given + count]);
            given += count;
            if given == bytes.len() + GET.len() {
                break;
            }
        }
        assert_eq!(given, bytes.len() + GET.len(), "{body:?}");
        assert!(following.begin(begins(SessionKind::Stream), true));
    }
}

const POST: &[u8] = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n";

fn asked(body: RequestBody) -> (Following, Begins) {
    let with_body = Begins { body, ..begins(SessionKind::Stream) };
    let mut following = Following::new();
    following.given(POST);
    (following, with_body)
}

#[test]
fn a_body_goes_along_with_the_stream_that_answers_it() {
    for (body, bytes) in [
        (RequestBody::Length(5), &b"hello"[..]),
        (RequestBody::Chunks, b"5;a=b\r\nhello\r\n0\r\nc: d\r\n\r\n"),
    ] {
        let (mut following, with_body) = asked(body);
        assert!(following.begin(with_body, true));
        let all = [bytes, GET].concat();
        assert_eq!(give(&mut following, &all[..3]), 3, "a part of it");
        following.written(STREAM);
        assert_eq!(following.readiness(), Readiness::NotYet, "answered before it was there");
        assert_eq!(give(&mut following, &all[3..]), bytes.len() - 3, "and nothing behind it");
        assert_eq!(following.readiness(), Readiness::Ready);

        let carried = following.carried(Vec::new()).unwrap();
        assert_eq!(carried.request, [POST, bytes].concat());
        let mut resumed = Following::resumed(&carried);
        resumed.given(POST);
        assert!(resumed.begin(with_body, true));
        assert_eq!(give(&mut resumed, &all), bytes.len());
        resumed.swallow(STREAM);
        assert_eq!(resumed.readiness(), Readiness::Ready);
        assert_eq!(resumed.carried(Vec::new()).unwrap().request, carried.request, "and once more");

        assert!(following.written(b"0\r\n\r\n"));
        assert_eq!(give(&mut following, GET), GET.len());
        assert!(following.begin(begins(SessionKind::Stream), true));
        assert_eq!(following.carried(Vec::new()).unwrap().request, GET);
    }
}

#[test]
fn a_stream_that_ends_before_its_body_leaves_the_rest_of_that() {
    let (mut following, with_body) = asked(RequestBody::Length(5));
    assert!(following.begin(with_body, true));
    following.written(STREAM);
    following.written(b"0\r\n\r\n");
    assert_eq!(following.may_give(&[b"hello", GET].concat(), false), 5);
    following.given(b"hello");
    assert_eq!(following.may_give(GET, false), GET.len());
}

#[test]
fn a_body_that_is_too_long_keeps_its_stream_here() {
    let (mut following, with_body) = asked(RequestBody::Length(LONGEST_BODY as u64 + 1));
    assert!(!following.begin(with_body, true));
    let (mut following, with_body) = asked(RequestBody::Chunks);
    assert!(following.begin(with_body, true));
    following.written(STREAM);
    let chunk = [format!("{LONGEST_REQUEST:x}\r\n").as_bytes(), &vec![b'x'; LONGEST_REQUEST]].concat();
    following.given(&chunk);
    following.given(b"\r\n0\r\n\r\n");
    assert_eq!(following.readiness(), Readiness::TooLong);
    assert!(following.request.is_empty());
    following.written(b"0\r\n\r\n");
    following.given(GET);
    assert!(following.begin(begins(SessionKind::Stream), true), "the next one's is another");
    following.written(STREAM);
    assert_eq!(following.readiness(), Readiness::Ready);
    // A WebSocket's request has none.
    let (mut following, with_body) = asked(RequestBody::Length(1));
    let websocket = Begins { kind: Some(SessionKind::WebSocket), may_upgrade: true, ..with_body };
    assert!(!following.begin(websocket, true));
}

#[test]
fn what_cannot_be_followed_is_let_through() {
    let mut following = Following::new();
    following.given(GET);
    let upgrade = Begins { kind: None, body: RequestBody::None, may_upgrade: true };
    assert!(!following.begin(upgrade, true));
    assert_eq!(following.may_give(&[0xff; 100], true), 100);
    assert_eq!(following.passes(), u64::MAX);
}

#[test]
fn a_request_that_hyper_may_mix_with_an_earlier_answer_does_not_become_a_session() {
    let mut following = Following::new();
    following.given(GET);
    assert!(!following.begin(begins(SessionKind::Stream), false));
    following.given(b"GET / HTTP/1.1\r\n");
    assert!(!following.begin(begins(SessionKind::Stream), true), "a head that is not whole");
    let mut following = Following::new();
    following.given(&[b"GET /", &[b'x'; LONGEST_HEAD][..], b" HTTP/1.1\r\n\r\n"].concat());
    assert!(!following.begin(begins(SessionKind::Stream), true), "a head that is too long");
}

#[test]
fn a_websocket_can_go_between_two_messages_in_both_directions() {
    let mut following = in_session(SessionKind::WebSocket, SWITCH);
    assert_eq!(following.readiness(), Readiness::Ready);
    following.given(&MESSAGE[..3]);
    assert_eq!(following.readiness(), Readiness::NotYet);
    following.given(&MESSAGE[3..]);
    following.written(b"\x81\x02o");
    assert_eq!((following.readiness(), following.can_close()), (Readiness::NotYet, false));
    following.written(b"k");
    assert_eq!((following.readiness(), following.can_close()), (Readiness::Ready, true));
    assert_eq!(following.may_give(MESSAGE, true), 0, "held");
    following.written(&close(1000, ""));
    assert_eq!((following.readiness(), following.can_close()), (Readiness::Ending, false));
}

#[test]
fn what_comes_with_the_response_is_followed_too() {
    let mut following = in_session(SessionKind::WebSocket, &[SWITCH, b"\x81\x05hel"].concat());
    assert_eq!(following.readiness(), Readiness::NotYet);
    following.written(b"lo");
    assert_eq!(following.readiness(), Readiness::Ready);
    let following =
        in_session(SessionKind::Stream, &[b"HTTP/1.1 103 Early Hints\r\n\r\n", STREAM, b"2\r\nok"].concat());
    assert_eq!(following.readiness(), Readiness::NotYet);
}

#[test]
fn a_ping_is_owed_its_answer_until_that_is_written() {
    let mut following = in_session(SessionKind::WebSocket, SWITCH);
    following.given(b"\x89\x81\x01\x02\x03\x04y");
    assert_eq!(following.unanswered(), Some(&b"x"[..]));
    following.written(&pong(b"an earlier one"));
    assert_eq!(following.unanswered(), Some(&b"x"[..]));
    following.written(&pong(b"x"));
    assert_eq!(following.unanswered(), None);
}

#[test]
fn compression_that_remembers_keeps_a_websocket_here() {
    let response = b"HTTP/1.1 101 x\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n";
    assert_eq!(in_session(SessionKind::WebSocket, response).readiness(), Readiness::Bound);
}

#[test]
fn a_stream_can_go_between_two_chunks_and_what_follows_its_end_is_a_request() {
    let mut following = in_session(SessionKind::Stream, STREAM);
    assert_eq!(following.readiness(), Readiness::Ready);
    following.written(b"2\r\nok");
    assert_eq!(following.readiness(), Readiness::NotYet);
    following.written(b"\r\n");
    assert_eq!(following.readiness(), Readiness::Ready);
    assert_eq!(following.may_give(GET, false), 0);
    assert!(following.written(b"0\r\n\r\n"));
    assert_eq!(following.readiness(), Readiness::Ending);
    assert_eq!(following.may_give(GET, false), GET.len());
}

#[test]
fn a_session_that_is_played_again_goes_on_where_it_was() {
    let mut following = resumed(SessionKind::WebSocket, SWITCH, SWITCH);
    assert!(!following.swallows() && !following.is_wrong() && following.is_resumed());
    assert_eq!(following.readiness(), Readiness::Ready);
    assert_eq!(give(&mut following, MESSAGE), MESSAGE.len());
    let mut following = resumed(SessionKind::Stream, STREAM, STREAM);
    assert_eq!(following.readiness(), Readiness::Ready);
    following.written(b"2\r\nok\r\n");
    assert!(!following.is_resumed());
    // And once more.
    let carried = following.carried(Vec::new()).unwrap();
    assert_eq!((carried.request.as_slice(), carried.terms[0].as_str()), (GET, "text/event-stream"));
}

#[test]
fn another_answer_than_the_client_has_is_wrong() {
    for replayed in [
        &b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: other\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-protocol: chat\r\nsec-websocket-extensions: x\r\n\r\n",
        STREAM,
        b"nonsense\r\n\r\n",
    ] {
        let following = resumed(SessionKind::WebSocket, SWITCH, replayed);
        assert!(following.is_wrong(), "{:?}", str::from_utf8(replayed));
        assert_eq!(following.kind(), Some(SessionKind::WebSocket));
    }
    let failed = [b"HTTP/1.1 500 Internal Server Error", &STREAM[15..]].concat();
    assert!(resumed(SessionKind::Stream, STREAM, &failed).is_wrong());
    let whole = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\nok";
    assert!(resumed(SessionKind::Stream, STREAM, whole).is_wrong());
    assert!(resumed(SessionKind::Stream, STREAM, SWITCH).is_wrong());
}
