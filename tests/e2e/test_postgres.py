# SPDX-License-Identifier: Apache-2.0
"""US-111, US-112, US-113, US-114: a guest and a real PostgreSQL, with the host's pool between them.

The guest is guests/dbprobe.c: GET /sql?q=... runs SQL over a connection of its own and answers rows
as `a|b` lines, or 400/503 with `SQLSTATE message`."""
import os
import re
import signal
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from harness import Background
from infra import free_port, wait_until

BOTH = pytest.mark.parametrize("kind", ["p2", "p3"])
HOST = "db.test.warp.local"


def config(pg, port=None, **more):
    """warp.toml for a guest that may use `pg` (or a proxy on `port`) under the name HOST."""
    database = {
        "protocol": "postgres",
        "host": HOST,
        "address": "127.0.0.1",
        "address_port": port or pg.port,
        "database": pg.database,
        "user": pg.user,
        "password_env": "TEST_DB_PASSWORD",
    }
    http = more.pop("http", {})
    limits = more.pop("limits", {})
    env = {"DB_HOST": HOST, "DB_PORT": "5432", "DB_NAME": pg.database, "DB_USER": "anybody"}
    database.update(more)
    return {"http": http, "limits": limits, "env": env, "databases": {"test": database}}


class SqlError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status = status
        self.code = text.split(" ", 1)[0]
        self.text = text


class Probe:
    """The dbprobe guest behind a running `warp serve`."""

    def __init__(self, server, pg):
        self.server = server
        self.pg = pg

    def sql(self, q, timeout_s=30, **params):
        r = self.server.get("/sql?" + urlencode({"q": q, **params}), timeout_s=timeout_s)
        if r.status != 200:
            raise SqlError(r.status, r.text)
        return [line.split("|") for line in r.text.splitlines()]

    def value(self, q, **params):
        return self.sql(q, **params)[0][0]

    def pid(self, **params):
        return int(self.value("SELECT pg_backend_pid()", **params))

    def background(self, q, **params):
        return Background(lambda: self.sql(q, timeout_s=60, **params))

    def wait_idle(self):
        """Until the pool has cleaned the connections that guests gave back."""

        def clean():
            rows = self.pg.sql(
                f"SELECT query FROM pg_stat_activity WHERE usename = '{self.pg.user}' AND "
                "(state <> 'idle' OR query NOT LIKE 'DISCARD ALL%')"
            )
            return not rows

        wait_until(clean, "the sessions were reset")

    def wait_running(self, count=1, like="pg_sleep", user=None):
        """Until so many statements run on the server; returns their backends' pids."""
        user = user or self.pg.user

        def running():
            rows = self.pg.sql(
                "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND usename = "
                f"'{user}' AND query LIKE '%{like}%' ORDER BY query_start"
            )
            return [int(r[0]) for r in rows] if len(rows) >= count else None

        return wait_until(running, f"{count} statements run")


@pytest.fixture
def probe(warp, guest):
    @contextmanager
    def start(pg, kind, port=None, password=None, **more):
        settings = config(pg, port, **more)
        env = {"TEST_DB_PASSWORD": password or pg.password}
        with warp.serve(guest(f"dbprobe-{kind}"), settings, env=env) as server:
            yield Probe(server, pg)

    return start


# ---- reuse ----------------------------------------------------------------------------------


@BOTH
def test_us_114_statements_and_reuse_of_the_backend(probe, postgres, kind):
    before = postgres.logins()
    with probe(postgres, kind) as p:
        p.sql("DROP TABLE IF EXISTS e2e_items")
        p.sql("CREATE TABLE e2e_items (id int PRIMARY KEY, label text)")
        p.sql("INSERT INTO e2e_items VALUES (1, 'one'), (2, NULL)")
        assert p.sql("SELECT * FROM e2e_items ORDER BY id") == [["1", "one"], ["2", ""]]
        p.sql("DROP TABLE e2e_items")
        pids = {p.pid() for _ in range(10)}
        assert len(pids) == 1, "one guest after the other has the same backend"
        # The pool holds it between requests, and it is what the server sees.
        wait_until(lambda: postgres.backends() == [(*pids, "idle")], "one idle backend")
    assert postgres.logins() - before == 1
    wait_until(lambda: postgres.backends() == [], "nothing is left on the server")


