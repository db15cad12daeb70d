# SPDX-License-Identifier: Apache-2.0
"""Guests that never heard of WarpGrid open sockets: to databases of warp.toml, which are sessions of
the pool, and elsewhere, as far as `[net] allow` goes. The guests are projects/rust-sockets; all of
them run under other hosts of WASI too, and what their lines say there is expected here."""
import re
import socket
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlencode

import pytest
from harness import Background, rust_guest, toml, word
from infra import free_port, wait_until
from test_postgres import config

COMMANDS = pytest.mark.parametrize("kind", ["std", "p3"])
DRIVERS = pytest.mark.parametrize("kind", ["tokio", "sqlx"])
WEB = pytest.mark.parametrize("kind", ["p2", "p3"])
NAMES = {"std": "tcp_std", "p2": "tcp_p2", "p3": "tcp_p3", "tokio": "pg_tokio", "sqlx": "pg_sqlx"}
# A database's name in warp.toml of these tests, and the port that guests know.
HOST = "db.test.warp.local"
PLACE = f"{HOST} 5432"


def command(kind):
    return rust_guest("rust-sockets", NAMES[kind])


def service(kind):
    return rust_guest("rust-sockets", f"web_{kind}")


class Run:
    """A command that has ended: a line for each step, and the host's log."""

    def __init__(self, out, count):
        self.log = out.stderr
        self.lines = out.stdout.splitlines()
        self.code = out.returncode
        assert len(self.lines) == count or self.code != 0, out.stdout + out.stderr

    def __iter__(self):
        return iter(self.lines)


@pytest.fixture
def do(warp, tmp_path):
    """do(KIND, TABLES, STEP...): runs a command's steps with a warp.toml of these tables."""

    def run(kind, tables, *steps, env=None, code=0):
        (tmp_path / "warp.toml").write_text(toml(tables))
        env = {"TEST_DB_PASSWORD": env or ""}
        out = warp("run", command(kind), "--", *steps, cwd=tmp_path, env=env)
        assert out.returncode == code, out.stdout + out.stderr
        return Run(out, len(steps))

    return run


@pytest.fixture
def ask(do, postgres):
    """The same with PostgreSQL declared as HOST:5432; `more` are keys of its table."""

    def run(kind, *steps, code=0, user=None, **more):
        tables = config(postgres, user=user or postgres.user, **more)
        return do(kind, tables, *steps, env=postgres.password, code=code)

    return run


@pytest.fixture
def serve(warp, postgres):
    """A service behind `warp serve`; .sql(Q...) gives rows or raises."""

    @contextmanager
    def start(kind, port=None, **more):
        env = {"TEST_DB_PASSWORD": postgres.password}
        with warp.serve(service(kind), config(postgres, port, **more), env=env) as server:
            yield Web(server)

    return start


class Refused(Exception):
    def __init__(self, response):
        super().__init__(f"{response.status}: {response.text}")
        self.status, self.text = response.status, response.text
        self.code = response.text.split(" ", 1)[0]


class Web:
    def __init__(self, server):
        self.server = server

    def get(self, path, *q, timeout_s=30, **params):
        query = urlencode([("q", text) for text in q] + list(params.items()))
        r = self.server.get(f"{path}?{query}", timeout_s=timeout_s)
        if r.status != 200:
            raise Refused(r)
        return r.text.splitlines()

    def sql(self, *q, **params):
        return self.get("/sql", *q, **params)

    def background(self, *q, **params):
        return Background(lambda: self.sql(*q, timeout_s=60, **params))

    def works(self):
        try:
            return self.sql("SELECT 1") == ["1"]
        except Refused:
            return False


class Peer:
    """A plain TCP server: echoes, says when the other side has finished, and counts."""

    def __init__(self, say=b"", address="127.0.0.1"):
        self.listener = socket.create_server((address, 0))
        self.port = self.listener.getsockname()[1]
        self.say, self.connections = say, 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        try:
            s.sendall(self.say)
            while part := s.recv(65536):
                s.sendall(part)
            s.sendall(b"bye")
        except OSError:
            pass
        finally:
            s.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()


# ---- a declared database ------------------------------------------------------------------------


