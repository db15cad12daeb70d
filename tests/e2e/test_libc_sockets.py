# SPDX-License-Identifier: Apache-2.0
"""US-209, US-210, US-211: programs of C on the patched library reach real databases over sockets, each
in both links: by WASI, and by database-proxy with -lwarpgrid_shim. The program is guests/dbsock.c."""

import pytest
from harness import toml
from libc import ROOT, Series, compile_c, imports, tool

WAYS = pytest.mark.parametrize("way", ["wasi", "shim"])
HOST = "cache.test.warp.local"
PROXY = "warpgrid:shim/database-proxy@0.1.0"
SHIMS = "needs the shims filesystem, dns, database_proxy: a host with WASI alone cannot run it"
# Where nobody is: RFC 5737.
NOWHERE = "192.0.2.55"


@pytest.fixture(scope="session")
def dbsock(tmp_path_factory):
    """The program in each way."""
    tool("wasm-tools")
    folder = tmp_path_factory.mktemp("libc")
    Series(folder).run("build-libc.sh", "--patched", "--output", folder / "sysroot")
    source, flags = ROOT / "tests/e2e/guests/dbsock.c", ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Werror")
    return {
        "wasi": compile_c(folder / "sysroot", source, folder / "wasi.wasm", *flags),
        "shim": compile_c(folder / "sysroot", source, folder / "shim.wasm", *flags, "-lwarpgrid_shim"),
    }


def test_us_209_pack_and_validate_say_which_link_it_is(warp, dbsock, tmp_path):
    sysroot = dbsock["wasi"].parent / "sysroot"
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.c").write_text((ROOT / "tests/e2e/guests/dbsock.c").read_text())
    for flags, needs in (([], "needs WASI alone: other hosts can run it, too"), (["-lwarpgrid_shim"], SHIMS)):
        (tmp_path / "warp.toml").write_text(toml({"name": "dbsock", "lang": "c", "build": {
            "world": "command-p2", "flags": [f"--sysroot={sysroot}", "-D_GNU_SOURCE", *flags]}}))
        out = warp("pack", "--verbose", cwd=tmp_path)
        assert out.returncode == 0 and f"\n  {needs}\n" in out.stderr, out.stderr
        out = warp("validate", "dist/dbsock.wasm", cwd=tmp_path)
        assert out.stdout.splitlines()[1] == needs


@pytest.fixture
def do(warp, dbsock, redis, tmp_path):
    """do(WAY, STEP...): its lines, with the Redis declared as HOST:6379; `more` are keys of its table."""

    def run(way, *steps, host=HOST, port=6379, declared=HOST, code=0, tables=None, databases=None, env=None, **more):
        database = {"protocol": "redis", "host": declared, "address": "127.0.0.1",
                    "address_port": redis.port, "password_env": "TEST_REDIS", **more}
        tables = {"databases": databases or {"cache": database}, **(tables or {})}
        (tmp_path / "warp.toml").write_text(toml(tables))
        out = warp("run", dbsock[way], "--", host, str(port), *map(str, steps), cwd=tmp_path,
                   env={"TEST_REDIS": redis.password, **(env or {})})
        assert out.returncode == code, out.stdout + out.stderr
        return out.stdout.splitlines()

    return run


def test_us_209_the_two_links_import_what_they_use(dbsock):
    assert not any(name.startswith("warpgrid:") for name in imports(dbsock["wasi"]))
    assert PROXY in imports(dbsock["shim"])


@WAYS
def test_us_209_us_210_a_database_by_its_host(do, way):
    assert do(way, "ping", "peek", "nonblock", "two", "shutdown") == [
        "ping: +PONG port 6379", "peek: ok", "nonblock: ok", "two: ok", "shutdown: ok"]


@WAYS
def test_us_209_a_database_by_its_own_name_and_by_an_address(do, way):
    assert do(way, "peek", host="cache.db.warp.local") == ["peek: ok"]
    assert do(way, "peek", host=NOWHERE, declared=NOWHERE) == ["peek: ok"]
    assert do(way, "peek", host="localhost", declared="localhost") == ["peek: ok"]


