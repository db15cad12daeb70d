// SPDX-License-Identifier: Apache-2.0
//! HTTP requests of guests: to a service of this process without a socket, else over connections
//! that are kept and shared by the worker. C says which address may be reached, as for sockets.

mod body;
mod connection;

use crate::app::App;
use crate::host::{self, HostError, Instance, Outgoing};
use crate::names;
use crate::serve;
use crate::shims::code::NOT_FOUND;
use crate::sockets::{self, Route};
use body::{Answer, Sending, without_content};
pub use connection::forget_connections;
use connection::{Connection, Exchange, take};
use http::uri::Scheme;
use http::{HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::BodyExt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error as HttpError, RequestOptions, WasiBody, WasiHttpHooks};

/// What holds where the guest gives no timeout of its own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// What wasi:http asks of its embedder.
pub struct Hooks(pub Arc<Instance>);

type Processed = Box<dyn Future<Output = Result<(), HttpError>> + Send>;
type Answered = (Response<WasiBody>, Processed);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Processed,
    ) -> Box<dyn Future<Output = Result<Answered, HttpError>> + Send> {
        let inst = self.0.clone();
        Box::new(async move {
            let answer = send(&inst, request, options.unwrap_or_default()).await;
            let answered = if answer.is_ok() { Outgoing::Answered } else { Outgoing::Failed };
            host::count_outgoing(&inst, answered);
            Ok((answer?, Box::new(std::future::ready(Ok(()))) as Processed))
        })
    }
}