@DRIVERS
def test_a_driver_gets_a_session_of_the_pool(ask, postgres, kind):
    before = postgres.logins()
    verb = "query" if kind == "tokio" else "rows"
    pid = f"{verb} a {word('SELECT pg_backend_pid()::text')}"
    lines = list(ask(kind, "connect a", pid, pid, "close a", "connect b", pid.replace(" a ", " b "), "close b"))
    assert lines[0] == lines[3] == lines[4] == lines[6] == "ok"
    assert len({lines[1], lines[2], lines[5]}) == 1, "the second connection has the first one's session"
    assert postgres.logins() - before == 1


def test_us_114_sqlx_creates_inserts_selects_drops(ask, postgres):
    before = postgres.logins()
    pid = word("SELECT pg_backend_pid()::text")
    rows = word("SELECT id::text, label FROM e2e_sqlx ORDER BY id")
    lines = list(ask(
        "sqlx", "connect a",
        f"run a {word('DROP TABLE IF EXISTS e2e_sqlx')}",
        f"run a {word('CREATE TABLE e2e_sqlx (id int PRIMARY KEY, label text)')}",
        "insert a 1 one", "insert a 2 %C3%A4%27s", f"rows a {rows}",
        "transaction a 3 three", f"rows a {rows}", f"rows a {pid}",
        f"run a {word('UPDATE e2e_sqlx SET label = NULL WHERE id = 1')}", f"rows a {rows}",
        f"run a {word('DROP TABLE e2e_sqlx')}", "close a",
        "connect b", f"rows b {pid}", "close b",
        pool_size=1,
    ))  # fmt: skip
    assert lines[0] == lines[1][:2] == lines[2][:2] == "ok"
    assert lines[3:6] == ["ok 1", "ok 1", "ok 1|one 2|%C3%A4's"]
    assert lines[6] == "ok 3" and lines[7] == lines[5], "a transaction that was rolled back"
    assert lines[9] == "ok 1" and lines[10] == "ok 1| 2|%C3%A4's"
    assert lines[11][:2] == "ok" and lines[12:14] == ["ok", "ok"]
    assert lines[8] == lines[14], "close, then connect, and it is the same session"
    assert postgres.logins() - before == 1


def test_sqlx_sees_the_servers_errors(ask):
    lines = list(ask(
        "sqlx", "connect a", f"run a {word('DROP TABLE IF EXISTS e2e_sqlx')}", "insert a 1 one",
        f"run a {word('CREATE TABLE e2e_sqlx (id int PRIMARY KEY, label text)')}", "insert a 1 one",
        "insert a 1 again", f"rows a {word('SELECT nonsense')}", f"run a {word('DROP TABLE e2e_sqlx')}", "close a",
    ))  # fmt: skip
    assert lines[2].startswith("error 42P01%20") and lines[4] == "ok 1"
    assert lines[5].startswith("error 23505%20") and lines[6].startswith("error 42703%20")
    assert lines[7].startswith("ok") and lines[8] == "ok"


@DRIVERS
def test_an_error_costs_no_session(ask, postgres, kind):
    """Drivers close without waiting for all that follows an error."""
    before = postgres.logins()
    verb = "query" if kind == "tokio" else "rows"
    for_all = [step for _ in range(5) for step in ("connect a", f"{verb} a {word('SELECT nonsense')}", "close a")]
    lines = list(ask(kind, *for_all, pool_size=1))
    assert all(line.startswith("error 42703%20") for line in lines[1::3])
    assert lines[0::3] == lines[2::3] == ["ok"] * 5
    assert postgres.logins() - before <= 2, "one login, and another one at most when the server was slow"


def test_a_pool_in_the_guest_is_on_top_of_the_hosts(ask, postgres):
    before = postgres.logins()
    lines = list(ask("sqlx", f"pool 3 30 {word('SELECT pg_backend_pid()::text')}", pool_size=3))
    assert lines[0].startswith("ok ") and len(lines[0].split()) == 31
    assert len(set(lines[0].split()[1:])) == postgres.logins() - before <= 3


