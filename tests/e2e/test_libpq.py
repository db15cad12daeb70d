# SPDX-License-Identifier: Apache-2.0
"""US-212: libpq, compiled from PostgreSQL's source as it is, in a component: with WarpGrid through its
pool, and the same file in Wasmtime's own host. The program is guests/libpq.c."""
import re
import shutil
import subprocess
import time

import pytest
from fault_proxy import FaultProxy
from harness import SLOW, Background, Terminal, toml
from infra import free_port, wait_until
from libc import script, tool
from libpq import vanilla

HOST = "db.production.warp.local"
WAYS = pytest.mark.parametrize("way", ["wasi", "shim"])

# What guests/libpq.c prints where all is well.
STEPS = """\
connect server 15, user {user}, database warpgrid
start, then select 1
select 1
big 20000 rows 2000000 bytes, one of 2000000 bytes
prepared 42, 20 in binary
copy_in 20000 rows
copy_out 20000 rows sum 199990000 2128890 bytes
copy_fail 57014
copy_fail 22P02
select 1
cancel 57014 soon
select 1
async 1000 rows, 2000000 sent, pipeline 10 20 30
notice NOTICE:  hear, hear
notify news rain
both at once
"""
ALL = "connect start select big prepared copy_in copy_out copy_fail cancel async notice notify both".split()


@pytest.fixture
def run(warp, libpq, postgres, tmp_path):
    """run(WAY, STEP..., info=..., **keys of the database): the finished program on WarpGrid."""

    def call(way, *steps, info="", port=postgres.port, timeout_s=60, started=None, **keys):
        table = {"host": HOST, "address": "127.0.0.1", "address_port": port, "database": postgres.database}
        if keys.get("auth", "service") == "service":
            table.update(user=postgres.user, password_env="TEST_PASSWORD")
        (tmp_path / "warp.toml").write_text(toml({"databases": {"main": {**table, **keys}}}))
        return warp(
            "run", "-c", tmp_path / "warp.toml", libpq.program("libpq.c", way), "--",
            f"host={HOST} dbname={postgres.database} {info}", *steps,
            env={"TEST_PASSWORD": postgres.password}, timeout_s=timeout_s,
        )  # fmt: skip

    return call


def good(out):
    assert out.returncode == 0, out.stdout + out.stderr
    return out.stdout


def bad(out):
    """What a program that failed says; it ended by itself, with the code that it chose."""
    assert out.returncode == 1, out.stdout + out.stderr
    assert "trap" not in out.stderr and "backtrace" not in out.stderr
    return out.stderr


# -- the build ----------------------------------------------------------------------------------


def test_us_212_build_libpq_explains_itself(libpq, tmp_path):
    assert "--psql" in script("build-libpq.sh", "--help")
    assert "'clang-0' is not installed" in script("build-libpq.sh", code=1, WARPGRID_CLANG="clang-0")
    assert "unknown option '--pqsl'" in script("build-libpq.sh", "--pqsl", code=2)
    said = script("build-libpq.sh", "--sysroot", tmp_path, "--output", tmp_path / "out", code=1)
    assert "error: no lib/wasm32-wasip2/libc.a in" in said and "hint: " in said
    assert not (tmp_path / "out").exists()
    shutil.copytree(libpq.sysroot, tmp_path / "broken")
    (tmp_path / "broken/lib/wasm32-wasip2/libc.a").write_text("nothing\n")
    said = script("build-libpq.sh", "--sysroot", tmp_path / "broken", "--output", tmp_path / "out", code=1)
    assert f"error: cannot read '{tmp_path}/broken/lib/wasm32-wasip2/libc.a'" in said


def test_us_212_libpq_is_built_once(libpq, tmp_path):
    """The second build takes what the first left, and says no more than where it is."""
    (tmp_path / "include").mkdir()
    (tmp_path / "include/mine.h").touch()
    said = script("build-libpq.sh", "--psql", "--sysroot", libpq.sysroot, "--output", tmp_path)
    assert [line.split(": ")[1].split()[0] for line in said.splitlines()] == ["libpq", "psql"]
    assert (tmp_path / "include/mine.h").exists(), "what is there besides stays"
    for file in ("lib/libpq.a", "psql.wasm", "include/libpq-fe.h"):
        assert (tmp_path / file).read_bytes() == (libpq.output / file).read_bytes()
    assert "PostgreSQL Global Development Group" in (tmp_path / "COPYRIGHT").read_text()


