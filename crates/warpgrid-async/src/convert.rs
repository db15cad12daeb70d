// SPDX-License-Identifier: Apache-2.0
//! Between the names and bytes of `wasi:http` and the types of `http`.
use crate::{Error, ErrorKind};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

fn invalid(what: &str, subject: &str) -> Error {
    Error::new(ErrorKind::Message, format!("invalid {what} '{}'", subject.escape_debug()))
}

/// Headers or trailers in their order, values as they are, UTF-8 or not.
pub(crate) fn headers_from(fields: Vec<(String, Vec<u8>)>) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::with_capacity(fields.len());
    for (name, value) in fields {
        // A value is not shown: it may be a secret.
        let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .map_err(|_| invalid("value of header", &name))?;
        let name = HeaderName::try_from(&name).map_err(|_| invalid("name of a header", &name))?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// Headers of the connection, which is the host's (RFC 9110, section 7.6.1): it refuses them of guests.
const OF_THE_CONNECTION: [&str; 9] = [
    "connection",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "transfer-encoding",
    "upgrade",
];

/// The inverse of `headers_from`, without those of the connection.
pub(crate) fn headers_into(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    let ours = headers.iter().filter(|(name, _)| !OF_THE_CONNECTION.contains(&name.as_str()));
    ours.map(|(n, v)| (n.as_str().to_owned(), v.as_bytes().to_vec())).collect()
}

/// An address of the parts that the client said; scheme and authority count together only.
pub(crate) fn uri_from(
    scheme: Option<&str>,
    authority: Option<&str>,
    path: Option<&str>,
) -> Result<Uri, Error> {
    let path = path.filter(|p| !p.is_empty()).unwrap_or("/");
    let mut uri = Uri::builder().path_and_query(path);
    if let (Some(scheme), Some(authority)) = (scheme, authority)
        && path != "*"
    {
        uri = uri.scheme(scheme).authority(authority);
    }
    uri.build().map_err(|_| invalid("address", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn us_503_headers_survive_a_round_trip() {
        let fields: Vec<(String, Vec<u8>)> = vec![
            ("set-cookie".into(), b"a=1".to_vec()),
            ("set-cookie".into(), b"b=2".to_vec()),
            ("x-latin".into(), vec![0xe9, 0xff, b' ', b'\t', 0x80]),
            ("x-empty".into(), vec![]),
        ];
        let headers = headers_from(fields.clone()).unwrap();
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert_eq!(headers["x-latin"].as_bytes(), [0xe9, 0xff, b' ', b'\t', 0x80]);
        assert_eq!(headers_into(&headers), fields);
        assert_eq!(headers_from(headers_into(&headers)).unwrap(), headers);
    }

    #[test]
    fn us_503_headers_of_the_connection_stay_here() {
        let mut headers = HeaderMap::new();
        for name in OF_THE_CONNECTION {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        headers.insert("x-own", HeaderValue::from_static("x"));
        assert_eq!(headers_into(&headers), [("x-own".to_string(), b"x".to_vec())]);
    }

    #[test]
    fn us_503_what_is_no_header_is_an_error_without_the_value() {
        let e = headers_from(vec![("x-key".into(), b"secret\n".to_vec())]).unwrap_err();
        assert_eq!(e.to_string(), "invalid value of header 'x-key'");
        assert_eq!(e.kind(), ErrorKind::Message);
        let e = headers_from(vec![("a b".into(), vec![])]).unwrap_err();
        assert_eq!(e.to_string(), "invalid name of a header 'a b'");
    }

    #[test]
    fn us_503_addresses() {
        let uri = |s, a, p| uri_from(s, a, p).map(|u| u.to_string());
        assert_eq!(uri(Some("http"), Some("h:1"), Some("/a?b=c")).unwrap(), "http://h:1/a?b=c");
        assert_eq!(uri(Some("http"), None, Some("/a")).unwrap(), "/a");
        assert_eq!(uri(None, Some("h"), None).unwrap(), "/");
        assert_eq!(uri(Some("http"), Some("h"), Some("*")).unwrap(), "*");
        assert!(uri(None, None, Some("/a b")).is_err());
    }
}