def test_us_209_the_file_says_what_is_a_database(do):
    """Another proxy.conf in the place of the host's: what is not in it is WASI's, which has no such place."""
    file = {"/etc/warpgrid/proxy.conf": {"text": f"cache redis {HOST} 6379 * {NOWHERE}\n"}}
    tables = {"shims": {"filesystem": {"extra_virtual_paths": file}}}
    assert do("shim", "ping", host=NOWHERE, tables=tables) == ["ping: +PONG port 6379"]
    assert do("wasi", "ping", host=NOWHERE, tables=tables, code=1) == ["connect: Permission denied"]
    assert do("shim", "ping", host=NOWHERE, port=6380, tables=tables, code=1) == ["connect: Permission denied"]


@WAYS
def test_us_209_what_is_not_declared_is_refused(do, way):
    assert do(way, "ping", port=6380, code=1) == ["connect: Permission denied"]
    assert do(way, "ping", host=NOWHERE, code=1) == ["connect: Permission denied"]


def test_us_209_without_the_shim_a_program_that_needs_it_is_refused(do, dbsock, warp, tmp_path):
    do("wasi", "ping")
    config = (tmp_path / "warp.toml").read_text()
    (tmp_path / "warp.toml").write_text(config + "\n[shims]\ndatabase_proxy = false\n")
    env = {"TEST_REDIS": "unused"}
    out = warp("run", dbsock["shim"], "--", HOST, "6379", "ping", cwd=tmp_path, env=env)
    assert out.returncode != 0 and PROXY in out.stderr
    out = warp("run", dbsock["wasi"], "--", HOST, "6379", "ping", cwd=tmp_path, env=env)
    assert out.returncode == 1 and "ping:" not in out.stdout


@WAYS
def test_us_210_two_megabytes_both_ways(do, way):
    assert do(way, "big", 2 << 20) == [f"big: {2 << 20} bytes, 0 pieces wrong"]


@WAYS
def test_us_210_a_server_that_speaks_first(do, mysql, way):
    more = {"protocol": "mysql", "port": 3306, "address_port": mysql.port, "user": mysql.user, "database": mysql.database,
            "password_env": "TEST_MYSQL"}
    assert do(way, "greet", env={"TEST_MYSQL": mysql.password}, **more) == ["greet: protocol 10"]


@WAYS
def test_us_209_the_start_up_says_which_database_of_a_place(do, postgres, way):
    """Two databases at one address; a name of its own leads to one of them alone."""
    postgres.sql("DROP DATABASE IF EXISTS other")
    postgres.sql("CREATE DATABASE other")
    place = {"host": "db.test.warp.local", "address": "127.0.0.1", "address_port": postgres.port,
             "user": postgres.user, "password_env": "TEST_PG"}
    tables = {"first": {**place, "database": postgres.database}, "second": {**place, "database": "other"}}

    def start(host, *databases):
        steps = [word for name in databases for word in ("start", name)]
        return do(way, *steps, databases=tables, host=host, port=5432, env={"TEST_PG": postgres.password})

    ready = "start: R Z"
    assert start("db.test.warp.local", postgres.database, "other") == [ready, ready]
    lines = start("second.db.warp.local", "other", postgres.database)
    assert lines[0] == ready
    assert lines[1].startswith("start: ESFATAL|VFATAL|C3D000|")


@WAYS
def test_us_211_a_server_that_is_down(do, way):
    """It is told in the protocol's own words."""
    lines = do(way, "ping", address_port=1, connect_timeout="2s", code=1)
    assert len(lines) == 1 and lines[0].startswith("-ERR database 'cache'")


@WAYS
@pytest.mark.parametrize("count", [100, 10_000])
def test_us_211_connections_leave_nothing_behind(do, redis, way, count):
    def received():
        return int(redis.cli("INFO", "stats").split("total_connections_received:")[1].split()[0])

    before = received()
    assert do(way, "cycles", count, pool_size=2) == [f"cycles: {count}, 0 pages more"]
    assert received() - before <= 4  # the pool's, and the questions'