def test_prepared_statements_pipelining_and_time_limits(ask):
    slow = word("SELECT pg_sleep(0.5), 'slow'")
    lines = list(ask(
        "tokio", "connect a", "prepared a 200", f"together a 20 {word('SELECT 6 * 7')}",
        f"within a 50 {slow}", "close a", "connect b", "prepared b 5", f"within b 10000 {slow}", "close b",
    ))  # fmt: skip
    assert lines[1] == "ok 200" and lines[2] == "ok" + " 42" * 20
    assert lines[3] == "error timeout"
    assert lines[5:] == ["ok", "ok 5", "ok |slow", "ok"]


def test_a_cancel_request_ends_the_statement(ask):
    start = time.monotonic()
    lines = list(ask("tokio", "connect a", f"cancel a 200 {word('SELECT pg_sleep(20)')}",
                     f"query a {word('SELECT 5')}", "close a"))  # fmt: skip
    assert lines[1].startswith("error 57014%20") and lines[2] == "ok 5"
    assert time.monotonic() - start < 15


@COMMANDS
@pytest.mark.parametrize("family", [4, 6])
def test_a_name_and_its_sentinel_are_the_same_place(ask, postgres, kind, family):
    found = re.fullmatch(r"ok (240\.77\.\d+\.\d+) (100::[0-9a-f:]+)", ask("std", f"resolve {HOST}").lines[0])
    sentinel = found.group(1 if family == 4 else 2)
    shown = sentinel if family == 4 else f"[{sentinel}]"
    lines = list(ask(kind, f"connect a {PLACE}", "peer a", f"connect b {sentinel} 5432", "peer b", "local b",
                     f"startup b warpgrid {postgres.user}", f"query b {word('SELECT current_user')}"))  # fmt: skip
    assert lines[:4] == ["ok", f"ok {found.group(1)}:5432", "ok", f"ok {shown}:5432"]
    # An address of its own of the same family.
    assert re.fullmatch(r"ok \[[0-9a-f:]+\]:\d+" if family == 6 else r"ok [0-9.]+:\d+", lines[4]), lines
    assert lines[5:] == ["ok", f"ok {postgres.user}"]


def test_standard_librarys_socket_behaves_as_a_socket_does(ask, postgres):
    user = postgres.user
    lines = list(ask(
        "std", f"connect a {PLACE}", "nodelay a", "peer a", "local a", "timeout a 100",
        f"startup a warpgrid {user}", "query a SELECT%2042", "read a 10", "peek a 3", "nonblocking a on",
        "read a 10", "wait a 10 100", "nonblocking a off",
        f"connect b {PLACE}", f"startup b warpgrid {user}", "query b SELECT%201", "terminate b",
        "shutdown b write", "read b 10", "query a SELECT%207", "close a", "close b",
    ))  # fmt: skip
    blocked = "error WouldBlock Resource%20temporarily%20unavailable%20(os%20error%206)"
    assert lines[:2] == ["ok", "ok"] and lines[2].startswith("ok 240.77.")
    # An address of the socket's own, of the same family.
    assert re.fullmatch(r"ok \d+\.\d+\.\d+\.\d+:\d+", lines[3]), lines[3]
    assert lines[4:] == [
        "ok", "ok", "ok 42", blocked, "error Unsupported Not%20supported%20(os%20error%2058)", "ok",
        blocked, blocked, "ok", "ok", "ok", "ok 1", "ok", "ok", "ok ",
        "ok 7", "ok", "ok",
    ]  # fmt: skip


def test_reads_wait_as_long_as_they_are_told(ask, postgres):
    start = time.monotonic()
    lines = list(ask("std", f"connect a {PLACE}", f"startup a warpgrid {postgres.user}",
                     "timeout a 700", "read a 10", f"query a {word('SELECT pg_sleep(0.3)')}"))  # fmt: skip
    assert lines[3].startswith("error WouldBlock") and lines[4] == "ok ", lines
    assert time.monotonic() - start >= 0.9


@COMMANDS
def test_half_closed_connection_still_delivers(ask, postgres, kind):
    """No more is sent, and the answer comes all the same; then the stream ends."""
    question = word(b"Q\0\0\0\x2bSELECT pg_sleep(0.3), 'all of it' AS x\0")
    end, read = ("shutdown a write", "read") if kind == "std" else ("end a", "receive")
    write = "write" if kind == "std" else "send"
    steps = [f"{read} a 65536"] * 6
    lines = list(ask(kind, f"connect a {PLACE}", f"startup a warpgrid {postgres.user}",
                     f"{write} a {question}", end, *steps))  # fmt: skip
    assert lines[:2] == ["ok", "ok"] and lines[3] == "ok", lines
    assert "all%20of%20it" in "".join(lines[4:]), lines
    assert lines[-1] == "ok ", "the end of the stream"