@WAYS
def test_us_212_what_a_program_with_libpq_imports(libpq, way):
    """By WASI alone it runs in every host; with the shims it needs those that it uses, not that of signals."""
    wit = subprocess.run(
        [tool("wasm-tools"), "component", "wit", libpq.program("libpq.c", way)], text=True, capture_output=True,
        check=True,
    ).stdout  # fmt: skip
    wasi = set(re.findall(r"^  import wasi:([a-z]+)/", wit, re.M))
    assert wasi == {"cli", "clocks", "filesystem", "io", "random", "sockets"}
    others = re.findall(r"^  import (?!wasi:)(\S+)@", wit, re.M)
    shims = ["database-proxy", "dns", "filesystem"] if way == "shim" else []
    assert sorted(others) == [f"warpgrid:shim/{name}" for name in shims]


# -- with the pool ------------------------------------------------------------------------------


@WAYS
def test_us_212_libpq_works_through_the_pool(run, postgres, way):
    """PQconnectdb by a name that only WarpGrid knows, 2 MB, COPY both ways, PQcancel, the asynchronous
    interface with poll(), two connections at once. The guest has no password."""
    before = postgres.logins()
    assert good(run(way, *ALL)) == STEPS.format(user="nobody")
    assert 3 <= postgres.logins() - before < 6, "three at once; one after the other uses those"


@WAYS
def test_us_212_a_host_that_nobody_knows(run, way):
    out = run(way, "select", info="host=db.unknown.warp.local")
    assert bad(out) == 'status 1: could not translate host name "db.unknown.warp.local" to address: Name does not resolve\n'


@pytest.mark.parametrize("auth", ["guest", "relay"])
@WAYS
def test_us_212_a_wrong_password(run, postgres, way, auth):
    user, host = postgres.user, f'connection to server at "{HOST}"'
    info = f"user={user} password={postgres.password}"
    assert good(run(way, "select", "cancel", info=info, auth=auth)) == "select 1\ncancel 57014 soon\nselect 1\n"
    said = bad(run(way, "select", info=f"user={user} password=wrong", auth=auth))
    assert host in said and f'password authentication failed for user "{user}"' in said
    assert "in warp.toml" not in said, "the password is not there"
    said = bad(run(way, "select", info=f"user={user}", auth=auth))
    assert said.endswith("fe_sendauth: no password supplied\n")


@pytest.mark.parametrize("user", ["app_md5", "app_plain", "app_trust"])
def test_us_212_ways_to_log_in(run, postgres, user):
    info = f"user={user} password={postgres.password}"
    assert good(run("wasi", "connect", info=info, auth="relay")) == f"connect server 15, user {user}, database warpgrid\n"


@WAYS
def test_us_212_a_server_that_is_down(run, way):
    begun = time.monotonic()
    said = bad(run(way, "select", port=free_port(), connect_timeout="2s"))
    assert time.monotonic() - begun < 15 * SLOW
    assert f'connection to server at "{HOST}"' in said and "FATAL:" in said
    assert "refused" in said


@WAYS
def test_us_212_a_server_that_says_nothing(run, postgres, way):
    """The pool gives up, or libpq does, whoever is told the shorter time."""
    with FaultProxy(postgres.host, postgres.port) as proxy:
        proxy.stall()
        said = bad(run(way, "select", port=proxy.port, connect_timeout="1s"))
        assert said.endswith(f"no answer of 127.0.0.1:{proxy.port} within 1000 ms\n")
        said = bad(run(way, "select", info="connect_timeout=2", port=proxy.port, connect_timeout="60s"))
        assert said.endswith("timeout expired\n")


