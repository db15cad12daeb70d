// SPDX-License-Identifier: Apache-2.0
//! The crate `redis` over sockets, for US-117. A session has a NAME; it goes to the URL in REDIS_URL.
//!
//! ```text
//! connect NAME             ok
//! ask NAME WORD...         ok REPLY: of one command
//! pipeline NAME COUNT      ok SUM: of the answers to that many INCR, sent at once
//! transaction NAME KEY     ok VALUE: MULTI, SET, INCR, EXEC
//! hear NAME CHANNEL        ok MESSAGE: the first one that comes
//! close NAME               ok
//! ```
use redis::{Client, Connection, Value};
use rust_redis::steps::{Step, escape, ok};
use std::collections::HashMap;

fn text(v: &Value) -> String {
    match v {
        Value::Nil => "nil".into(),
        Value::Okay => "OK".into(),
        Value::Int(n) => n.to_string(),
        Value::BulkString(b) => String::from_utf8_lossy(b).into_owned(),
        Value::SimpleString(s) => s.clone(),
        Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join("|"),
        other => format!("{other:?}"),
    }
}

fn run(
    step: &Step,
    sessions: &mut HashMap<String, Connection>,
) -> Result<String, redis::RedisError> {
    let name = step.text(1).to_string();
    if step.verb() == "connect" {
        let url = std::env::var("REDIS_URL").expect("REDIS_URL is set");
        sessions.insert(name, Client::open(url)?.get_connection()?);
        return Ok(String::new());
    }
    let c = sessions.get_mut(&name).expect("the session is open");
    Ok(match step.verb() {
        "ask" => {
            let mut command = redis::cmd(step.text(2));
            for word in (3..).map(|i| step.bytes(i)).take_while(|word| !word.is_empty()) {
                command.arg(word);
            }
            text(&command.query::<Value>(c)?)
        }
        "pipeline" => {
            let mut pipe = redis::pipe();
            for _ in 0..step.number(2, 1) {
                pipe.cmd("INCR").arg("e2e_pipeline");
            }
            pipe.query::<Vec<i64>>(c)?.iter().sum::<i64>().to_string()
        }
        "transaction" => {
            let mut pipe = redis::pipe();
            pipe.atomic()
                .cmd("SET")
                .arg(step.bytes(2))
                .arg(41)
                .ignore()
                .cmd("INCR")
                .arg(step.bytes(2));
            pipe.query::<Vec<i64>>(c)?[0].to_string()
        }
        "hear" => {
            let mut all = c.as_pubsub();
            all.subscribe(step.text(2))?;
            println!("listening");
            all.get_message()?.get_payload::<String>()?
        }
        "close" => {
            sessions.remove(&name);
            String::new()
        }
        verb => panic!("no such verb: {verb}"),
    })
}

fn main() {
    let mut sessions = HashMap::new();
    for argument in std::env::args().skip(1) {
        match run(&Step::parse(&argument), &mut sessions) {
            Ok(found) if found.is_empty() => println!("ok"),
            Ok(found) => println!("{}", ok([escape(found)])),
            Err(e) => println!("error {}", escape(e.to_string())),
        }
    }
}
