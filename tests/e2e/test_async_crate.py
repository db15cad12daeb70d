# SPDX-License-Identifier: Apache-2.0
"""US-502, US-503, US-505, US-506: services that are written with crates/warpgrid-async, on `warp serve`
with real servers. The guests are projects/rust-async."""
import json
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager

import pytest
from dns_server import DnsServer
from harness import SLOW, Background, ask, guest_cargo_env, pack_env, read_responses, rust_guest
from infra import ROOT
from test_async import Watch
from test_postgres import config

CRATE = ROOT / "crates" / "warpgrid-async"
CHUNKS = [bytes([65 + n % 26]).lower() * 1024 for n in range(1024)]


@pytest.fixture
def serve(warp, postgres):
    """serve(NAME, KEYS...): an example behind `warp serve`, with PostgreSQL; keys of its table."""

    @contextmanager
    def start(name="async_service", tables=None, env=None, **more):
        tables = {**config(postgres, **more), **(tables or {})}
        env = {"TEST_DB_PASSWORD": postgres.password, **(env or {})}
        with warp.serve(rust_guest("rust-async", name), tables, env=env) as server:
            yield server

    return start


@pytest.fixture
def service(serve):
    with serve() as server:
        yield server


@pytest.fixture
def traced(serve):
    """The same, with Wasmtime's account of what it did: a failure shows the end of it."""
    with serve(env={"WARPGRID_TRACE": "wasmtime::runtime::component=trace"}) as server:
        yield server


def text(server, path, body="", **headers):
    r = server.request("POST", path, body, headers)
    assert r.status == 200, r
    return r.text


# ---- messages -------------------------------------------------------------------------------------


def test_us_502_wasmtime_is_traced_where_it_is_asked_for(traced, serve, warp):
    assert traced.get("/count").status == 200
    traced.log.wait_for(r"^ms=[0-9.]+ level=TRACE event=trace target=wasmtime::runtime::component::\S+ text=\"")
    with serve() as server:
        assert server.get("/count").status == 200
        assert "event=trace" not in server.log.text
    # The longest target counts.
    with serve(env={"WARPGRID_TRACE": "trace, wasmtime::runtime::component=off"}) as server:
        assert server.get("/count").status == 200
        targets = set(re.findall(r"event=trace target=(\S+)", server.log.text))
        assert targets and not [t for t in targets if t.startswith("wasmtime::runtime::component")]
    out = warp("validate", rust_guest("rust-async", "async_service"), env={"WARPGRID_TRACE": "a=loud"})
    assert out.returncode == 1 and "WARPGRID_TRACE: 'loud' is no level" in out.stderr


def test_us_502_a_body_of_many_chunks_comes_back(traced):
    r = traced.request("POST", "/echo", iter(CHUNKS[:100]))
    assert (r.status, r.headers["x-async"], r.body) == (200, "true", b"".join(CHUNKS[:100]))


