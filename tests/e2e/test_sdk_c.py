# SPDX-License-Identifier: Apache-2.0
"""The C SDK's guests under warp: the shims as its bindings call them, every way to lift a WASI 0.3
handler, and the database proxy used well and badly (tests/fixtures/db/dbtool.c)."""
import re
import time

import pytest
from harness import toml

HOST = "db.test.warp.local"
BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])


# -- Lifts of a WASI 0.3 handler --


@pytest.mark.parametrize("name", ["hello-p3", "hello-p3-stackful"])
def test_both_lifts_serve(warp, guest, name):
    with warp.serve(guest(name)) as server:
        for _ in range(300):  # more than one instance serves in its life
            r = server.get("/")
            assert r.status == 200 and r.body == b"hello from C\n"


def test_a_stackful_handler_that_waits_lets_others_run(warp, guest):
    with warp.serve(guest("lab-p3")) as server:
        began = time.monotonic()
        waiting = [server.background("GET", "/sleep?ms=800") for _ in range(8)]
        for w in waiting:
            assert w.result().text == "awake\n"
        assert time.monotonic() - began < 3


def test_tasks_keep_their_own_stack(warp, guest):
    """Handlers that wait and build an answer in turns: a shared C stack would mix them up."""
    with warp.serve(guest("lab-p3")) as server:
        bodies = [bytes([65 + i]) * (1000 * i + 1) for i in range(12)]
        waiting = [server.background("GET", f"/sleep?ms={20 * i}") for i in range(12)]
        echoed = [server.background("POST", f"/echo?{i}", body=b) for i, b in enumerate(bodies)]
        for b, e in zip(bodies, echoed):
            assert e.result().body == b
        for w in waiting:
            assert w.result().status == 200


def test_a_callback_handler_may_wait_too(warp, guest):
    with warp.serve(guest("lab-p3-callback")) as server:
        assert server.get("/sleep?ms=100").text == "awake\n"
        body = b"x" * 300_000
        assert server.request("POST", "/echo", body=body).body == body


# -- Shims, as bindings call them --


@pytest.fixture
def run(warp, guest, tmp_path):
    def call(name, *args, config="", **more):
        (tmp_path / "warp.toml").write_text(config)
        return warp("run", guest(name), "--", *args, cwd=tmp_path, **more)

    return call


def test_us_120_threading_is_declared_once(run):
    out = run("uses-threading")
    assert out.returncode == 0, out.stderr
    assert out.stdout == "threading 1: ok\nthreading 2: already-declared\n"


def test_threading_parallel_is_warned_about(run):
    out = run("uses-threading", "parallel")
    assert out.returncode == 0, out.stderr
    assert "level=warn" in out.stderr and "thread" in out.stderr


@pytest.mark.parametrize("name", ["dns", "filesystem", "signals"])
def test_us_122_real_component_with_a_shim(run, name):
    out = run(f"uses-{name}")
    assert out.returncode == 0, out.stderr


def test_us_122_real_component_with_an_unknown_shim(run):
    out = run("uses-teleport")
    assert out.returncode == 1
    assert "warpgrid:shim/teleport@0.1.0" in out.stderr


def test_us_122_real_component_with_a_disabled_shim(run):
    out = run("uses-database-proxy", config="[shims]\ndatabase_proxy = false\n")
    assert out.returncode == 1
    assert "warpgrid:shim/database-proxy@0.1.0" in out.stderr and "warp.toml:2" in out.stderr


def test_a_handle_that_was_never_given(run):
    out = run("uses-database-proxy")
    assert out.returncode == 0, out.stderr
    assert out.stdout == "database-proxy: error 0\n"  # invalid-handle


# -- The database proxy --


@pytest.fixture
def dbtool(warp, guest, postgres, tmp_path):
    def call(kind, *args, timeout_s=60, **database):
        settings = {
            "protocol": "postgres",
            "host": HOST,
            "address": postgres.host,
            "address_port": postgres.port,
            "database": postgres.database,
            "user": postgres.user,
            "password_env": "TEST_DB_PASSWORD",
            **database,
        }
        (tmp_path / "warp.toml").write_text(toml({"databases": {"test": settings}}))
        out = warp(
            "run",
            guest(f"dbtool-{kind}"),
            "-e",
            f"DB_HOST={HOST}",
            "-e",
            f"DB_NAME={postgres.database}",
            "--",
            *map(str, args),
            cwd=tmp_path,
            env={"TEST_DB_PASSWORD": postgres.password},
            timeout_s=timeout_s,
        )
        assert "panicked" not in out.stderr, out.stderr
        return out

    return call


@BOTH
def test_us_111_the_same_backend_serves_again(dbtool, kind):
    out = dbtool(kind, "pids", 5)
    assert out.returncode == 0, out.stderr
    pids = out.stdout.split()
    assert len(pids) == 5 and len(set(pids)) == 1


@BOTH
def test_us_111_exhausted_pool(dbtool, kind):
    out = dbtool(kind, "hold", 4, 0, pool_size=3, connect_timeout="300ms")
    assert out.returncode == 1
    assert out.stdout.startswith("connections=3\nerror pool-exhausted: ")