@BOTH
def test_us_111_several_at_once_use_several_backends(probe, postgres, kind):
    with probe(postgres, kind, pool_size=4) as p:
        calls = [p.background("SELECT pg_backend_pid(), pg_sleep(0.5)") for _ in range(4)]
        pids = {c.result()[0][0] for c in calls}
        assert len(pids) == 4
        # A quiet service goes on with them, and logs in no more.
        logins = postgres.logins()
        assert {str(p.pid()) for _ in range(8)} <= pids
        assert postgres.logins() == logins


@BOTH
def test_us_111_workers_share_the_limit(probe, postgres, kind):
    with probe(postgres, kind, pool_size=3, http={"workers": 2}) as p:
        calls = [p.background("SELECT pg_backend_pid(), pg_sleep(0.2)") for _ in range(12)]
        wait_until(lambda: len(postgres.backends()) == 3, "the pool is full")
        pids = {c.result()[0][0] for c in calls}
        assert len(pids) <= 3
        assert len(postgres.backends()) <= 3


# ---- exhaustion -----------------------------------------------------------------------------


@BOTH
def test_us_111_exhausted_pool_waits_then_refuses(probe, postgres, kind):
    with probe(postgres, kind, pool_size=1, connect_timeout="600ms") as p:
        held = p.background("SELECT pg_sleep(3)")
        p.wait_running()
        start = time.monotonic()
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert 0.5 < time.monotonic() - start < 2
        assert e.value.status == 503
        held.result()
        assert p.value("SELECT 1") == "1"


@BOTH
def test_us_111_waiters_are_served_in_order(probe, postgres, kind):
    with probe(postgres, kind, pool_size=1, connect_timeout="20s") as p:
        held = p.background("SELECT pg_sleep(1.5)")
        p.wait_running()
        calls = []
        for i in range(6):
            calls.append(p.background(f"SELECT clock_timestamp() AS waiter_{i}"))
            time.sleep(0.1)
        held.result()
        served = [c.result()[0][0] for c in calls]
        assert served == sorted(served)


@BOTH
def test_us_111_queue_has_an_end(probe, postgres, kind):
    with probe(postgres, kind, pool_size=1, max_waiters=1, connect_timeout="10s") as p:
        held = p.background("SELECT pg_sleep(2)")
        p.wait_running()
        waiting = p.background("SELECT 2")
        time.sleep(0.3)
        start = time.monotonic()
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 3")
        assert e.value.status == 503 and time.monotonic() - start < 1
        held.result()
        assert waiting.result() == [["2"]]


# ---- the server fails -----------------------------------------------------------------------


@BOTH
def test_us_114_kill_9_of_a_backend_in_mid_result(probe, postgres, kind):
    """The guest gets an error at once, not a hang; the pool recovers with the server."""
    with probe(postgres, kind) as p:
        assert p.value("SELECT 1") == "1"
        running = p.background("SELECT i, pg_sleep(0.01) FROM generate_series(1, 1000) i")
        (pid,) = p.wait_running()
        start = time.monotonic()
        postgres.kill_backend(pid)
        with pytest.raises(SqlError) as e:
            running.result()
        assert e.value.status == 503 and time.monotonic() - start < 10
        wait_until(lambda: works(p), "the pool has a new connection", 15)


def works(p):
    try:
        return p.value("SELECT 1") == "1"
    except SqlError:
        return False


@BOTH
def test_us_111_idle_connection_that_died_is_not_handed_out(probe, postgres, kind):
    with probe(postgres, kind) as p:
        old = p.pid()
        for _ in range(5):
            postgres.terminate_backends()
            new = p.pid()
            assert new != old
            old = new


@BOTH
def test_us_114_server_restart(probe, postgres, kind):
    with probe(postgres, kind) as p:
        assert p.value("SELECT 1") == "1"
        postgres.stop()
        start = time.monotonic()
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1")
        assert e.value.status == 503 and time.monotonic() - start < 6
        postgres.start()
        wait_until(lambda: works(p), "it works again", 15)


@BOTH
def test_us_111_unhealthy_idle_connection_is_found_by_the_ping(probe, postgres, fault_proxy, kind):
    """A peer that no longer answers, without a word: only the health check can see it."""
    with probe(postgres, kind, port=fault_proxy.port, health_interval="300ms") as p:
        old = p.pid()
        p.wait_idle()
        fault_proxy.stall()
        p.server.log.wait_for(r"event=db_unhealthy .*during=ping", 15)
        fault_proxy.resume()
        wait_until(lambda: works(p), "a new one is made", 10)
        assert p.pid() != old