def test_us_502_the_answer_begins_while_the_request_goes_on(traced):
    with traced.raw() as s, s.makefile("rb") as stream:
        s.sendall(b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        for n in range(3):
            s.sendall(b"5\r\nhell%d\r\n" % n)
            while n == 0 and stream.readline() != b"\r\n":
                pass
            assert stream.readline() == b"5\r\n" and stream.readline() == b"hell%d\r\n" % n
        s.sendall(b"0\r\n\r\n")
        assert stream.readline() == b"0\r\n"


def test_us_502_ten_requests_at_once_are_answered_within_five_seconds(traced):
    text(traced, "/count")
    since = time.monotonic()
    calls = [traced.background("POST", "/echo", iter([b"%d" % n] * 50)) for n in range(10)]
    assert [c.result(5).body for c in calls] == [b"%d" % n * 50 for n in range(10)]
    assert time.monotonic() - since < 5


def test_us_505_one_megabyte_is_sent_back_in_upper_case(service):
    r = service.request("POST", "/upper", iter(CHUNKS))
    assert r.body == b"".join(CHUNKS).upper()


def test_us_505_ten_megabytes_of_one_kilobyte_come_in_order(service):
    body = service.get("/stream").body
    assert body == b"".join(n.to_bytes(4, "big") * 256 for n in range(10240))


def test_us_503_headers_status_and_bytes_that_are_no_utf_8(service):
    with service.raw() as s:
        s.sendall(b"GET /headers HTTP/1.1\r\nhost: x\r\nx-two: 1\r\nx-two: 2\r\nx-latin: \xe9\xff\r\n\r\n")
        r = read_responses(s, 1)[0]
    assert r.status == 418
    assert r.headers.get_all("x-two") == ["1", "2"]
    assert r.headers["x-latin"].encode("latin-1", "surrogateescape") == b"\xe9\xff"


def test_us_503_trailers_both_ways(service):
    with service.raw() as s, s.makefile("rb") as stream:
        s.sendall(
            b"POST /trailers HTTP/1.1\r\nhost: x\r\nte: trailers\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n"
            b"\r\n5\r\nhello\r\n0\r\nx-sum: abc\r\n\r\n"
        )
        while (line := stream.readline()) not in (b"0\r\n", b""):
            pass
        found = {stream.readline(), stream.readline()}
    assert line == b"0\r\n" and found == {b"x-sum: abc\r\n", b"x-size: 5\r\n"}


def test_us_503_trailers_of_http_2(service):
    """curl sends none."""
    out = subprocess.run(
        ["curl", "-sSi", "--http2-prior-knowledge", "--max-time", "20", "-d", "hello", service.urls[0] + "/trailers"],
        capture_output=True, text=True,
    )  # fmt: skip
    head, rest = out.stdout.split("\n\n" if "\r\n\r\n" not in out.stdout else "\r\n\r\n", 1)
    assert head.startswith("HTTP/2 200"), out
    assert rest.startswith("trailers follow\n") and "x-size: 5" in rest


def test_us_503_headers_of_a_connection_are_the_hosts(service):
    r = service.get("/hops")
    assert (r.status, r.text) == (200, "passed on\n")
    assert not [name for name, value in r.headers.items() if value == "x-hop"]


def test_us_503_json(service):
    r = service.request("POST", "/json", '{"a": [1, "\\u00e9"]}')
    assert (r.json, r.headers["content-type"]) == ({"got": {"a": [1, "é"]}}, "application/json")
    r = service.request("POST", "/json", "{")
    assert r.status == 400 and r.text.startswith("Json: the body is not as expected: ")


def test_a_body_that_fails_is_seen_as_broken(service):
    with service.raw() as s, s.makefile("rb") as stream:
        s.sendall(b"GET /broken HTTP/1.1\r\nhost: x\r\n\r\n")
        everything = stream.read()
    assert b"begun" in everything and not everything.endswith(b"0\r\n\r\n")


def test_a_client_that_goes_away_does_no_harm(service):
    for path in ("/stream", "/echo"):
        with service.raw() as s:
            s.sendall(b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 9000\r\n\r\nabc" % path.encode())
            s.recv(100)
    assert text(service, "/sleep") == "Ok(()) Err(Elapsed)"


# ---- databases ------------------------------------------------------------------------------------


def test_us_506_three_sequential_queries_in_one_request(service):
    sql = "SELECT 1, 'one'\nSELECT i FROM generate_series(2, 3) i\nSELECT 4, NULL"
    assert text(service, "/sql", sql) == "1|one\n2\n3\n4|NULL"


def test_us_506_typed_queries_and_large_answers(service):
    assert text(service, "/typed") == "42"
    assert text(service, "/sql", "SELECT repeat('x', 3000000)") == "x" * 3000000
    assert text(service, "/sql", f"SELECT length('{'y' * 1000000}')") == "1000000"


def test_us_506_twenty_requests_on_a_pool_of_five(serve, postgres):
    with serve(pool_size=5, connect_timeout="20s") as server:
        with Watch(postgres) as watch:
            sql = "SELECT pg_sleep(0.2), pg_backend_pid()"
            calls = [Background(lambda: text(server, "/sql", sql)) for _ in range(20)]
            pids = {c.result().split("|")[1] for c in calls}
    assert len(pids) <= 5 and 1 <= watch.most <= 5 and 0.8 <= watch.took < 10


def test_us_506_twenty_checkouts_of_one_request_on_a_pool_of_five(serve, postgres):
    with serve(pool_size=5, connect_timeout="20s") as server:
        with Watch(postgres) as watch:
            sql = "SELECT pg_sleep(0.2), pg_backend_pid()"
            lines = text(server, "/many", sql, **{"x-count": "20"}).split("\n")
    assert len(lines) == 20 and len({line.split("|")[1] for line in lines}) <= 5
    assert 1 <= watch.most <= 5 and 0.8 <= watch.took < 10


def test_us_506_fifty_waits_on_one_worker_overlap(serve):
    """50 statements of 50 ms each are 2.5 s one after the other."""
    with serve(pool_size=50) as server:
        took = []
        for _ in range(3):
            since = time.monotonic()
            lines = text(server, "/many", "SELECT pg_sleep(0.05)", **{"x-count": "50"}).split("\n")
            took.append(time.monotonic() - since)
            assert len(lines) == 50
        assert 0.05 <= min(took) < 2.5 / 5


def test_us_506_fifty_requests_at_once_overlap(serve):
    with serve(pool_size=50) as server:
        took = []
        for _ in range(3):
            connections = [server.connection() for _ in range(50)]
            for c in connections:
                c.connect()
            since = time.monotonic()
            calls = [
                Background(lambda c=c: ask(c, "POST", "/sql", "SELECT pg_sleep(0.05)")) for c in connections
            ]
            assert {c.result().status for c in calls} == {200}
            took.append(time.monotonic() - since)
            for c in connections:
                c.close()
        assert min(took) < 2.5 / 4


def test_a_connection_outlives_the_request_that_made_it(serve):
    # Nothing ends this connection but the host: its request counts as in progress until then.
    with serve(limits={"drain_timeout": "300ms"}) as server:
        check_shared(server)


def check_shared(service):
    first = text(service, "/shared", "SELECT pg_backend_pid()")
    time.sleep(0.3)
    for _ in range(5):
        assert text(service, "/shared", "SELECT pg_backend_pid()") == first
    # Two requests whose answers another request's task reads.
    calls = [Background(lambda: text(service, "/shared", "SELECT pg_sleep(0.1)")) for _ in range(4)]
    assert [c.result() for c in calls] == [""] * 4


def test_a_connection_whose_client_is_gone_is_given_back(serve, postgres):
    with serve(pool_size=1, connect_timeout="5s") as server:
        pids = {text(server, "/sql", "SELECT pg_backend_pid()") for _ in range(20)}
    assert len(pids) == 1


def test_a_lease_by_name_and_what_is_not_declared(service):
    assert text(service, "/config") == "leased"
    assert re.match(r"NotAllowed: .*nobody\.test\.warp\.local", text(service, "/undeclared"))


def test_an_error_of_the_server_and_a_lost_connection_reach_the_driver(service, postgres):
    r = service.request("POST", "/sql", "SELECT 1/0")
    assert r.status == 500 and "division by zero" in r.text
    r = service.request("POST", "/sql", "SELECT pg_terminate_backend(pg_backend_pid())")
    assert r.status == 500 and ("57P01" in r.text or "closed" in r.text or "terminat" in r.text)
    assert text(service, "/sql", "SELECT 1") == "1"
    assert postgres.password not in service.log.text


def test_us_506_redis(serve, redis):
    cache = {
        "protocol": "redis", "host": "cache.test.warp.local", "address": redis.host,
        "address_port": redis.port, "password_env": "TEST_REDIS_PASSWORD",
    }  # fmt: skip
    with serve(env={"TEST_REDIS_PASSWORD": redis.password}, tables={"databases": {"cache": cache}}) as server:
        calls = [Background(lambda: text(server, "/redis")) for _ in range(3)]
        for c in calls:
            c.result()
        assert text(server, "/redis") == "8 1"
    assert "rust-async" not in redis.keys("*")


def test_us_506_mysql(serve, mysql):
    sql = {
        "protocol": "mysql", "host": "sql.test.warp.local", "address": mysql.host, "address_port": mysql.port,
        "database": "shop", "user": mysql.user, "password_env": "TEST_MYSQL_PASSWORD",
    }  # fmt: skip
    with serve(env={"TEST_MYSQL_PASSWORD": mysql.password}, tables={"databases": {"sql": sql}}) as server:
        assert text(server, "/mysql", "SELECT 6 * 7") == "42"
        assert text(server, "/mysql", "SELECT USER()").startswith(mysql.user + "@")
        r = server.request("POST", "/mysql", "SELECT nonsense")
        assert r.status == 500 and "Unknown column" in r.text


# ---- the other shims ------------------------------------------------------------------------------


def test_names(serve):
    with serve(tables={"registry": {"orders.warp.local": ["10.1.2.3", "2001:db8::7"]}}) as server:
        assert set(text(server, "/dns", "orders.warp.local").split()) == {"10.1.2.3", "2001:db8::7"}
        assert text(server, "/dns", "a b") == "InvalidName: 'a b' is no host name"
        assert text(server, "/dns", "nobody.warp.local").startswith("NotFound: no such name")


def test_us_106_names_of_addresses_and_records(serve):
    zone = {
        ("80.113.0.203.in-addr.arpa", "PTR"): ["www.example.org"],
        ("alias.example.org", "CNAME"): ["www.example.org"],
        ("www.example.org", "A"): ["203.0.113.80"],
        ("www.example.org", "AAAA"): ["2001:db8::80"],
        ("example.org", "TXT"): ["v=spf1 -all"],
        ("_http._tcp.example.org", "SRV"): ["1 2 8080 www.example.org"],
    }
    with DnsServer(zone) as names:
        tables = {"registry": {"orders.warp.local": ["10.1.2.3"]}, "shims": {"dns": {"servers": [names.address]}}}
        with serve(tables=tables) as server:
            assert text(server, "/reverse", "10.1.2.3") == 'Some("orders.warp.local")'
            assert text(server, "/reverse", "203.0.113.80").startswith('Some("www.example.org')
            assert text(server, "/reverse", "203.0.113.81") == "None"
            for question, answer in {
                "orders.warp.local A": "10.1.2.3",
                "www.example.org A": "203.0.113.80",
                "www.example.org AAAA": "2001:db8::80",
                "alias.example.org CNAME": "www.example.org",
                "80.113.0.203.in-addr.arpa PTR": "www.example.org",
                "example.org TXT": "v=spf1 -all",
                "_http._tcp.example.org SRV": "1 2 8080 www.example.org",
            }.items():
                data, ttl = text(server, "/records", question).rsplit(" ", 1)
                assert data.rstrip(".").strip('"') == answer and int(ttl) > 0, question
            assert text(server, "/records", "nobody.warp.local A").startswith("NotFound: no such name")


def test_files(serve):
    with serve(tables={"registry": {"orders.warp.local": ["10.1.2.3"]}}) as server:
        hosts = text(server, "/fs", "/etc/hosts")
        assert "10.1.2.3" in hosts and "orders.warp.local" in hosts
        assert text(server, "/fs-stream", "/etc/hosts") == hosts
        assert text(server, "/fs", "/nowhere") == "not virtual"
        assert text(server, "/fs", "relative").startswith("InvalidArgument: 'relative' ")


def test_signals(serve):
    with serve() as server:
        call = server.background("GET", "/signal")
        server.log.wait_for("listening for signals")
        server.process.send_signal(signal.SIGTERM)
        assert call.result(10).text == "Some(Terminate)"
        assert server.wait() == 0


def test_a_reload_is_told(serve):
    with serve() as server:
        call = server.background("GET", "/signal")
        server.log.wait_for("listening for signals")
        server.process.send_signal(signal.SIGHUP)
        assert call.result(10).text == "Some(Hangup)"
        assert server.get("/count").status == 200


def test_time_and_tasks(service):
    assert text(service, "/sleep") == "Ok(()) Err(Elapsed)"
    assert text(service, "/spawn") == "Some(42) None"


# ---- axum -----------------------------------------------------------------------------------------


def test_an_axum_router_is_a_handler(serve, postgres):
    with serve("async_axum") as server:
        assert server.get("/users/3").text == postgres.scalar("SELECT name FROM test_users WHERE id = 3")
        assert server.request("POST", "/upper", iter(CHUNKS)).body == b"".join(CHUNKS).upper()
        r = server.request("POST", "/json", '{"a": 1}', {"content-type": "application/json"})
        assert r.json == {"a": 1}
        assert server.get("/nowhere").status == 404
        assert server.get("/count").status == 200


# ---- what a user needs ----------------------------------------------------------------------------

HANDLER = """
use warpgrid_async::{AsyncHandler, Request, Response, export};
struct App;
impl AsyncHandler for App {
    async fn handle_request(&self, request: Request) -> Response {
        Response::text(request.uri().to_string())
    }
}
export!(App);
"""
NO_HANDLER = "struct App;\nwarpgrid_async::export!(App);\n"


def cargo(folder, *words, **more):
    """cargo of the toolchain of guests; finished, with text output."""
    env = {**guest_cargo_env(), **more}
    return subprocess.run(["cargo", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=600 * SLOW)


@pytest.fixture
def project(tmp_path):
    """project(SOURCE): a user's crate that depends on warpgrid-async and on nothing else."""

    def make(source):
        (tmp_path / "src").mkdir()
        (tmp_path / "src" / "lib.rs").write_text(source)
        (tmp_path / "Cargo.toml").write_text(
            '[package]\nname = "user"\nversion = "0.1.0"\nedition = "2024"\n[lib]\ncrate-type = ["cdylib"]\n'
            f'[dependencies]\nwarpgrid-async = {{ path = "{CRATE}" }}\n[workspace]\n'
        )
        shutil.copy(CRATE / "Cargo.lock", tmp_path)
        return cargo(tmp_path, "build", "--release", "--offline", "--target", "wasm32-wasip2")

    return make


def test_us_503_a_service_needs_this_crate_alone(project):
    out = project(HANDLER)
    assert out.returncode == 0, out.stderr


def test_us_503_what_is_no_handler_gets_a_clear_error(project):
    out = project(NO_HANDLER)
    assert out.returncode != 0
    assert "`App` does not implement `AsyncHandler`" in out.stderr
    assert "async fn handle_request(&self, request: Request) -> Response" in out.stderr


def test_us_503_no_type_of_the_bindings_is_in_the_public_interface():
    more = {"RUSTC_BOOTSTRAP": "1"}
    out = cargo(
        CRATE, "rustdoc", "--locked", "--lib", "--all-features", "--target", "wasm32-wasip2", "--",
        "-Z", "unstable-options", "--output-format", "json", **more,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    target = pack_env()["CARGO_TARGET_DIR"]
    with open(f"{target}/wasm32-wasip2/doc/warpgrid_async.json") as f:
        doc = json.load(f)
    crates = {int(n): c["name"] for n, c in doc["external_crates"].items()}
    used = set()

    def walk(value):
        """Every type and trait that a signature, field or bound of ours names."""
        if isinstance(value, dict):
            if "path" in value and isinstance(value.get("id"), int):
                used.add(value["id"])
            for v in value.values():
                walk(v)
        elif isinstance(value, list):
            for v in value:
                walk(v)

    public = [i for i in doc["index"].values() if i["crate_id"] == 0]
    assert len(public) > 100
    for item in public:
        inner = item["inner"]
        if set(inner) == {"impl"} and (inner["impl"].get("blanket_impl") or inner["impl"].get("is_synthetic")):
            continue
        if set(inner) <= {"module", "use"}:
            continue
        walk(inner)
    named = {crates[doc["paths"][str(i)]["crate_id"]] for i in used if str(i) in doc["paths"] and doc["paths"][str(i)]["crate_id"]}
    assert {"http", "bytes"} <= named
    assert not {"wasip3", "wit_bindgen"} & named, named


def test_us_503_the_examples_run(warp, postgres):
    names = ("hello", "streaming", "postgres")
    out = cargo(CRATE, "build", "--release", "--locked", "--target", "wasm32-wasip2", "--examples")
    assert out.returncode == 0, out.stderr
    folder = f"{pack_env()['CARGO_TARGET_DIR']}/wasm32-wasip2/release/examples"
    env = {"TEST_DB_PASSWORD": postgres.password}
    answers = []
    for name in names:
        with warp.serve(f"{folder}/{name}.wasm", config(postgres), env=env) as server:
            answers.append(server.request("POST", "/path", "body").text)
    assert answers[:2] == ["hello from /path\n", "BODY"]
    assert answers[2].splitlines() == [row[0] for row in postgres.sql("SELECT name FROM test_users ORDER BY id")]
