// SPDX-License-Identifier: Apache-2.0
//! A route for each part of the crate. Statements and names come as bodies.
use futures_util::{StreamExt, stream};
use rust_async::{Result, mysql, postgres, query, redis};
use std::cell::{Cell, OnceCell};
use std::time::Duration;
use tokio_postgres::Client;
use warpgrid_async::bytes::Bytes;
use warpgrid_async::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use warpgrid_async::signals::Signal;
use warpgrid_async::{
    AsyncHandler, Body, Request, Response, db, dns, export, fs, signals, spawn, time,
};

#[derive(Default)]
struct Service {
    /// One for all requests: its connection outlives the one that made it.
    shared: OnceCell<Client>,
    requests: Cell<u64>,
}

/// Bodies as they come: an error ends the response as broken.
fn map(request: &Request, f: fn(Bytes) -> Bytes) -> Body {
    Body::from_stream(request.body_stream().map(move |chunk| chunk.map(f)))
}

fn with_mark(body: Body) -> Response {
    Response::new(StatusCode::OK, body)
        .with_header(HeaderName::from_static("x-async"), HeaderValue::from_static("true"))
}

impl Service {
    async fn answer(&self, request: &Request) -> Result<Response> {
        let text = match (request.method(), request.uri().path()) {
            (_, "/echo") => return Ok(with_mark(map(request, |chunk| chunk))),
            (_, "/upper") => {
                return Ok(with_mark(map(request, |chunk| chunk.to_ascii_uppercase().into())));
            }
            (_, "/headers") => {
                let mut response = Response::new(StatusCode::IM_A_TEAPOT, Body::empty());
                for (name, value) in request.headers() {
                    if name.as_str().starts_with("x-") {
                        response.headers_mut().append(name, value.clone());
                    }
                }
                return Ok(response);
            }
            (_, "/trailers") => {
                let mut body = request.body_stream();
                let mut size = 0;
                while let Some(chunk) = body.next().await {
                    size += chunk?.len();
                }
                let mut trailers = body.trailers().cloned().unwrap_or_default();
                trailers.insert("x-size", size.into());
                return Ok(Response::text("trailers follow\n").with_trailers(trailers));
            }
            (_, "/stream") => {
                let chunks = (0..10_240u32).map(|n| n.to_be_bytes().repeat(256).into());
                let chunks = stream::iter(chunks);
                return Ok(Response::streaming(StatusCode::OK, HeaderMap::new(), chunks));
            }
            (_, "/broken") => {
                let begun = stream::once(async { Ok(Bytes::from_static(b"begun")) });
                let broken = stream::once(async {
                    time::sleep(Duration::from_millis(100)).await;
                    Err("broken on purpose")
                });
                let body = Body::from_stream(begun.chain(broken));
                return Ok(Response::new(StatusCode::OK, body));
            }
            (&Method::POST, "/json") => {
                let value: serde_json::Value = match request.json().await {
                    Ok(value) => value,
                    Err(e) => {
                        let text = format!("{:?}: {e}", e.kind());
                        return Ok(Response::text(text).with_status(StatusCode::BAD_REQUEST));
                    }
                };
                return Ok(Response::json(&serde_json::json!({ "got": value })));
            }
            (_, "/count") => format!("{}", self.requests.get()),
            // Each line is a statement, all over one connection.
            (_, "/sql") => {
                let client = postgres().await?;
                let mut answers = Vec::new();
                for sql in request.text().await?.lines() {
                    answers.push(query(&client, sql).await?);
                }
                answers.join("\n")
            }
            (_, "/typed") => {
                let client = postgres().await?;
                let row = client.query_one("SELECT $1::int8 + 1", &[&41i64]).await?;
                row.get::<_, i64>(0).to_string()
            }
            (_, "/shared") => {
                if self.shared.get().is_none() {
                    let client = postgres().await?;
                    let _ = self.shared.set(client);
                }
                let client = self.shared.get().expect("set above");
                query(client, &request.text().await?).await?
            }
            // So many at once, of one request.
            (_, "/many") => {
                let count = request.header("x-count").unwrap_or("1").parse()?;
                let sql = request.text().await?;
                let one = async || query(&postgres().await?, &sql).await;
                let all = futures_util::future::join_all((0..count).map(|_| one())).await;
                all.into_iter().collect::<Result<Vec<_>>>()?.join("\n")
            }
            (_, "/config") => {
                let stream = db::Config {
                    protocol: db::Protocol::Postgres,
                    host: "db.test.warp.local".into(),
                    port: 5432,
                    database: "warpgrid".into(),
                    user: "anybody".into(),
                    password: None,
                };
                let stream = stream.connect().await?;
                let mut config = tokio_postgres::Config::new();
                config.user("anybody").dbname("warpgrid");
                let (client, connection) =
                    config.connect_raw(stream, tokio_postgres::NoTls).await?;
                spawn(connection);
                query(&client, "SELECT 'leased'").await?
            }
            (_, "/undeclared") => match db::connect("nobody.test.warp.local", 5432).await {
                Ok(_) => "reached".into(),
                Err(e) => format!("{:?}: {e}", e.kind()),
            },
            (_, "/redis") => {
                let mut connection = redis().await?;
                let key = "rust-async";
                ::redis::cmd("SET").arg(key).arg("7").exec_async(&mut connection).await?;
                let (n, gone): (i64, i64) = ::redis::pipe()
                    .cmd("INCR")
                    .arg(key)
                    .cmd("DEL")
                    .arg(key)
                    .query_async(&mut connection)
                    .await?;
                format!("{n} {gone}")
            }
            (_, "/mysql") => {
                let mut stream = db::connect("sql.test.warp.local", 3306).await?;
                mysql::scalar(&mut stream, "shop", &request.text().await?).await?
            }
            (_, "/reverse") => match dns::reverse(request.text().await?.parse()?).await {
                Ok(name) => format!("{name:?}"),
                Err(e) => format!("{:?}: {e}", e.kind()),
            },
            (_, "/records") => {
                use dns::RecordType as Type;
                let text = request.text().await?;
                let (name, kind) = text.split_once(' ').ok_or("NAME TYPE")?;
                let kind = match kind {
                    "A" => Type::A,
                    "AAAA" => Type::Aaaa,
                    "CNAME" => Type::Cname,
                    "PTR" => Type::Ptr,
                    "SRV" => Type::Srv,
                    _ => Type::Txt,
                };
                match dns::records(name, kind).await {
                    Ok(found) => {
                        let line = |r: dns::Record| format!("{} {}", r.data, r.ttl.as_secs());
                        found.into_iter().map(line).collect::<Vec<_>>().join("\n")
                    }
                    Err(e) => format!("{:?}: {e}", e.kind()),
                }
            }
            // Headers of the connection, as a service that passes another's answer on has them.
            (_, "/hops") => {
                let mut response = Response::text("passed on\n");
                for name in
                    ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]
                {
                    let value = HeaderValue::from_static("x-hop");
                    response.headers_mut().append(HeaderName::from_static(name), value);
                }
                return Ok(response);
            }
            (_, "/dns") => {
                let name = request.text().await?;
                match dns::resolve(&name).await {
                    Ok(found) => {
                        found.iter().map(|a| a.ip.to_string()).collect::<Vec<_>>().join(" ")
                    }
                    Err(e) => format!("{:?}: {e}", e.kind()),
                }
            }
            (_, "/fs") => match fs::read(&request.text().await?).await {
                Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into(),
                Ok(None) => "not virtual".into(),
                Err(e) => format!("{:?}: {e}", e.kind()),
            },
            (_, "/fs-stream") => {
                let Some(file) = fs::open(&request.text().await?)? else {
                    return Ok(Response::text("not virtual"));
                };
                return Ok(Response::streaming(StatusCode::OK, HeaderMap::new(), file));
            }
            (_, "/signal") => {
                let mut stream = signals::stream(&[Signal::Terminate, Signal::Hangup]);
                eprintln!("listening for signals");
                format!("{:?}", stream.next().await)
            }
            (_, "/sleep") => {
                let fast = time::timeout(Duration::from_secs(10), time::sleep(Duration::ZERO));
                let slow = time::timeout(Duration::from_millis(50), std::future::pending::<()>());
                format!("{:?} {:?}", fast.await, slow.await)
            }
            (_, "/spawn") => {
                let add = spawn(async {
                    time::sleep(Duration::from_millis(10)).await;
                    40 + 2
                });
                let mut endless = spawn(std::future::pending::<()>());
                endless.cancel();
                format!("{:?} {:?}", add.await, endless.await)
            }
            _ => return Ok(Response::text("no such page\n").with_status(StatusCode::NOT_FOUND)),
        };
        Ok(Response::text(text))
    }
}

impl AsyncHandler for Service {
    async fn handle_request(&self, request: Request) -> Response {
        self.requests.set(self.requests.get() + 1);
        self.answer(&request).await.unwrap_or_else(|e| {
            let mut text = e.to_string();
            let mut cause = e.source();
            while let Some(e) = cause {
                text += &format!(": {e}");
                cause = e.source();
            }
            Response::text(text).with_status(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }
}

export!(Service::default());