async fn send(
    inst: &Arc<Instance>,
    mut request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, HttpError> {
    let uri = std::mem::take(request.uri_mut());
    *request.uri_mut() = origin_form(&uri)?;
    let to = Target::of(&uri)?;
    if request.method() == Method::CONNECT {
        return Err(HttpError::HttpRequestMethodInvalid);
    }
    if let Some((_user, host)) = uri.authority().and_then(|a| a.as_str().rsplit_once('@')) {
        // RFC 9110, section 4.2.4: it is never sent.
        let host = HeaderValue::from_str(host).map_err(|_| HttpError::HttpRequestUriInvalid)?;
        request.headers_mut().insert(header::HOST, host);
    }
    if let Some(app) = host::service(inst, to.host) {
        host::count_outgoing(inst, Outgoing::InProcess);
        return call(app, inst.depth() + 1, request, options).await;
    }
    let request = without_content(request).await;
    let (request, sending) = Sending::of(request);
    let connect_timeout = options.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
    let read_timeout = options.first_byte_timeout.unwrap_or(READ_TIMEOUT);
    let between = options.between_bytes_timeout.unwrap_or(READ_TIMEOUT);
    let connect = to.connect(inst, false);
    let (connection, kept) =
        in_time(connect_timeout, HttpError::ConnectionTimeout, connect).await?;
    let exchange = async {
        match connection.exchange(request, kept).await {
            Exchange::Answered(connection, response) => Ok((connection, response)),
            Exchange::Failed(e) => Err(e),
            // The server ended a connection that it had kept: that says nothing about this request.
            Exchange::Unsent(request) => {
                let connect = to.connect(inst, true);
                let (fresh, _) =
                    in_time(connect_timeout, HttpError::ConnectionTimeout, connect).await?;
                match fresh.exchange(request, false).await {
                    Exchange::Answered(connection, response) => Ok((connection, response)),
                    Exchange::Failed(e) => Err(e),
                    Exchange::Unsent(_) => Err(HttpError::ConnectionTerminated),
                }
            }
        }
    };
    let (connection, response) = sending.then_in_time(read_timeout, exchange).await?;
    Ok(response.map(|inner| Answer::new(inner, Some(connection), between).boxed_unsync()))
}

/// What stands in the request's line (RFC 9112, section 3.2.1).
fn origin_form(uri: &Uri) -> Result<Uri, HttpError> {
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let whole = if path.starts_with('?') { format!("/{path}").parse() } else { path.parse() };
    whole.map_err(|_| HttpError::HttpRequestUriInvalid)
}

/// A service of this process answers, within its own limits and the guest's timeouts.
async fn call(
    app: Arc<App>,
    depth: u32,
    request: Request<WasiBody>,
    options: RequestOptions,
) -> Result<Response<WasiBody>, HttpError> {
    let answer = serve::call(app, depth, request);
    let response = match options.first_byte_timeout {
        Some(limit) => in_time(limit, HttpError::HttpResponseTimeout, answer).await?,
        None => answer.await?,
    };
    Ok(match options.between_bytes_timeout {
        Some(limit) => response.map(|inner| Answer::new(inner, None, limit).boxed_unsync()),
        None => response,
    })
}

async fn in_time<T>(
    limit: Duration,
    late: HttpError,
    work: impl Future<Output = Result<T, HttpError>>,
) -> Result<T, HttpError> {
    timeout(limit, work).await.unwrap_or(Err(late))
}

/// Where a request goes.
struct Target<'a> {
    /// Without the brackets of an IPv6 address.
    host: &'a str,
    port: u16,
    /// The name that the server must prove.
    tls: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(uri: &'a Uri) -> Result<Target<'a>, HttpError> {
        let authority = uri.authority().ok_or(HttpError::HttpRequestUriInvalid)?;
        let host = authority.host().trim_matches(['[', ']']);
        let proved = host.strip_suffix('.').unwrap_or(host);
        let tls = (uri.scheme() == Some(&Scheme::HTTPS)).then_some(proved);
        let port = match authority.port_u16() {
            Some(0) => return Err(HttpError::HttpRequestUriInvalid),
            Some(port) => port,
            None if tls.is_some() => 443,
            None => 80,
        };
        Ok(Target { host, port, tls })
    }

    async fn addresses(&self, inst: &Arc<Instance>) -> Result<Vec<IpAddr>, HttpError> {
        if let Ok(ip) = self.host.parse() {
            return Ok(vec![ip]);
        }
        let found = names::resolve(inst.clone(), self.host.to_string()).await.map_err(dns_error)?;
        Ok(found.into_iter().map(|(ip, _)| ip).collect())
    }

    /// A connection to the first address that gives one, and whether it was kept; `fresh`: a new one.
    async fn connect(
        &self,
        inst: &Arc<Instance>,
        fresh: bool,
    ) -> Result<(Connection, bool), HttpError> {
        let mut failed = HttpError::DestinationNotFound;
        for ip in self.addresses(inst).await? {
            let to = match permitted(inst, SocketAddr::new(ip, self.port)).await {
                Ok(to) => to,
                Err(e) => {
                    failed = e;
                    continue;
                }
            };
            while !fresh && let Some(mut kept) = take(to, self.tls) {
                if kept.sender.ready().await.is_ok() {
                    host::count_outgoing(inst, Outgoing::Kept);
                    return Ok((kept, true));
                }
            }
            match Connection::open(to, self.tls).await {
                Ok(connection) => {
                    host::count_outgoing(inst, Outgoing::Connected);
                    return Ok((connection, false));
                }
                Err(e) => failed = e,
            }
        }
        Err(failed)
    }
}

fn dns_error(e: HostError) -> HttpError {
    let rcode = (e.code == NOT_FOUND).then(|| "NXDOMAIN".to_string());
    HttpError::DnsError { rcode, info_code: None }
}

/// C's word on an address: it logs a refusal, with the rule that would allow it.
async fn permitted(inst: &Arc<Instance>, to: SocketAddr) -> Result<SocketAddr, HttpError> {
    match sockets::route(inst.clone(), to).await {
        Ok(Route::Real(real)) => Ok(real),
        Ok(Route::Database(handle)) => {
            let _ = host::db_close(inst, handle);
            Err(HttpError::HttpRequestDenied)
        }
        Err(_) => Err(HttpError::HttpRequestDenied),
    }
}
