extern crate std;

use std::{string::ToString, vec::Vec};

use proptest::prelude::*;

use super::{
    request::{Base64, Encoded},
    *,
};

const BROKER: BrokerAddress<'_> = BrokerAddress {
    host: "example.com",
    port: 443,
    path: "/",
    key: "peerjs",
};

#[test]
fn base64_of_rfc_4648() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
        ("foobar", "Zm9vYmFy"),
    ] {
        assert_eq!(Base64(bytes.as_bytes()).to_string(), text);
    }
    assert_eq!(Base64(&[0xff, 0xef, 0xbe]).to_string(), "/+++");
}

/// As Node 20's `encodeURIComponent` writes it.
#[test]
fn query_values_are_encoded_as_javascript_does() {
    let text = "aZ09-_.!~*'() &=?#/+%\"é😀";
    let want = "aZ09-_.!~*'()%20%26%3D%3F%23%2F%2B%25%22%C3%A9%F0%9F%98%80";
    assert_eq!(Encoded(text).to_string(), want);
}

#[test]
fn paths_get_their_slashes() {
    let mut buffer = [0; 256];
    for (path, line) in [
        ("", "GET /peerjs/id?ts=7&version=1.5.5 HTTP/1.1\r\n"),
        ("/", "GET /peerjs/id?ts=7&version=1.5.5 HTTP/1.1\r\n"),
        ("app", "GET /app/peerjs/id?ts=7&version=1.5.5 HTTP/1.1\r\n"),
        (
            "/a/b/",
            "GET /a/b/peerjs/id?ts=7&version=1.5.5 HTTP/1.1\r\n",
        ),
    ] {
        let request = BrokerAddress { path, ..BROKER }
            .write_id_request(7, &mut buffer)
            .unwrap();
        assert!(request.starts_with(line), "{request}");
        assert!(request.ends_with("\r\n\r\n"));
        assert!(request.contains("Host: example.com:443\r\n"));
    }
}

#[test]
fn nothing_can_be_smuggled_into_a_request() {
    let mut buffer = [0; 512];
    for broker in [
        BrokerAddress { host: "", ..BROKER },
        BrokerAddress {
            host: "a\r\nX: y",
            ..BROKER
        },
        BrokerAddress {
            host: "a b",
            ..BROKER
        },
        BrokerAddress {
            path: "/a b",
            ..BROKER
        },
        BrokerAddress {
            path: "/?x",
            ..BROKER
        },
        BrokerAddress {
            path: "/\n",
            ..BROKER
        },
    ] {
        assert_eq!(
            broker.write_id_request(0, &mut buffer),
            Err(RequestError::Invalid)
        );
    }
    let broker = BrokerAddress {
        key: "k\r\n&",
        ..BROKER
    };
    let request = broker
        .write_upgrade_request("i\r\n", "t ", &[0; 16], &mut buffer)
        .unwrap();
    assert!(request.starts_with("GET /peerjs?key=k%0D%0A%26&id=i%0D%0A&token=t%20&version="));
    let len = request.len();
    let error = broker.write_upgrade_request("i\r\n", "t ", &[0; 16], &mut buffer[..len - 1]);
    assert_eq!(error, Err(RequestError::BufferTooSmall));
}

/// PeerServer 1.0.2 behind express.
const ID: &[u8] = b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nVary: Origin\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 36\r\nETag: W/\"24-x\"\r\n\
    Date: Tue, 24 Nov 2026 08:00:00 GMT\r\nConnection: close\r\n\r\n\
    0f8fad5b-d9cb-469f-a165-70867728950e";

#[test]
fn an_id_is_read_as_soon_as_it_is_whole() {
    for len in 0..=ID.len() {
        let mut bytes = ID[..len].to_vec();
        let Some(head) = ResponseHead::parse(&bytes).unwrap() else {
            assert!(len < ID.len() - 36);
            continue;
        };
        assert_eq!(
            (head.status, head.len, head.upgrade),
            (200, ID.len() - 36, false)
        );
        let (start, body) = (head.len, head.body);
        assert_eq!(body, Body::Length(36));
        let whole = body.read(&mut bytes[start..], false).unwrap();
        assert_eq!(whole.is_some(), len == ID.len());
        if len < ID.len() {
            assert_eq!(
                body.read(&mut bytes[start..], true),
                Err(ResponseError::Incomplete)
            );
        }
    }
}