def test_wasi_0_2_states_are_those_of_a_socket(ask):
    sentinel = sentinel_of(ask)
    lines = list(ask("p2", f"states {sentinel} 5432", f"states {sentinel} 5432"))
    assert lines[0] == lines[1]
    assert lines[0] == (
        "ok wrong-family=invalid-argument finish-early=not-in-progress remote-early=invalid-state "
        "shutdown-early=invalid-state start=ok start-twice=concurrency-conflict finish=ok "
        "finish-twice=not-in-progress start-late=invalid-state listen-late=invalid-state remote=ok local=ok "
        "family=0 keep-alive=ok hop-limit=ok nothing-yet=true room=true shutdown=ok"
    )


def test_wasi_0_3_states_are_those_of_a_socket(ask, postgres):
    lines = list(ask("p3", f"connect a {PLACE}", "twice a", "local a", f"startup a warpgrid {postgres.user}",
                     "query a SELECT%2042", "end a", "receive a 10", "received a", "close a"))  # fmt: skip
    assert lines[:2] == ["ok", "ok connect=invalid-state send=invalid-state receive=invalid-state"]
    assert re.fullmatch(r"ok \d+\.\d+\.\d+\.\d+:\d+", lines[2]), lines[2]
    assert lines[3:] == ["ok", "ok 42", "ok", "ok ", "ok", "ok"]


def sentinel_of(ask):
    return re.search(r"(240\.77\.\d+\.\d+):5432", list(ask("std", f"connect a {PLACE}", "peer a"))[1]).group(1)


@COMMANDS
def test_encryption_is_not_offered_to_guests(ask, postgres, kind):
    """The host encrypts towards the server; to a guest it answers SSLRequest with N."""
    write, read = ("write", "read") if kind == "std" else ("send", "receive")
    lines = list(ask(kind, f"connect a {PLACE}", f"{write} a {word(bytes([0, 0, 0, 8, 4, 210, 22, 47]))}",
                     f"{read} a 100", f"startup a warpgrid {postgres.user}", "query a SELECT%201"))  # fmt: skip
    assert lines == ["ok", "ok 8", "ok N", "ok", "ok 1"]


@COMMANDS
def test_two_connections_at_once_are_two_sessions(ask, postgres, kind):
    pid = word("SELECT pg_backend_pid()")
    lines = list(ask(kind, f"connect a {PLACE}", f"connect b {PLACE}", f"startup a warpgrid {postgres.user}",
                     f"startup b warpgrid {postgres.user}", f"query a {pid}", f"query b {pid}", f"query a {pid}"))  # fmt: skip
    assert lines[:4] == ["ok"] * 4
    assert lines[4] == lines[6] != lines[5]


def test_the_next_connection_sees_nothing_of_the_last_one(ask):
    settings = word("SELECT current_setting('statement_timeout'), current_setting('TimeZone')")
    lines = list(ask(
        "tokio", "connect a", f"query a {settings}", f"query a {word('SET statement_timeout = 1000000')}",
        f"query a {word('CREATE TEMP TABLE mine (x int)')}", "prepared a 1", f"query a {word('BEGIN')}",
        "close a", "connect b", f"query b {settings}", "prepared b 1",
        f"query b {word('SELECT count(*) FROM pg_class WHERE relname = $$mine$$')}", "close b", pool_size=1,
    ))  # fmt: skip
    assert lines[7] == "ok" and lines[8] == lines[1]
    assert lines[9] == "ok 1" and lines[10] == "ok 0"