@WAYS
@pytest.mark.parametrize("how", ["terminate", "cut"])
def test_us_212_a_server_that_goes_away_meanwhile(run, postgres, way, how):
    with FaultProxy(postgres.host, postgres.port) as proxy:
        begun = Background(lambda: run(way, "select", "sleep=60", port=proxy.port))
        wait_until(lambda: "active" in dict(postgres.backends()).values(), "a question in progress", 30)
        postgres.terminate_backends() if how == "terminate" else proxy.cut()
        said = bad(begun.result())
    assert ("terminating connection due to administrator command" in said) == (how == "terminate")
    assert "server closed the connection unexpectedly" in said


# -- without WarpGrid ---------------------------------------------------------------------------


def test_us_212_the_same_program_in_another_host(libpq, postgres):
    info = f"host={postgres.host} port={postgres.port} dbname={postgres.database} user={postgres.user}"
    out = vanilla(libpq.program("libpq.c"), f"{info} password={postgres.password}", *ALL)
    assert good(out) == STEPS.format(user=postgres.user)


def test_us_212_errors_in_another_host(libpq, postgres):
    def said(**keys):
        keys = {"host": postgres.host, "port": postgres.port, "dbname": postgres.database, "user": postgres.user, **keys}
        return bad(vanilla(libpq.program("libpq.c"), " ".join(f"{k}={v}" for k, v in keys.items()), "select"))

    assert f'password authentication failed for user "{postgres.user}"' in said(password="wrong")
    assert said().endswith("fe_sendauth: no password supplied\n")
    assert 'could not translate host name "nowhere.invalid" to address' in said(host="nowhere.invalid")
    port = free_port()
    assert f'connection to server at "127.0.0.1", port {port} failed: Connection refused' in said(port=port)
    assert 'password authentication failed for user "nobody_here"' in said(user="nobody_here", password="x")


# -- psql ---------------------------------------------------------------------------------------


@pytest.fixture
def psql_words(libpq, postgres, tmp_path):
    """What `warp` is told to run psql, which may write in /data."""
    database = {
        "host": HOST, "address": "127.0.0.1", "address_port": postgres.port, "database": postgres.database,
        "user": postgres.user, "password_env": "TEST_PASSWORD",
    }  # fmt: skip
    (tmp_path / "warp.toml").write_text(toml({"databases": {"main": database}}))
    (tmp_path / "data").mkdir()
    words = ["-c", tmp_path / "warp.toml", "--dir", f"{tmp_path}/data::/data:rw"]
    return ["run", *words, libpq.psql, "--", "-h", HOST, "-d", postgres.database]


@pytest.fixture
def psql(warp, psql_words, postgres):
    """psql(ARGUMENT..., input=...): the finished psql on WarpGrid."""
    env = {"TEST_PASSWORD": postgres.password}
    return lambda *args, input="": warp(*psql_words, *args, env=env, input=input)


def test_us_212_psql_asks(psql, libpq):
    out = psql("-c", "select version()")
    assert good(out).split("\n")[2].startswith(" PostgreSQL 15.")
    assert out.stdout.endswith("(1 row)\n\n")
    assert good(psql("-At", "-c", "select 6 * 7", "-c", "select 'two'")) == "42\ntwo\n"
    version = re.search(r"^Version: (15\.\d+)$", (libpq.output / "lib/pkgconfig/libpq.pc").read_text(), re.M)[1]
    assert good(psql("--version")) == f"psql (PostgreSQL) {version}\n"


def test_us_212_psql_describes(psql, postgres):
    said = good(psql("-c", "\\d"))
    assert re.search(r"public \| test_users +\| table", said)
    native = postgres.psql("\\d test_users").stdout
    assert good(psql("-At", "-c", "\\d test_users")) == native


def test_us_212_psql_copies_both_ways(psql, postgres, tmp_path):
    assert good(psql("-c", "\\copy (select i, 'row ' || i from generate_series(1, 5000) i) to /data/rows.csv csv")) == "COPY 5000\n"
    text = (tmp_path / "data/rows.csv").read_text()
    assert text == "".join(f"{i},row {i}\n" for i in range(1, 5001))
    out = psql("-At", "-c", "create temp table t (i int, name text)", "-c", "\\copy t from /data/rows.csv csv",
               "-c", "select count(*), sum(i), max(name) from t")  # fmt: skip
    assert good(out) == "CREATE TABLE\nCOPY 5000\n5000|12502500|row 999\n"
    out = psql("-c", "\\copy test_users to /elsewhere.csv")
    assert out.returncode == 1 and out.stderr.startswith("/elsewhere.csv: ")