fn parse(text: &str) -> Result<Option<ResponseHead<'_>>, ResponseError> {
    ResponseHead::parse(text.as_bytes())
}

#[test]
fn heads_say_how_long_the_body_is() {
    for (text, body) in [
        ("HTTP/1.0 200\r\n\r\n", Body::UntilClose),
        ("HTTP/1.1 200 \r\n\r\n", Body::UntilClose),
        (
            "HTTP/1.1 404 Not Found\nContent-LENGTH:\t7 \n\n",
            Body::Length(7),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\ncontent-length: 7\r\n\r\n",
            Body::Length(7),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7\r\n\r\n",
            Body::Chunked,
        ),
        (
            "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n",
            Body::Length(0),
        ),
    ] {
        let head = parse(text).unwrap().unwrap();
        assert_eq!((head.body, head.len), (body, text.len()), "{text}");
    }
    let text = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 401 Unauthorized\r\n\r\n";
    let head = parse(text).unwrap().unwrap();
    assert_eq!((head.status, head.len), (401, text.len()));
}

#[test]
fn what_is_not_a_response_is_an_error_at_once() {
    for (text, error) in [
        ("SSH-2.0-x", ResponseError::NotHttp),
        ("HTTP/2", ResponseError::NotHttp),
        ("\r\n", ResponseError::NotHttp),
        ("HTTP/1.1 20\r\n", ResponseError::NotHttp),
        ("HTTP/1.1 2000\r\n", ResponseError::NotHttp),
        ("HTTP/1.1 099 x\r\n", ResponseError::NotHttp),
        ("HTTP/1.1 +20 x\r\n", ResponseError::NotHttp),
        ("HTTP/1.1 200 OK\r\nno colon\r\n", ResponseError::Header),
        (
            "HTTP/1.1 200 OK\r\na: b\r\n folded\r\n",
            ResponseError::Header,
        ),
        ("HTTP/1.1 200 OK\r\na : b\r\n", ResponseError::Header),
        ("HTTP/1.1 200 OK\r\n: b\r\n", ResponseError::Header),
        ("HTTP/1.1 200 OK\r\na: b\rc\r\n", ResponseError::Header),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            ResponseError::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n",
            ResponseError::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n",
            ResponseError::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n",
            ResponseError::ContentLength,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
            ResponseError::TransferEncoding,
        ),
    ] {
        assert_eq!(parse(text), Err(error), "{text}");
    }
    for (text, error) in [
        // Octets above ASCII belong into values only, and not into those that are looked at.
        (
            &b"HTTP/1.1 200 OK\r\na\xe9: b\r\n"[..],
            ResponseError::Header,
        ),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 7\xe9\r\n",
            ResponseError::ContentLength,
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\xa0\r\n",
            ResponseError::TransferEncoding,
        ),
        (b"HTTP/1.\xb2 200 OK\r\n", ResponseError::NotHttp),
        (b"HTTP/1.1 20\xb2 OK\r\n", ResponseError::NotHttp),
    ] {
        assert_eq!(ResponseHead::parse(text), Err(error), "{text:?}");
    }
    let endless = "HTTP/1.1 200 OK\r\n".to_string() + &"a: b\r\n".repeat(2000);
    assert_eq!(parse(&endless), Err(ResponseError::TooLarge));
    assert_eq!(parse(&(endless + "\r\n")), Err(ResponseError::TooLarge));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert_eq!(parse(&interim), Err(ResponseError::TooLarge));
}