@BOTH
def test_us_111_more_connects_at_once_than_the_pool_has(dbtool, kind):
    """One thread that waits for all of them would wait for itself if connect were all it had."""
    out = dbtool(kind, "together", 25, pool_size=3)
    assert out.returncode == 0 and out.stdout == "served=25\n", out.stdout + out.stderr


@BOTH
@pytest.mark.parametrize("size, chunk", [(10_000_000, 4096), (10_000_000, 1 << 20), (5000, 7), (300, 1)])
def test_us_112_large_result_in_odd_chunks(dbtool, kind, size, chunk):
    out = dbtool(kind, "large", size, chunk)
    found = re.fullmatch(r"bytes=(\d+) chunks=(\d+) rows=1 errors=0\n", out.stdout)
    assert found, out.stdout + out.stderr
    assert int(found[1]) > size and int(found[2]) >= size // chunk


@BOTH
def test_us_112_large_parameter(dbtool, postgres, kind):
    size = 8_000_000
    out = dbtool(kind, "send", size)
    digest = postgres.scalar(f"SELECT md5(repeat('y', {size}))")
    assert out.stdout == f"{size}\t{digest}\n", out.stderr


@BOTH
def test_us_112_copy_both_ways(dbtool, kind):
    out = dbtool(kind, "copy", 3000)
    assert out.stdout == "sent=3000 received=3000 errors=0\n", out.stderr


@BOTH
def test_us_112_pipelined_queries(dbtool, kind):
    out = dbtool(kind, "pipeline", 1000)
    assert out.stdout == "answers=1000 rows=1000\n", out.stderr


@BOTH
def test_us_112_streams(dbtool, kind):
    out = dbtool(kind, "streams")
    lines = out.stdout.splitlines()
    assert out.returncode == 0, out.stdout + out.stderr
    assert re.fullmatch(r"bytes=1000\d\d rows=1 errors=0", lines[0])
    assert "close: ok" in lines and "read after close: ended" in lines
    if kind == "p3":
        assert "sent: ok" in lines
    else:
        assert "streams again: invalid-argument" in lines
        assert "send beside streams: invalid-argument" in lines
        assert "recv beside streams: invalid-argument" in lines


@BOTH
def test_us_113_an_open_transaction_is_rolled_back(dbtool, postgres, kind):
    out = dbtool(
        kind, "leave", "INSERT INTO test_users (name, email) SELECT 'x', 'left@x' WHERE pg_backend_pid() > 0"
    )
    assert out.returncode == 0, out.stdout + out.stderr
    postgres.sql("DELETE FROM test_users WHERE email = 'left@x'")
    out = dbtool(kind, "leave", "BEGIN")
    assert out.returncode == 0, out.stdout + out.stderr
    assert postgres.scalar("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") in (0, "0")


@BOTH
def test_garbage_ends_the_connection_and_nothing_else(dbtool, kind):
    out = dbtool(kind, "garbage")
    assert out.returncode == 0, out.stderr
    assert out.stdout.startswith("error connection-lost: ")
    assert dbtool(kind, "query", "SELECT 1").stdout == "1\n"


@BOTH
def test_us_112_startup_parameters(dbtool, kind):
    out = dbtool(kind, "startup", "TimeZone=America/New_York", "search_path=pg_catalog", "DateStyle=German, DMY")
    assert out.returncode == 0, out.stdout + out.stderr
    assert re.match(r"ready parameters=\d+\n", out.stdout)
    assert out.stdout.count(" holds\n") == 3
    out = dbtool(kind, "startup", "nonsense=1")
    assert out.returncode == 1 and "C42704" in out.stdout


@BOTH
def test_wrong_handles_and_arguments(dbtool, kind):
    out = dbtool(kind, "misuse")
    assert out.returncode == 0, out.stderr
    answers = dict(line.rsplit(": ", 1) for line in out.stdout.splitlines())
    assert answers == {
        "send on 0": "invalid-handle",
        "recv on 0": "invalid-handle",
        "close on 0": "invalid-handle",
        "recv on a made-up handle": "invalid-handle",
        "connect to an undeclared host": "not-allowed",
        "connect to an undeclared port": "not-allowed",
        "connect without host": "invalid-argument",
        "connect by redis": "not-allowed",
        "connect": "ok",
        "recv of 0 bytes": "invalid-argument",
        "send of 0 bytes": "ok",
        "close before the start-up": "ok",
        "send after close": "invalid-handle",
        "recv after close": "invalid-handle",
        "close twice": "invalid-handle",
        "connect again": "ok",
        "handle is new": "yes",
        "close": "ok",
    }


@BOTH
def test_server_errors_reach_the_guest(dbtool, kind):
    out = dbtool(kind, "query", "SELEC")
    assert out.returncode == 1 and out.stdout.startswith("error 42601 ")
    out = dbtool(kind, "query", "SELECT 1", password_env="TEST_DB_NOTHING_" + kind)
    assert out.returncode == 1