def test_us_212_psql_runs_a_script_from_stdin(psql, tmp_path):
    script = """
        \\set what 'it''s'
        create temp table s (i int);
        copy s from stdin;
1
2
\\.
        begin;
        insert into s values (3);
        rollback;
        select :'what', count(*) from s;
        \\if false
          select nope;
        \\endif
        \\o /data/out.txt
        select 'to a file';
    """
    out = psql("-At", "-q", input=script)
    assert good(out) == "it's|2\n"
    assert (tmp_path / "data/out.txt").read_text() == "to a file\n"
    (tmp_path / "data/script.sql").write_text("select 'of a file';\n")
    assert good(psql("-At", "-f", "/data/script.sql")) == "of a file\n"


def test_us_212_psql_s_exit_codes(psql):
    out = psql("-c", "select nope")
    assert (out.returncode, out.stdout) == (1, "")
    assert out.stderr == 'ERROR:  column "nope" does not exist\nLINE 1: select nope\n               ^\n'
    out = psql("-At", input="select nope;\nselect 'on';\n")
    assert (out.returncode, out.stdout) == (0, "on\n") and "ERROR" in out.stderr
    out = psql("-At", "-v", "ON_ERROR_STOP=1", input="select nope;\nselect 'on';\n")
    assert (out.returncode, out.stdout) == (3, "") and "ERROR" in out.stderr
    out = psql("-d", "undeclared", "-c", "select 1")
    assert out.returncode == 2 and "database 'undeclared'" in out.stderr
    assert psql("--nonsense").returncode == 1
    assert psql("-c", "\\q").returncode == 0


def test_us_212_psql_starts_no_programs(psql):
    """It says so, and goes on."""
    out = psql("-At", input="\\! ls\nselect 1 \\g | cat\nselect 'on';\n")
    assert good(out) == "on\n"
    assert out.stderr == "\\!: failed\n| cat: Function not implemented\n"


def test_us_212_psql_on_a_terminal(warp, psql_words, postgres, tmp_path):
    for end in ("\\q\n", "select pg_sleep(60);\n"):
        t = Terminal(warp, psql_words, tmp_path, env={"TEST_PASSWORD": postgres.password})
        t.wait_for("warpgrid=> ")
        t.type("select 6\n")
        t.wait_for("warpgrid-> ")
        t.type("* 7;\n")
        t.wait_for(" 42\r\n(1 row)")
        t.type(end)
        if "sleep" in end:  # psql knows of no signals: Ctrl-C ends it
            wait_until(lambda: "active" in dict(postgres.backends()).values(), "a question in progress", 30)
            t.type("\x03")
        assert t.end() == (0 if end == "\\q\n" else 130)


def test_us_212_a_password_by_pgpass(libpq, postgres, tmp_path):
    """Files have no modes in WASI, and libpq wants one that only their owner may read."""
    (tmp_path / "pgpass").write_text(f"{postgres.host}:*:*:*:{postgres.password}\n")
    (tmp_path / "pgpass").chmod(0o600)
    out = vanilla(
        libpq.psql, "-h", postgres.host, "-p", postgres.port, "-d", postgres.database, "-U", postgres.user, "-At",
        "-c", "select 1", options=["--dir", f"{tmp_path}::/home", "--env", "PGPASSFILE=/home/pgpass"],
    )  # fmt: skip
    assert good(out) == "1\n"


def test_us_212_psql_in_another_host(libpq, postgres, tmp_path):
    info = f"host={postgres.host} port={postgres.port} dbname={postgres.database} user={postgres.user}"
    args = [f"{info} password={postgres.password}", "-At", "-v", "ON_ERROR_STOP=1"]
    out = vanilla(libpq.psql, *args, input="select 6 * 7;\n\\copy (select 1) to /data/one\n", options=["--dir", f"{tmp_path}::/data"])
    assert good(out) == "42\nCOPY 1\n"
    assert (tmp_path / "one").read_text() == "1\n"
    assert vanilla(libpq.psql, *args, input="select nope;\n").returncode == 3
