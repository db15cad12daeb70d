# SPDX-License-Identifier: Apache-2.0
"""US-116, US-117: guests that speak to Redis: hiredis and the crate `redis` over sockets, which never heard
of WarpGrid, and a program that speaks the protocol itself through the database proxy's own interface."""
import subprocess

import pytest
from harness import ROOT, rust_guest, toml

HOST = "cache.test.warp.local"
SHIM = pytest.mark.parametrize("kind", ["p2", "p3"])


@pytest.fixture
def run(warp, redis, tmp_path):
    """run(GUEST, WORD...): the lines of a command; keys of the database's table follow."""

    def start(component, *words, code=0, env=None, **more):
        database = {
            "protocol": "redis",
            "host": HOST,
            "address": redis.host,
            "address_port": redis.port,
            "password_env": "TEST_REDIS_PASSWORD",
        }
        database.update(more)
        database = {key: value for key, value in database.items() if value is not None}
        tables = {"env": {"DB_HOST": HOST, **(env or {})}, "databases": {"test": database}}
        (tmp_path / "warp.toml").write_text(toml(tables))
        out = warp("run", component, "--", *words, cwd=tmp_path, env={"TEST_REDIS_PASSWORD": redis.password})
        assert out.returncode == code, out.stdout + out.stderr
        return out.stdout.splitlines()

    return start


# ---- the shim -------------------------------------------------------------------------------------


@SHIM
def test_us_117_set_get_del_through_the_database_proxy(run, guest, kind):
    lines = run(guest(f"redistool-{kind}"), "SET e2e one", "GET e2e", "DEL e2e", "GET e2e", "nonsense")
    assert lines[:4] == ["+OK", "$3 one", ":1", "$-1"] and lines[4].startswith("-ERR unknown command")


@SHIM
def test_us_117_close_then_connect_is_the_same_session(run, guest, kind):
    lines = run(
        guest(f"redistool-{kind}"), "CLIENT ID", "SELECT 3", "CLIENT SETNAME mine", "CLIENT GETNAME",
        "SET e2e_selected 1", "SELECT 3", "CLIENT ID", env={"DB_SHARE": "1"}, pool_size=1,
    )  # fmt: skip
    assert lines[3] == "$-1" and lines[0] == lines[6]


def test_a_guest_of_the_shim_brings_its_password(run, guest):
    own = {"auth": "guest", "password_env": None}
    tool = guest("redistool-p2")
    lines = run(tool, "ACL WHOAMI", env={"DB_USER": "app", "DB_PASSWORD": "app secret"}, **own)
    assert lines == ["$3 app"]
    lines = run(tool, "ACL WHOAMI", env={"DB_USER": "app", "DB_PASSWORD": "wrong"}, **own)
    assert lines[0].startswith("-WRONGPASS ")
    lines = run(tool, "ACL WHOAMI", **own)
    assert lines == ["-NOAUTH Authentication required."]


def test_an_undeclared_database_is_refused(run, guest):
    lines = run(guest("redistool-p2"), "PING", code=1, env={"DB_NAME": "3"})
    assert "is not declared" in lines[0]
    lines = run(guest("redistool-p2"), "SELECT 3", "PING", env={"DB_NAME": "3"}, database="3")
    assert lines == ["+OK", "+PONG"]


def test_a_server_that_is_not_there(run, guest):
    lines = run(guest("redistool-p2"), "PING", code=1, address_port=1)
    assert lines[0].startswith("error 08001 connection-failed: ")


# ---- hiredis, as upstream wrote it ----------------------------------------------------------------