/// RFC 9110, section 5.5; RFC 9112, section 4: proxies put names of places, people and products
/// into headers and reasons as their operators' machines encode them.
#[test]
fn octets_above_ascii_are_no_concern_of_ours() {
    let answer = b"HTTP/1.1 200 D'accord, c'est \xe9t\xe9\r\nX-Served-By: Z\xfcrich\r\n\
        Via: 1.1 \xc3\xa9\r\nContent-Length: 5\r\n\r\nalice";
    let head = ResponseHead::parse(answer).unwrap().unwrap();
    assert_eq!((head.status, head.body), (200, Body::Length(5)));
    assert_eq!(&answer[head.len..], b"alice");

    let answer = b"HTTP/1.1 101 \xff\r\nServer: \xff\r\nUpgrade: websocket\r\n\
        Connection: keep-alive, \xe9, upgrade\r\n\
        Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let head = ResponseHead::parse(answer).unwrap().unwrap();
    assert!(head.is_upgrade(b"the sample nonce"));

    let mut chunks = *b"2;note=\"\xe9\"\r\nhi\r\n0\r\nX-Trailer: \xe9\r\n\r\n";
    let body = Body::Chunked.read(&mut chunks, false).unwrap();
    assert_eq!(body.as_deref(), Some(&b"hi"[..]));
}

#[test]
fn an_upgrade_needs_all_of_it() {
    let lines = [
        "HTTP/1.1 101 Switching Protocols\r\n",
        "Upgrade: WebSocket\r\n",
        "Connection: keep-alive, upgrade\r\n",
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
        "\r\n",
    ];
    let whole = lines.concat();
    let head = parse(&whole).unwrap().unwrap();
    assert!(head.is_upgrade(b"the sample nonce"));
    assert!(!head.is_upgrade(b"The sample nonce"));
    for left_out in 1..4 {
        let text: Vec<_> = (0..5)
            .filter(|&at| at != left_out)
            .map(|at| lines[at])
            .collect();
        let text = text.concat();
        assert!(
            !parse(&text)
                .unwrap()
                .unwrap()
                .is_upgrade(b"the sample nonce"),
            "{text}"
        );
    }
    let text = whole.replace("101", "200");
    assert!(
        !parse(&text)
            .unwrap()
            .unwrap()
            .is_upgrade(b"the sample nonce")
    );
}

#[test]
fn chunks_are_put_together() {
    let text = b"5\r\nhello\r\n1;x=y\r\n \r\n00A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n";
    for len in 0..text.len() {
        let mut bytes = text[..len].to_vec();
        assert_eq!(Body::Chunked.read(&mut bytes, false), Ok(None));
        assert_eq!(bytes, text[..len], "nothing is moved before all is there");
        assert_eq!(
            Body::Chunked.read(&mut bytes, true),
            Err(ResponseError::Incomplete)
        );
    }
    let mut bytes = text.to_vec();
    assert_eq!(
        Body::Chunked.read(&mut bytes, false),
        Ok(Some(&mut b"hello 0123456789".to_vec()[..]))
    );
    for text in [
        "x\r\n",
        "-1\r\n",
        "1\r\nab\r\n",
        "ffffffffffffffff\r\n",
        "fffffffffffffffff\r\n",
        "\r\n",
    ] {
        let mut bytes = text.as_bytes().to_vec();
        assert_eq!(
            Body::Chunked.read(&mut bytes, false),
            Err(ResponseError::TransferEncoding),
            "{text}"
        );
    }
    let mut endless = [b'0'; 300];
    assert_eq!(
        Body::Chunked.read(&mut endless, false),
        Err(ResponseError::TransferEncoding)
    );
    let mut text = *b"abc";
    assert_eq!(Body::UntilClose.read(&mut text, false), Ok(None));
    assert_eq!(
        Body::UntilClose.read(&mut text, true),
        Ok(Some(&mut b"abc".to_vec()[..]))
    );
}

proptest! {
    #[test]
    fn no_bytes_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        text in "(HTTP/1.1 [0-9]{3} ?\r\n)?([a-zA-Z-]*: ?[a-z0-9,]*\r\n){0,5}\r?\n?.*",
        closed in any::<bool>(),
    ) {
        let _ = ResponseHead::parse(&bytes);
        let _ = parse(&text);
        let _ = Body::Chunked.read(&mut bytes, closed);
        let mut text = text.into_bytes();
        let _ = Body::Chunked.read(&mut text, closed);
    }

    #[test]
    fn any_chunking_is_undone(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
    ) {
        let mut bytes = Vec::new();
        for piece in &pieces {
            bytes.extend(std::format!("{:x}\r\n", piece.len()).bytes());
            bytes.extend_from_slice(piece);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\nmore");
        let whole = Body::Chunked.read(&mut bytes, false).unwrap().unwrap();
        prop_assert_eq!(&*whole, pieces.concat());
    }
}
