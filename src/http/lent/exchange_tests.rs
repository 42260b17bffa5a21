use proptest::prelude::*;

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Gives out of these bytes what may be given, up to a halt. How many that were.
fn give(exchange: &mut Exchange, bytes: &[u8]) -> usize {
    let mut given = 0;
    loop {
        let count = exchange.may_give(&bytes[given..]);
        if count == 0 {
            return given;
        }
        exchange.given(&bytes[given..given + count]);
        given += count;
    }
}

#[test]
fn one_request_at_a_time_is_given_out() {
    let mut exchange = Exchange::new();
    assert!(exchange.is_between());
    let two = [GET, GET].concat();
    assert_eq!(give(&mut exchange, &two), GET.len());
    assert!(!exchange.is_between());
    assert!(!exchange.written(&OK[..10]));
    assert!(exchange.written(&OK[10..]), "the next one can go");
    assert!(exchange.is_between());
    assert_eq!(give(&mut exchange, &two[GET.len()..]), GET.len());
}

#[test]
fn a_request_is_over_when_its_body_and_its_response_are() {
    let chunked = &b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"[..];
    let counted = &b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"[..];
    let streamed = &b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"[..];
    for request in [chunked, counted, GET] {
        for response in [OK, streamed] {
            let mut exchange = Exchange::new();
            assert_eq!(give(&mut exchange, &[request, GET].concat()), request.len());
            for byte in 0..response.len() {
                assert!(!exchange.is_between());
                exchange.written(&response[byte..=byte]);
            }
            assert!(exchange.is_between());
        }
    }
    // Answered before its body has come.
    let mut exchange = Exchange::new();
    give(&mut exchange, &counted[..counted.len() - 1]);
    exchange.written(OK);
    assert!(!exchange.is_between());
    assert_eq!(give(&mut exchange, &[b"c", GET].concat()), 1 + GET.len());
}

#[test]
fn what_was_given_of_a_head_is_kept_until_it_is_whole() {
    let mut exchange = Exchange::new();
    exchange.given(&GET[..7]);
    assert!(exchange.is_between());
    assert_eq!(exchange.partial(), &GET[..7]);
    exchange.given(&GET[7..]);
    assert_eq!((exchange.is_between(), exchange.partial()), (false, &b""[..]));
    exchange.written(OK);
    assert!(exchange.is_between());
}

#[test]
fn interim_responses_are_none() {
    let mut exchange = Exchange::new();
    give(&mut exchange, b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n");
    exchange.written(b"HTTP/1.1 100 Continue\r\n\r\n");
    give(&mut exchange, b"x");
    assert!(!exchange.is_between());
    exchange.written(OK);
    assert!(exchange.is_between());
}

#[test]
fn what_cannot_be_followed_goes_through() {
    for (input, output, protocol) in [
        (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &b""[..], Protocol::Http2),
        (
            b"GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
            b"HTTP/1.1 101 x\r\n\r\n\x81\x00",
            Protocol::Upgraded,
        ),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", Protocol::Upgraded),
        (b"\x16\x03\x01", b"HTTP/1.1 400 Bad Request\r\n\r\n", Protocol::Other),
        (b"GET /\r\n\r\n", b"", Protocol::Other),
        (GET, b"what is this\r\n\r\n", Protocol::Other),
    ] {
        let mut exchange = Exchange::new();
        give(&mut exchange, input);
        exchange.written(output);
        assert_eq!((exchange.protocol(), exchange.is_between()), (protocol, false));
        assert_eq!(exchange.may_give(&[0xff; 100]), 100);
    }
}

#[test]
fn behind_the_last_response_nothing_is_asked() {
    for (response, is_over) in [
        (&b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"[..], true),
        (b"HTTP/1.1 200 OK\r\n\r\nok", false),
    ] {
        let mut exchange = Exchange::new();
        give(&mut exchange, GET);
        exchange.written(response);
        assert_eq!((exchange.is_over(), exchange.is_between()), (is_over, false));
        assert_eq!(exchange.may_give(GET), 0);
    }
}

#[test]
fn a_last_word_goes_behind_the_last_field_of_a_response() {
    let mut exchange = Exchange::new();
    assert_eq!(exchange.place_for_last_word(OK), None, "nothing is asked");
    give(&mut exchange, GET);
    let end = OK.len() - b"\r\nok".len();
    assert_eq!(exchange.place_for_last_word(OK), Some(end));
    exchange.written(&OK[..end]);
    assert_eq!(exchange.place_for_last_word(&OK[end..]), Some(0));
    exchange.written(b"connection: close\r\n");
    assert_eq!(exchange.place_for_last_word(&OK[end..]), None, "it is said");
    exchange.written(&OK[end..]);
    assert!(exchange.is_over());
    for head in
        ["101 Switching Protocols\r\n\r\n", "103 Early Hints\r\n\r\n", "200 OK\r\nconnection: close\r\n\r\n"]
    {
        let mut exchange = Exchange::new();
        give(&mut exchange, GET);
        assert_eq!(exchange.place_for_last_word(format!("HTTP/1.1 {head}").as_bytes()), None);
    }
}

proptest! {
    #[test]
    fn however_it_is_cut_it_is_the_same(cut in 1..60_usize, requests in 1..4_usize) {
        let one = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let mut exchange = Exchange::new();
        let mut waiting: Vec<u8> = Vec::new();
        let mut answered = 0;
        for piece in one.repeat(requests).chunks(cut) {
            waiting.extend_from_slice(piece);
            loop {
                let count = give(&mut exchange, &waiting);
                waiting.drain(..count);
                let is_held = matches!(exchange.inbound, Inbound::Held);
                if !is_held {
                    break;
                }
                for piece in OK.chunks(cut) {
                    exchange.written(piece);
                }
                answered += 1;
            }
        }
        prop_assert!(exchange.is_between() && waiting.is_empty());
        prop_assert_eq!(answered, requests);
    }

    #[test]
    fn any_bytes_are_followed_without_a_panic(
        input in proptest::collection::vec(any::<u8>(), 0..200),
        output in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut exchange = Exchange::new();
        give(&mut exchange, &input);
        let _ = exchange.place_for_last_word(&output);
        exchange.written(&output);
        let mut exchange = Exchange::new();
        give(&mut exchange, GET);
        exchange.written(&[b"HTTP/1.1 200 OK\r\n", &output[..]].concat());
    }
}