@pytest.fixture(scope="session")
def hiredis(tmp_path_factory):
    out = tmp_path_factory.mktemp("drivers")
    made = subprocess.run([ROOT / "scripts" / "build-guest-drivers.sh", "--out", out, "redis_c"],
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert made.returncode == 0, made.stderr
    return out / "redis_c.wasm"


def test_us_117_hiredis(run, hiredis):
    lines = run(
        hiredis, HOST, "6379", "SET e2e_c one", "GET e2e_c", "pipe INCR e2e_n; INCR e2e_n", "DEL e2e_c e2e_n",
        "CLIENT ID", "MULTI", "SET e2e_c two", "SELECT 5", "connect", "CLIENT ID", "GET e2e_c", "AUTH any thing",
        "HELLO 3", "PING", pool_size=1,
    )  # fmt: skip
    assert lines[:3] == ["connected", "OK", "one"] and lines[3:6] == ["1", "2", "2"], lines
    assert lines[7:10] == ["OK", "QUEUED", "QUEUED"] and lines[10] == "connected"
    assert lines[6] == lines[11] and lines[12] == "nil", "the same session, and nothing of MULTI is left"
    assert lines[13].startswith("error: WRONGPASS"), "too late: a later AUTH is the server's"
    assert lines[-1] == "PONG"


@pytest.mark.parametrize("auth", ["guest", "relay"])
def test_us_116_hiredis_with_its_own_password(run, hiredis, redis, auth):
    own = {"auth": auth, "password_env": None}
    redis.ask("ACL", "SETUSER", "mine", "on", ">secret", "~*", "&*", "+@all")
    lines = run(hiredis, HOST, "6379", "PING", "AUTH mine secret", "ACL WHOAMI", "connect", "PING", **own)
    assert lines[1].startswith("error: NOAUTH") and lines[2:5] == ["OK", "mine", "connected"]
    assert lines[5].startswith("error: NOAUTH"), "nobody else's log-in"
    lines = run(hiredis, HOST, "6379", "AUTH mine wrong", **own)
    assert lines[1].startswith("error: WRONGPASS")


# ---- the crate `redis` ----------------------------------------------------------------------------


@pytest.fixture
def crate(run):
    component = rust_guest("rust-redis", "redis_rs")

    def start(*steps, url=f"redis://{HOST}:6379/", **more):
        return run(component, *steps, env={"REDIS_URL": url}, **more)

    return start


def test_us_117_redis_rs_sets_gets_deletes(crate):
    lines = crate(
        "connect a", "ask a SET e2e_rs one", "ask a GET e2e_rs", "ask a DEL e2e_rs", "ask a GET e2e_rs",
        "pipeline a 1000", "ask a DEL e2e_pipeline", "transaction a e2e_t", "ask a nonsense", "ask a CLIENT ID",
        "close a", "connect b", "ask b CLIENT ID", "close b", pool_size=1,
    )  # fmt: skip
    assert lines[:5] == ["ok", "ok OK", "ok one", "ok 1", "ok nil"], lines
    assert lines[5] == "ok 500500" and lines[7] == "ok 42" and lines[8].startswith("error ")
    assert lines[9] == lines[12], "close, then connect, and it is the same session"


@pytest.mark.parametrize("protocol", ["", "?protocol=resp3"])
def test_redis_rs_logs_in_and_selects_before_all_else(crate, protocol):
    steps = ["connect a", "ask a CLIENT INFO", "ask a ACL WHOAMI", "ask a CLIENT ID", "close a"]
    lines = crate(*steps, *steps, url=f"redis://me:anything@{HOST}:6379/7{protocol}", pool_size=1)
    assert "db=7" in lines[1].replace("%3D", "=") and lines[2] == "ok default", "the service's log-in"
    assert lines[3] == lines[8], "HELLO, AUTH, SELECT and CLIENT SETINFO cost no session"


def test_redis_rs_hears_what_is_published(warp, redis, tmp_path):
    component = rust_guest("rust-redis", "redis_rs")
    table = {"protocol": "redis", "host": HOST, "address": redis.host, "address_port": redis.port}
    table["password_env"] = "TEST_REDIS_PASSWORD"
    tables = {"env": {"REDIS_URL": f"redis://{HOST}:6379/"}, "databases": {"test": table}}
    (tmp_path / "warp.toml").write_text(toml(tables))
    command = [warp.binary, "run", component, "--", "connect a", "hear a news"]
    env = warp.env({"TEST_REDIS_PASSWORD": redis.password})
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True) as guest:
        assert guest.stdout.readline() == "ok\n"
        assert guest.stdout.readline() == "listening\n"
        assert redis.ask("PUBLISH", "news", "hot") == ":1"
        assert guest.stdout.readline() == "ok hot\n"
        assert guest.wait(30) == 0
