# SPDX-License-Identifier: Apache-2.0
"""US-113, US-114: nothing of a guest's session reaches the next guest: each kind of state, on each
way out of the guest, with one server connection, so that the next guest would find it."""
from urllib.parse import urlencode

import pytest
from harness import Background
from infra import wait_until
from test_postgres import BOTH, SqlError, probe  # noqa: F401

PASSWORD = "reset"

# What a guest leaves behind; what the next one asks; what it must get (a SQLSTATE: must be refused).
STATES = {
    "temporary table": (
        "CREATE TEMP TABLE reset_t AS SELECT 1 AS x",
        "SELECT count(*) FROM pg_class WHERE relname = 'reset_t'",
        "0",
    ),
    "SET": (
        "SET statement_timeout = '1h'; SET search_path = pg_catalog; SET TimeZone = 'Asia/Tokyo'",
        "SELECT current_setting('statement_timeout') || current_setting('search_path') || "
        "current_setting('TimeZone')",
        '0"$user", publicEtc/UTC',
    ),
    "a setting of its own": (
        "SELECT set_config('app.tenant', '7', false)",
        "SELECT coalesce(current_setting('app.tenant', true), '')",
        "",
    ),
    "transaction defaults": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only",
        "off",
    ),
    "prepared statement": (
        "PREPARE reset_p AS SELECT 1",
        "SELECT count(*) FROM pg_prepared_statements",
        "0",
    ),
    "advisory lock": (
        "SELECT pg_advisory_lock(4712)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        "0",
    ),
    "LISTEN": ("LISTEN reset_c", "SELECT count(*) FROM pg_listening_channels()", "0"),
    "cursor WITH HOLD": (
        "DECLARE reset_k CURSOR WITH HOLD FOR SELECT 1",
        "SELECT count(*) FROM pg_cursors WHERE name = 'reset_k'",
        "0",
    ),
    "open transaction": (
        "BEGIN; INSERT INTO reset_rows VALUES (1)",
        "SELECT count(*) FROM reset_rows",
        "0",
    ),
    "failed transaction": (
        "BEGIN; INSERT INTO reset_rows VALUES (1); SELECT no_such_column",
        "SELECT count(*) FROM reset_rows",
        "0",
    ),
    "SET ROLE": ("SET ROLE reset_other", "SELECT current_user", "reset_app"),
    "SET SESSION AUTHORIZATION": (
        "SET SESSION AUTHORIZATION reset_other",
        "SELECT session_user",
        "reset_app",
    ),
    "sequence": ("SELECT nextval('reset_s')", "SELECT lastval()", "55000"),
}
WAYS = ["close", "instance end", "trap", "request timeout", "client abort"]


@pytest.fixture(scope="module")
def reset_app(postgres_server):
    """A role that may do all of that, and has no connections but this module's."""
    postgres = postgres_server
    postgres.sql(
        "DROP TABLE IF EXISTS reset_rows; DROP SEQUENCE IF EXISTS reset_s;"
        "DROP ROLE IF EXISTS reset_app; DROP ROLE IF EXISTS reset_other;"
        f"CREATE ROLE reset_app LOGIN SUPERUSER PASSWORD '{PASSWORD}'; CREATE ROLE reset_other;"
        "CREATE TABLE reset_rows (x int); CREATE SEQUENCE reset_s"
    )
    yield "reset_app"
    postgres.terminate_backends("reset_app")


def leave(p, way, sql):
    """A guest that runs `sql` and goes."""
    query = urlencode({"q": sql})
    if way in ("close", "instance end"):
        try:
            p.sql(sql, keep=int(way == "instance end"))
        except SqlError as e:
            assert e.code == "42703", e
    elif way == "trap":
        assert p.server.get("/trap?" + query).status == 500
    elif way == "request timeout":
        assert p.server.get("/spin?" + query).status == 504
    else:
        before = p.pg.scalar("SELECT clock_timestamp()")
        with p.server.raw() as s:
            s.sendall(f"GET /spin?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wait_until(
                lambda: p.pg.sql(
                    "SELECT 1 FROM pg_stat_activity WHERE usename = 'reset_app' AND "
                    f"query_start > '{before}' AND query NOT LIKE 'DISCARD%' AND "
                    "state LIKE 'idle%'"
                ),
                "the guest's SQL has run",
            )


def next_pid(p):
    """The backend of the next guest. An abandoned WASI 0.3 task keeps its session until its own
    deadline, which the next request may share."""

    def ask():
        try:
            return p.pid()
        except SqlError as e:
            assert e.status == 504, e
            return None

    return wait_until(ask, "the session was given up")


def find(p, question, expected):
    try:
        found = p.value(question)
    except SqlError as e:
        found = e.code
    return found == expected or found


@BOTH
@pytest.mark.parametrize("reset", ["discard", "close"])
@pytest.mark.parametrize("way", WAYS)
def test_us_113_no_state_is_left(probe, postgres, reset_app, kind, way, reset):  # noqa: F811
    limits = {"request_timeout": "400ms" if way in ("request timeout", "client abort") else "30s"}
    more = {"http": {"reuse": 1}} if way == "instance end" else {}
    with probe(
        postgres, kind, password=PASSWORD, user=reset_app, pool_size=1, reset=reset, limits=limits,
        **more,
    ) as p:  # fmt: skip
        wrong = {}
        for name, (sql, question, expected) in STATES.items():
            first = p.pid()
            leave(p, way, sql)
            second = p.pid()
            result = find(p, question, expected)
            if result is not True:
                wrong[name] = result
            if postgres.scalar("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "0":
                wrong[name] = "a lock is left"
            # Idle at its end, the session is cleaned and used again; or it is closed, as was asked.
            if (first == second) != (reset == "discard"):
                wrong[name] = f"backend {first}, then {second}"
        assert not wrong


@BOTH
@pytest.mark.parametrize("way", ["request timeout", "client abort"])
def test_us_113_in_mid_query_the_backend_is_closed(probe, postgres, reset_app, kind, way):  # noqa: F811
    """Whoever leaves in the middle of an answer leaves a connection that nobody else gets."""
    limits = {"request_timeout": "1s"}
    with probe(
        postgres, kind, password=PASSWORD, user=reset_app, pool_size=1, limits=limits
    ) as p:
        first = p.pid()
        sql = "SELECT set_config('app.tenant', '7', false), pg_sleep(3)"
        if way == "request timeout":
            assert p.server.get("/sql?" + urlencode({"q": sql})).status == 504
        else:
            with p.server.raw() as s:
                query = urlencode({"q": sql})
                s.sendall(f"GET /sql?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                p.wait_running(user="reset_app")
        assert next_pid(p) != first
        assert p.value("SELECT coalesce(current_setting('app.tenant', true), '')") == ""


@BOTH
def test_us_113_the_next_guest_is_waiting_already(probe, postgres, reset_app, kind):  # noqa: F811
    """The connection goes from one guest straight to the next in the queue, and is cleaned between."""
    with probe(postgres, kind, password=PASSWORD, user=reset_app, pool_size=1) as p:
        first = p.pid()
        held = p.background(
            "CREATE TEMP TABLE reset_t AS SELECT pg_advisory_lock(1)::text AS a, pg_sleep(0.5)::text AS b"
        )
        p.wait_running(user="reset_app")
        question = (
            "SELECT pg_backend_pid(), (SELECT count(*) FROM pg_class WHERE relname = 'reset_t'), "
            "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
        )
        waiting = [Background(lambda: p.sql(question)) for _ in range(4)]
        held.result()
        for w in waiting:
            assert w.result() == [[str(first), "0", "0"]]