@COMMANDS
def test_good_bye_gives_the_session_back_though_the_socket_stays_open(ask, postgres, kind):
    bye = "terminate a" if kind == "std" else f"send a {word(b'X' + bytes([0, 0, 0, 4]))}"
    pid = word("SELECT pg_backend_pid()")
    lines = list(ask(kind, f"connect a {PLACE}", f"startup a warpgrid {postgres.user}", f"query a {pid}", bye,
                     f"connect b {PLACE}", f"startup b warpgrid {postgres.user}", f"query b {pid}", pool_size=1,
                     connect_timeout="3s"))  # fmt: skip
    assert lines[4:6] == ["ok", "ok"] and lines[2] == lines[6], lines


@COMMANDS
def test_large_answers_and_questions_arrive_whole(ask, postgres, kind):
    big = "y" * 120_000
    lines = list(ask(kind, f"connect a {PLACE}", f"startup a warpgrid {postgres.user}",
                     f"query a {word('SELECT repeat(md5($$1$$), 60000)')}",
                     f"query a SELECT%20length('{big}')"))  # fmt: skip
    assert len(lines[2]) == 3 + 32 * 60000 and lines[3] == "ok 120000"


@pytest.mark.parametrize("kind", ["tokio", "std", "p3"])
def test_bytes_come_one_by_one(do, postgres, fault_proxy, kind):
    fault_proxy.split(1)
    tables = config(postgres, fault_proxy.port)
    start = ["connect a"] if kind == "tokio" else [f"connect a {PLACE}", f"startup a warpgrid {postgres.user}"]
    query = f"query a {word('SELECT i, repeat($$z$$, 50) FROM generate_series(1, 30) i')}"
    lines = list(do(kind, tables, *start, query, env=postgres.password))
    assert lines[-1].split() == ["ok", *(f"{i}|{'z' * 50}" for i in range(1, 31))]


# ---- what goes wrong ----------------------------------------------------------------------------


@DRIVERS
def test_a_database_that_is_down_is_told_by_a_proper_error(do, postgres, kind):
    lines = list(do(kind, config(postgres, free_port()), "connect a", env=postgres.password))
    # A class of SQLSTATE that drivers know: the connection could not be had.
    assert re.match(r"error (08\d\d\d|57P03|53300)%20", lines[0]), lines


@DRIVERS
def test_a_database_that_is_not_declared_is_told_by_a_proper_error(ask, kind):
    lines = list(ask(kind, f"connect a {PLACE} elsewhere"))
    assert lines[0].startswith("error 3D000%20"), lines
    assert "elsewhere" in lines[0]


def test_an_exhausted_pool_is_told_by_a_proper_error(ask):
    lines = list(ask("tokio", "connect a", "connect b", "close a", "connect b", "query b SELECT%201",
                     pool_size=1, connect_timeout="400ms"))  # fmt: skip
    assert lines[0] == "ok" and re.match(r"error (53300|08001)%20", lines[1]), lines
    assert lines[2:] == ["ok", "ok", "ok 1"]


@WEB
def test_server_restart_reaches_the_driver_as_an_error(serve, postgres, kind):
    with serve(kind) as web:
        assert web.works()
        running = web.background("SELECT pg_sleep(30)")
        wait_until(lambda: busy(postgres), "the statement runs")
        start = time.monotonic()
        postgres.stop()
        with pytest.raises(Refused) as e:
            running.result()
        assert e.value.status == 503 and time.monotonic() - start < 10
        with pytest.raises(Refused) as e:
            web.sql("SELECT 1")
        assert re.match(r"08\d\d\d|57P\d\d", e.value.code), e.value
        postgres.start()
        wait_until(web.works, "it works again", 15)


def busy(pg):
    return pg.sql("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%' "
                  f"AND usename = '{pg.user}'")  # fmt: skip


@WEB
def test_kill_9_of_the_backend_in_mid_result(serve, postgres, kind):
    with serve(kind) as web:
        running = web.background("SELECT i, pg_sleep(0.01) FROM generate_series(1, 3000) i")
        pid = int(wait_until(lambda: postgres.sql(
            "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT i, %'"
        ), "the statement runs")[0][0])  # fmt: skip
        start = time.monotonic()
        postgres.kill_backend(pid)
        with pytest.raises(Refused) as e:
            running.result()
        assert e.value.status == 503 and time.monotonic() - start < 10
        wait_until(web.works, "the pool has a new connection", 15)