@BOTH
def test_unreachable_port_is_503_quickly(probe, postgres, kind):
    with probe(postgres, kind, port=free_port()) as p:
        for _ in range(3):
            start = time.monotonic()
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert e.value.status == 503 and e.value.code in ("08001", "08006")
            assert time.monotonic() - start < 6


@BOTH
def test_server_that_never_answers_the_login(probe, postgres, kind):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with probe(postgres, kind, port=silent.getsockname()[1], connect_timeout="700ms") as p:
            start = time.monotonic()
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert e.value.status == 503 and time.monotonic() - start < 3


@BOTH
def test_port_that_speaks_something_else(probe, postgres, kind):
    server = socket.create_server(("127.0.0.1", 0))

    def talk():
        while True:
            try:
                c, _ = server.accept()
            except OSError:
                return
            c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            c.close()

    threading.Thread(target=talk, daemon=True).start()
    try:
        with probe(postgres, kind, port=server.getsockname()[1]) as p:
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert e.value.status == 503
    finally:
        server.close()


# ---- who logs in ----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("role", ["warpgrid_app", "app_md5", "app_plain", "app_trust"])
def test_us_112_login_by_scram_md5_and_cleartext(probe, postgres, kind, role):
    with probe(postgres, kind, user=role) as p:
        assert p.value("SELECT current_user") == role


@pytest.mark.parametrize("role", ["warpgrid_app", "app_md5", "app_plain"])
def test_us_112_wrong_password_is_28P01(probe, postgres, role):
    with probe(postgres, "p2", user=role, password="not-it-at-all") as p:
        for _ in range(2):
            with pytest.raises(SqlError) as e:
                p.sql("SELECT 1")
            assert "28P01" in e.value.text, e.value
    # Nor does the log tell the password (the server is stopped here, its log complete).
    assert "not-it-at-all" not in p.server.log.text


def test_undeclared_database_is_refused_with_the_lines_to_add(probe, postgres):
    with probe(postgres, "p2") as p:
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1", host="other.test.warp.local")
        assert e.value.status == 503 and "[databases" in e.value.text
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1", db="postgres")
        assert e.value.status == 503 and "not declared" in e.value.text
        assert postgres.backends() == [], "nobody was asked"
        assert p.value("SELECT current_database()") == "warpgrid"


def test_guest_cannot_read_the_credentials(probe, postgres):
    with probe(postgres, "p2") as p:
        r = p.server.get("/env")
        assert "DB_HOST" in r.text
        assert postgres.password not in r.text and "TEST_DB_PASSWORD" not in r.text
        assert p.value("SELECT current_user") == "warpgrid_app"
        assert postgres.password not in p.server.log.text


# ---- one guest's session is not the next one's ------------------------------------------------


@BOTH
def test_us_112_startup_parameters_are_honoured(probe, postgres, kind):
    with probe(postgres, kind) as p:
        plain = p.value("SHOW TimeZone")
        assert p.value("SHOW TimeZone", param="TimeZone=Asia/Tokyo") == "Asia/Tokyo"
        assert p.value("SHOW application_name", param="application_name=my app's") == "my app's"
        assert p.value("SHOW search_path", param="search_path=pg_catalog") == "pg_catalog"
        assert p.value("SHOW client_encoding", param="client_encoding=LATIN1") == "LATIN1"
        assert p.value("SHOW work_mem", param="options=-c work_mem=7MB") == "7MB"
        # And are the next guest's no more.
        assert p.value("SHOW TimeZone") == plain
        assert p.value("SHOW client_encoding") == "UTF8"
        with pytest.raises(SqlError) as e:
            p.sql("SELECT 1", param="TimeZone=Nowhere/AtAll")
        assert e.value.code == "22023", e.value
        assert p.value("SHOW TimeZone") == plain


