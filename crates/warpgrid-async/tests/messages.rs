// SPDX-License-Identifier: Apache-2.0
//! US-503, US-505: messages as a user sees them, natively.
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warpgrid_async::{AsyncHandler, Body, BodyStream, ErrorKind, Request, Response};

/// What these futures give: none of them waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("does not wait")
}

fn request(body: impl Into<Body>) -> Request {
    let head = http::Request::post("/a?b=c").header("x-two", "1").header("x-two", "2");
    head.body(body.into()).unwrap().into()
}

fn read(mut body: BodyStream) -> (Vec<Bytes>, BodyStream) {
    let mut chunks = Vec::new();
    while let Some(chunk) = now(body.next()) {
        chunks.push(chunk.unwrap());
    }
    (chunks, body)
}

#[test]
fn us_503_a_handler_is_called_without_any_host() {
    struct Echo;
    impl AsyncHandler for Echo {
        async fn handle_request(&self, request: Request) -> Response {
            Response::new(StatusCode::CREATED, request.bytes().await.unwrap())
        }
    }
    let response = now(Echo.handle_request(request("hello")));
    assert_eq!(response.status(), StatusCode::CREATED);
    assert_eq!(read(response.into_stream()).0, ["hello"]);
}

#[test]
fn us_503_a_request_survives_a_round_trip() {
    let latin = HeaderValue::from_bytes(&[0xe9, 0xff]).unwrap();
    let mut request = http::Request::<Body>::from(request("body"));
    request.headers_mut().insert("x-latin", latin.clone());
    let request = http::Request::<Body>::from(Request::from(request));
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "/a?b=c");
    assert_eq!(request.headers().get_all("x-two").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(request.headers()["x-latin"], latin);
    assert_eq!(now(Request::from(request).text()).unwrap(), "body");
}

#[test]
fn us_503_every_status_and_the_headers_of_a_response_survive_a_round_trip() {
    for code in 100..1000 {
        let status = StatusCode::from_u16(code).unwrap();
        let latin = HeaderValue::from_bytes(&[0x80, 0xff]).unwrap();
        let response = Response::new(status, "")
            .with_header(header::SET_COOKIE, HeaderValue::from_static("a=1"))
            .with_header(header::SET_COOKIE, HeaderValue::from_static("b=2"))
            .with_header(header::ETAG, latin.clone());
        let response = Response::from(http::Response::<Body>::from(response));
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().get_all(header::SET_COOKIE).iter().count(), 2);
        assert_eq!(response.headers()[header::ETAG], latin);
    }
}

#[test]
fn us_503_trailers_come_last() {
    let trailers = HeaderMap::from_iter([(header::ETAG, HeaderValue::from_static("x"))]);
    for body in ["", "content"] {
        let response = Response::new(StatusCode::OK, body).with_trailers(trailers.clone());
        let stream = response.into_stream();
        assert_eq!(stream.trailers(), None);
        let (chunks, stream) = read(stream);
        assert_eq!(chunks.concat(), body.as_bytes());
        assert_eq!(stream.trailers(), Some(&trailers));
    }
    // Those of the content itself and ours are one.
    let inner = Body::from("c")
        .with_trailers(HeaderMap::from_iter([(header::AGE, HeaderValue::from_static("1"))]));
    let outer = Body::from_http_body(inner).with_trailers(trailers);
    let (_, stream) = read(Response::new(StatusCode::OK, outer).into_stream());
    let found = stream.trailers().unwrap();
    assert_eq!(
        (found.len(), &found[header::AGE], &found[header::ETAG]),
        (2, &"1".parse().unwrap(), &"x".parse().unwrap())
    );
}

#[test]
fn us_505_ten_megabytes_of_one_kilobyte_come_whole_and_in_order() {
    let chunks = stream::iter((0..10_240u32).map(|n| n.to_be_bytes().repeat(256).into()));
    let response = Response::streaming(StatusCode::OK, HeaderMap::new(), chunks);
    let (chunks, _) = read(response.into_stream());
    assert_eq!(chunks.iter().map(Bytes::len).sum::<usize>(), 10 << 20);
    for (n, chunk) in chunks.iter().enumerate() {
        assert_eq!(chunk[..4], (n as u32).to_be_bytes());
    }
}

#[test]
fn us_505_a_stream_is_pulled_one_chunk_at_a_time() {
    let made = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = made.clone();
    let chunks = stream::iter(0..100).map(move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Bytes::from_static(b"x")
    });
    let mut stream = Response::streaming(StatusCode::OK, HeaderMap::new(), chunks).into_stream();
    for n in 0..100 {
        assert_eq!(made.load(std::sync::atomic::Ordering::Relaxed), n);
        now(stream.next()).unwrap().unwrap();
    }
}

#[test]
fn a_body_is_taken_once() {
    let request = request("once");
    assert_eq!(now(request.bytes()).unwrap(), "once");
    assert_eq!(now(request.bytes()).unwrap_err().kind(), ErrorKind::BodyTaken);
    let mut again = request.body_stream();
    assert_eq!(now(again.next()).unwrap().unwrap_err().kind(), ErrorKind::BodyTaken);
    assert!(now(again.next()).is_none());
}

#[test]
fn a_body_larger_than_the_limit_is_refused() {
    let of = |count: usize| {
        let chunks = (0..count).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"ab")));
        request(Body::from_stream(stream::iter(chunks)))
    };
    assert_eq!(now(of(3).bytes_up_to(6)).unwrap(), "ababab");
    let e = now(of(3).bytes_up_to(5)).unwrap_err();
    assert_eq!(
        (e.kind(), e.to_string()),
        (ErrorKind::TooLarge, "the body is larger than 5 bytes".into())
    );
    assert_eq!(now(request("abc").bytes_up_to(2)).unwrap_err().kind(), ErrorKind::TooLarge);
}

#[test]
fn an_error_in_a_stream_ends_it() {
    let broken = [Ok(Bytes::from_static(b"a")), Err(std::io::Error::other("gone")), Ok("b".into())];
    let mut stream = request(Body::from_stream(stream::iter(broken))).body_stream();
    assert_eq!(now(stream.next()).unwrap().unwrap(), "a");
    let e = now(stream.next()).unwrap().unwrap_err();
    assert_eq!((e.kind(), e.to_string()), (ErrorKind::Body, "gone".into()));
    assert!(now(stream.next()).is_none());
}

#[cfg(feature = "json")]
#[test]
fn json_both_ways() {
    let value: Vec<u32> = now(request("[1,2]").json()).unwrap();
    let response = Response::json(&value);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert_eq!(read(response.into_stream()).0, ["[1,2]"]);
    let e = now(request("{").json::<Vec<u32>>()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Json);
    let no_json = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert_eq!(Response::json(&no_json).status(), StatusCode::INTERNAL_SERVER_ERROR);
}