# A WASI 0.3 instance lives on for the next request, and what it leaves open with it.
@pytest.mark.parametrize("kind, way", [("p2", "trap"), ("p2", "leave"), ("p3", "trap")])
def test_an_instance_that_dies_gives_its_session_back(serve, kind, way):
    with serve(kind, pool_size=1) as web:
        for _ in range(3):
            assert web.works()
            if way == "trap":
                assert web.server.get("/trap?q=SELECT+pg_sleep(30)").status == 500
            else:
                assert web.get("/leave", "SELECT pg_sleep(30)") == ["left"]
        assert web.works()


# A stream ends with its instance: what came of it must not look whole.
@pytest.mark.parametrize("first", [0, 1])
def test_a_trap_in_the_body_is_no_end_of_it(serve, first):
    with serve("p3") as web:
        for _ in range(5):
            with web.server.raw() as s:
                s.sendall(b"GET /trap-in-body?ms=50&n=%d HTTP/1.1\r\nHost: a\r\n\r\n" % first)
                answer = b""
                while more := s.recv(4096):
                    answer += more
            assert answer.startswith(b"HTTP/1.1 200 ") and (b"5\r\nbegun" in answer) == bool(first)
            assert not answer.endswith(b"0\r\n\r\n"), "an end that the guest never gave"
        assert web.works()


def test_the_head_of_a_stream_is_sent_at_once(serve):
    with serve("p3") as web, web.server.raw() as s:
        s.sendall(b"GET /late?ms=1500 HTTP/1.1\r\nHost: a\r\n\r\n")
        start = time.monotonic()
        assert s.recv(4096).startswith(b"HTTP/1.1 200 ")
        assert time.monotonic() - start < 1
        assert b"nothing here" in s.recv(4096)
        assert time.monotonic() - start > 1.4


# ---- instances that live on ---------------------------------------------------------------------


@WEB
def test_many_requests_of_one_instance_take_one_login(serve, postgres, kind):
    before = postgres.logins()
    with serve(kind, http={"reuse": 100}) as web:
        pids = {web.sql("SELECT pg_backend_pid()")[0] for _ in range(30)}
        assert len(pids) == 1
    assert postgres.logins() - before == 1


def test_a_connection_that_an_instance_keeps_goes_on(serve, postgres):
    before = postgres.logins()
    with serve("p2", http={"reuse": 100, "instance_idle": "30s"}) as web:
        web.sql("SET application_name = 'kept'", keep=1)
        for _ in range(10):
            assert web.sql("SHOW application_name", keep=1) == ["kept"]
    assert postgres.logins() - before == 1
    wait_until(lambda: postgres.backends() == [], "nothing is left on the server")


def test_fresh_instances_share_the_pool(serve, postgres):
    before = postgres.logins()
    with serve("p2") as web:
        for _ in range(20):
            assert web.works()
    assert postgres.logins() - before == 1


def test_a_warm_pool_answers_while_the_server_takes_no_logins(serve, postgres, fault_proxy):
    """What is pooled is used: nobody connects for a request."""
    with serve("p2", fault_proxy.port) as web:
        assert web.works()
        fault_proxy.refuse()
        for _ in range(5):
            assert web.works()


# ---- everything else ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["std", "p2", "p3"])
def test_an_undeclared_address_is_refused_with_the_line_to_add(do, kind):
    with Peer() as peer:
        name = "" if kind == "p2" else "a "
        run = do(kind, {}, f"connect {name}127.0.0.1 {peer.port}")
        refused = {"std": "error PermissionDenied", "p2": "error access-denied", "p3": "error access-denied"}[kind]
        assert run.lines[0].startswith(refused), run.lines
        assert peer.connections == 0
    line = next(line for line in run.log.splitlines() if "event=connect_refused" in line)
    assert "[net]" in line and f"127.0.0.1:{peer.port}" in line and "allow" in line


@pytest.mark.parametrize("kind", ["std", "p2", "p3"])
@pytest.mark.parametrize("rule", ["127.0.0.1:{port}", "127.0.0.0/8:{port}", "127.0.0.1:*"])
def test_an_allowed_address_is_reached(do, kind, rule):
    with Peer() as peer:
        name = "" if kind == "p2" else "a "
        tables = {"net": {"allow": [rule.format(port=peer.port)]}}
        assert list(do(kind, tables, f"connect {name}127.0.0.1 {peer.port}")) == ["ok"]
        wait_until(lambda: peer.connections == 1, "the peer has taken it")