# keep=1: the instance ends with the connection open, as a careless program's does.
@pytest.mark.parametrize("kind, keep", [("p2", 0), ("p2", 1), ("p3", 0)])
@pytest.mark.parametrize("reset", ["discard", "close"])
def test_nothing_leaks_to_the_next_guest(probe, postgres, kind, keep, reset):
    postgres.sql("CREATE TABLE IF NOT EXISTS e2e_leak (x int); GRANT ALL ON e2e_leak TO warpgrid_app; TRUNCATE e2e_leak")
    with probe(postgres, kind, pool_size=1, reset=reset) as p:
        first = p.pid()
        for statement in (
            "BEGIN; INSERT INTO e2e_leak VALUES (1)",
            "BEGIN; SELECT no_such_column",
            "SET statement_timeout = '1h'",
            "CREATE TEMP TABLE mine AS SELECT 1 AS x",
            "PREPARE mine AS SELECT 1",
            "SELECT pg_advisory_lock(4711)",
            "LISTEN mine",
        ):
            try:
                p.sql(statement, keep=keep)
            except SqlError as e:
                assert e.code == "42703", e
        assert p.value("SELECT count(*) FROM e2e_leak") == "0"
        assert p.value("SHOW statement_timeout") == "0"
        assert p.value("SELECT count(*) FROM pg_class WHERE relname = 'mine'") == "0"
        assert p.value("SELECT count(*) FROM pg_prepared_statements") == "0"
        assert p.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0"
        assert p.value("SELECT count(*) FROM pg_listening_channels()") == "0"
        assert (p.pid() == first) == (reset == "discard")


@BOTH
@pytest.mark.parametrize("way", ["/trap", "/spin"])
def test_dead_instance_gives_its_session_back(probe, postgres, kind, way):
    """An instance that traps or is cut with a lease leaves nobody waiting."""
    limits = {"request_timeout": "1s"}
    with probe(postgres, kind, pool_size=1, limits=limits) as p:
        p.sql("SELECT 1")
        r = p.server.get(way)
        assert r.status in (500, 504)
        assert p.value("SELECT 1") == "1"


