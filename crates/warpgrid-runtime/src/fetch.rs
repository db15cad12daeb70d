// SPDX-License-Identifier: Apache-2.0
//! GET over HTTP/1.1 for the host's own needs: one request a connection.

use crate::abi::{Bytes, Failure, FetchCfg, Kind};
use crate::worker::Local;
use http::{Request as HttpRequest, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::ffi::{CString, c_char, c_void};
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

type Callback = unsafe extern "C" fn(*mut c_void, u32, Bytes, Bytes, *const c_char);

/// Whom to tell.
pub struct Done {
    pub call: Callback,
    pub user: *mut c_void,
}

pub struct Request {
    uri: Uri,
    port: u16,
    /// Of the URI's host, when it is known.
    address: Option<IpAddr>,
    etag: String,
    authorization: String,
    timeout: Duration,
    max: usize,
}

impl Request {
    /// # Safety
    /// `cfg`'s pointers must be valid for the call.
    pub unsafe fn new(cfg: &FetchCfg) -> Result<Request, Failure> {
        let (url, etag, authorization) =
            unsafe { (cfg.url.text(), cfg.etag.text(), cfg.authorization.text()) };
        // A query may hold a key.
        let shown = url.split('?').next().unwrap_or_default();
        let bad = |why: &str| Failure::new(Kind::Other, format!("URL '{shown}' {why}"));
        let uri: Uri = url.parse().map_err(|_| bad("is not one"))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none_or(str::is_empty) {
            return Err(bad("does not begin with http:// and a host"));
        }
        let host_and_port = uri.authority().map_or("", |a| a.as_str());
        let tail = host_and_port.rsplit(']').next().unwrap_or_default();
        let port = match (uri.port_u16(), tail.contains(':')) {
            (Some(port), _) if port > 0 => port,
            (None, false) => 80,
            _ => return Err(bad("has no port of 1 to 65535 behind its colon")),
        };
        let address = unsafe { cfg.address.text() };
        Ok(Request {
            uri,
            port,
            address: address.parse().ok(),
            etag,
            authorization,
            timeout: Duration::from_millis(cfg.timeout_ms.into()),
            max: usize::try_from(cfg.max_bytes).unwrap_or(usize::MAX),
        })
    }
}

struct Answer {
    status: StatusCode,
    etag: Vec<u8>,
    body: Vec<u8>,
}

async fn get(r: &Request) -> Result<Answer, String> {
    let host = r.uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = r.port;
    let socket = match r.address {
        Some(ip) => TcpStream::connect((ip, port)).await,
        None => TcpStream::connect((host, port)).await,
    };
    let socket = socket.map_err(|e| format!("cannot connect to {host}:{port}: {e}"))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(socket)).await.map_err(|e| e.to_string())?;
    let path = r.uri.path_and_query().map_or("/", |p| p.as_str());
    let authority = r.uri.authority().map_or(host, |a| a.as_str());
    let mut request = HttpRequest::get(path)
        .header(header::HOST, authority.rsplit('@').next().unwrap_or(authority))
        .header(header::USER_AGENT, concat!("warpgrid/", env!("CARGO_PKG_VERSION")))
        .header(header::ACCEPT, "application/json");
    if !r.etag.is_empty() {
        request = request.header(header::IF_NONE_MATCH, &r.etag);
    }
    if !r.authorization.is_empty() {
        request = request.header(header::AUTHORIZATION, &r.authorization);
    }
    let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = response.status();
        let etag = response.headers().get(header::ETAG).map(|v| v.as_bytes().to_vec());
        let body = Limited::new(response.into_body(), r.max).collect().await;
        let body = body.map_err(|e| format!("body: {e}"))?.to_bytes().to_vec();
        Ok(Answer { status, etag: etag.unwrap_or_default(), body })
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        answer = &mut exchange => answer,
        // The connection may end as the last byte arrives.
        ended = &mut connection => match futures::FutureExt::now_or_never(exchange) {
            Some(answer) => answer,
            None => Err(ended.err().map_or("connection closed".into(), |e| e.to_string())),
        },
    }
}

/// One in progress; frees itself before it tells how it ended.
pub struct Fetch(Option<JoinHandle<()>>);

impl Fetch {
    /// Needs the worker's runtime to be entered.
    pub fn start(request: Request, done: Done) -> *mut Fetch {
        let me = Box::into_raw(Box::new(Fetch(None)));
        let work = async move {
            let answer = match tokio::time::timeout(request.timeout, get(&request)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {} ms", request.timeout.as_millis())),
            };
            // SAFETY: only cancel() frees it too, and takes this task away as it does.
            drop(unsafe { Box::from_raw(me) });
            match answer {
                Ok(a) => {
                    let (etag, body) = (Bytes::of(&a.etag), Bytes::of(&a.body));
                    let status = a.status.as_u16().into();
                    unsafe { (done.call)(done.user, status, etag, body, std::ptr::null()) };
                }
                Err(e) => {
                    let text = CString::new(e.replace('\0', " ")).unwrap_or_default();
                    let none = Bytes::EMPTY;
                    unsafe { (done.call)(done.user, 0, none, none, text.as_ptr()) };
                }
            }
            crate::host::kick();
        };
        let task = tokio::spawn(Local(Box::pin(work)));
        // SAFETY: the task has not run yet: it runs on this thread.
        unsafe { (*me).0 = Some(task) };
        me
    }

    pub fn cancel(self) {
        if let Some(task) = self.0 {
            task.abort();
        }
    }
}