def own_address():
    """An address of this machine that is not its loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            return None
        found = s.getsockname()[0]
    return None if found.startswith("127.") else found


@COMMANDS
def test_an_allowed_name_is_reached_and_others_are_not(do, kind):
    own = own_address() or pytest.skip("this machine has no address but its loopback")
    with Peer(address=own) as peer, Peer(address=own) as other:
        tables = {
            "net": {"allow": [f"echo.example.com:{peer.port}"]},
            "hosts": {"echo.example.com": [own], "other.example.com": [own]},
        }
        lines = list(do(kind, tables, f"connect a other.example.com {peer.port}", f"connect b {own} {peer.port}",
                        f"connect c echo.example.com {other.port}", f"connect d echo.example.com {peer.port}"))  # fmt: skip
        refused = "error PermissionDenied" if kind == "std" else "error access-denied"
        assert [line.startswith(refused) for line in lines[:3]] == [True] * 3, lines
        assert lines[3] == "ok"
        assert (peer.connections, other.connections) == (1, 0)


@COMMANDS
def test_an_allowed_name_does_not_lead_to_this_machine_itself(do, kind):
    """Who answers for a name must not get guests to what listens on the loopback."""
    with Peer() as peer:
        tables = {"net": {"allow": [f"echo.example.com:{peer.port}"]}, "hosts": {"echo.example.com": ["127.0.0.1"]}}
        lines = list(do(kind, tables, f"connect a echo.example.com {peer.port}"))
        assert lines[0].startswith("error PermissionDenied" if kind == "std" else "error access-denied")
        assert peer.connections == 0


@COMMANDS
def test_bytes_to_an_allowed_address_go_both_ways(do, kind):
    write, read, end = (
        ("write", "read", "shutdown a write") if kind == "std" else ("send", "receive", "end a")
    )
    with Peer(b"hello") as peer:
        tables = {"net": {"allow": [f"127.0.0.1:{peer.port}"]}}
        lines = list(do(kind, tables, f"connect a 127.0.0.1 {peer.port}", "peer a", f"{read} a 5",
                        f"{write} a {word(bytes(range(256)))}", f"{read} a 256", end, f"{read} a 100", f"{read} a 1"))  # fmt: skip
        assert lines[:4] == ["ok", f"ok 127.0.0.1:{peer.port}", "ok hello", "ok 256"]
        assert lines[4].startswith("ok %00%01") and lines[5:] == ["ok", "ok bye", "ok "]


@COMMANDS
def test_nobody_there_is_refused_as_everywhere(do, kind):
    port = free_port()
    lines = list(do(kind, {"net": {"allow": [f"127.0.0.1:{port}"]}}, f"connect a 127.0.0.1 {port}"))
    assert lines[0].startswith("error ConnectionRefused" if kind == "std" else "error connection-refused")


def test_an_undeclared_port_of_a_database_host_is_refused(do, ask, postgres):
    run = ask("std", f"connect a {HOST} 5433", f"connect b {PLACE}")
    assert run.lines[0].startswith("error PermissionDenied") and run.lines[1] == "ok"
    assert "event=connect_refused" in run.log and "5433" in run.log


def test_datagrams_and_listening_are_denied(do):
    lines = list(do("std", {"net": {"allow": ["127.0.0.1:*", "0.0.0.0/0:*"]}}, "udp 127.0.0.1 9", "listen"))
    assert all(line.startswith("error PermissionDenied") for line in lines), lines


def test_without_the_shim_databases_are_not_reached(do, postgres):
    tables = {**config(postgres), "shims": {"database_proxy": False}}
    run = do("std", tables, f"connect a {PLACE}", env=postgres.password)
    assert not run.lines[0].startswith("ok"), run.lines


def test_no_guest_sees_the_password(ask, postgres):
    run = ask("tokio", "connect a", f"query a {word('SELECT current_user')}", "close a")
    assert run.lines == ["ok", f"ok {postgres.user}", "ok"]
    assert postgres.password not in run.log + "".join(run.lines)