def test_client_abort_frees_the_session_within_100_ms(probe, postgres):
    """A client that goes away in mid-query: its place in the pool is the next one's at once. The
    time includes a new login (the old session is in doubt); the best of three, for busy machines."""
    query = urlencode({"q": "SELECT pg_sleep(30)"})
    with probe(postgres, "p2", pool_size=1, user="app_trust") as p:
        times = []
        for _ in range(3):
            with p.server.raw() as s:
                s.sendall(f"GET /sql?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                (pid,) = p.wait_running(user="app_trust")
                waiting = Background(lambda: (p.pid(), time.monotonic()))
                time.sleep(0.1)
                assert not waiting.done, "the pool has one connection"
                start = time.monotonic()
            new, end = waiting.result()
            assert new != pid, "a session in mid-query is not anybody else's"
            times.append(end - start)
            postgres.terminate_backends("app_trust")
        assert min(times) < 0.1, times


# ---- bytes ----------------------------------------------------------------------------------


@BOTH
def test_us_112_ten_megabytes_arrive_whole(probe, postgres, kind):
    with probe(postgres, kind) as p:
        rows = p.sql("SELECT i, repeat(md5(i::text), 320) FROM generate_series(1, 1000) i", timeout_s=60)
        assert len(rows) == 1000
        assert sum(len(r[1]) for r in rows) == 1000 * 32 * 320
        import hashlib

        for i in (1, 500, 1000):
            assert rows[i - 1][1] == hashlib.md5(str(i).encode()).hexdigest() * 320
        assert p.value("SELECT length(repeat('x', 10485760))") == "10485760"
        assert len(p.value("SELECT repeat('x', 10485760)")) == 10485760


@BOTH
def test_us_112_large_statement_is_sent_whole(probe, postgres, kind):
    with probe(postgres, kind) as p:
        r = p.server.request("POST", "/sql", "SELECT length('" + "y" * 3_000_000 + "')")
        assert r.text == "3000000\n"


@BOTH
def test_us_112_split_every_byte(probe, postgres, fault_proxy, kind):
    fault_proxy.split(1)
    with probe(postgres, kind, port=fault_proxy.port) as p:
        assert p.sql("SELECT * FROM generate_series(1, 3)") == [["1"], ["2"], ["3"]]
        assert p.value("SELECT repeat('z', 5000)") == "z" * 5000
        with pytest.raises(SqlError) as e:
            p.sql("SELECT no_such_column")
        assert e.value.code == "42703"
        assert p.value("SHOW TimeZone", param="TimeZone=Asia/Tokyo") == "Asia/Tokyo"


@BOTH
def test_slow_network(probe, postgres, fault_proxy, kind):
    fault_proxy.delay(0.05)
    with probe(postgres, kind, port=fault_proxy.port) as p:
        for i in range(3):
            assert p.value(f"SELECT {i}") == str(i)


@BOTH
def test_connection_cut_in_mid_result(probe, postgres, fault_proxy, kind):
    with probe(postgres, kind, port=fault_proxy.port) as p:
        assert p.value("SELECT 1") == "1"
        for cut in (1, 7, 100, 5000, 100_000):
            fault_proxy.cut_after(cut)
            with pytest.raises(SqlError) as e:
                p.sql("SELECT repeat('x', 1000) FROM generate_series(1, 1000)")
            assert e.value.status == 503
            fault_proxy.cut_after(None)
            wait_until(lambda: works(p), "a new connection, after the backoff")


@BOTH
def test_us_112_recv_timeout_leaves_the_session_valid(probe, postgres, fault_proxy, kind):
    """The server stalls: recv answers `timeout`, and the same session then delivers every byte."""
    with probe(postgres, kind, port=fault_proxy.port, recv_timeout="400ms") as p:
        assert p.value("SELECT 1") == "1"
        p.wait_idle()
        stalled = threading.Timer(1.5, fault_proxy.resume, ["down"])
        fault_proxy.stall("down")
        stalled.start()
        r = p.server.get("/sql?" + urlencode({"q": "SELECT 42", "retry": 1}))
        # retry=1: the guest counts timeouts of recv and goes on receiving on the same handle.
        assert r.status == 200, r
        assert r.text == "42\n" and int(r.headers["x-timeouts"]) >= 2


# ---- idle -----------------------------------------------------------------------------------


@BOTH
def test_us_111_idle_connections_are_reaped(probe, postgres, kind):
    with probe(postgres, kind, idle_timeout="400ms") as p:
        first = p.pid()
        assert len(postgres.backends()) == 1
        wait_until(lambda: postgres.backends() == [], "the idle connection is closed", 5)
        assert p.pid() != first


@BOTH
def test_us_111_health_check_keeps_connections_alive_and_unused(probe, postgres, kind):
    with probe(postgres, kind, health_interval="100ms", idle_timeout="60s") as p:
        first = p.pid()
        def asked():
            return postgres.sql(f"SELECT state_change FROM pg_stat_activity WHERE pid = {first}")

        before = asked()
        wait_until(lambda: asked() != before, "the server was pinged", 5)
        assert p.pid() == first


# ---- the end --------------------------------------------------------------------------------


@BOTH
def test_sigterm_lets_a_query_finish_and_closes_connections(probe, postgres, kind):
    with probe(postgres, kind) as p:
        running = p.background("SELECT 'finished', pg_sleep(1.5)")
        p.wait_running()
        p.server.process.send_signal(signal.SIGTERM)
        assert running.result()[0][0] == "finished"
        assert p.server.wait() == 0
        p.server.check_clean()
    wait_until(lambda: postgres.backends() == [], "the server has no connection of ours", 3)


def test_connections_do_not_leak_file_descriptors(probe, postgres, fault_proxy):
    with probe(postgres, "p2", port=fault_proxy.port) as p:
        def fds():
            return len(os.listdir(f"/proc/{p.server.pid}/fd"))

        p.sql("SELECT 1")
        before = fds()
        for _ in range(20):
            fault_proxy.cut()
            wait_until(lambda: works(p), "it works again")
        assert fds() <= before + 2


def test_statements_of_other_guests_are_never_mixed_up(probe, postgres):
    """Every answer belongs to its question, under load, with connections killed at random."""
    with probe(postgres, "p2", pool_size=4, http={"workers": 2, "reuse": 50}) as p:
        end = time.monotonic() + 6
        wrong, right = [], [0]

        def ask_on(n):
            i = 0
            while time.monotonic() < end:
                i += 1
                question = f"{n}-{i}-" + "q" * (i % 50)
                try:
                    if p.value(f"SELECT '{question}', pg_sleep(0.002)") != question:
                        wrong.append(question)
                    right[0] += 1
                except SqlError as e:
                    assert e.status == 503, e

        calls = [Background(lambda n=n: ask_on(n)) for n in range(8)]
        while time.monotonic() < end - 1:
            time.sleep(0.7)
            postgres.terminate_backends()
        for c in calls:
            c.result()
        assert not wrong and right[0] > 100


def test_stderr_of_the_host_is_quiet(probe, postgres):
    """Lifecycle on info, nothing at warn or error when all goes well."""
    with probe(postgres, "p2") as p:
        p.sql("SELECT 1")
    assert not re.search(r"level=(warn|error)", p.server.log.text), p.server.log.text
