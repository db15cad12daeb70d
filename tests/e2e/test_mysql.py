# SPDX-License-Identifier: Apache-2.0
"""US-115, US-117: guests that speak to MariaDB: sqlx over sockets, which never heard of WarpGrid, and a
program that speaks the protocol itself through the database proxy's own interface."""
import subprocess

import pytest
from fault_proxy import FaultProxy
from harness import rust_guest, toml, word
from infra import ROOT

HOST = "db.test.warp.local"
SHIM = pytest.mark.parametrize("kind", ["p2", "p3"])


def tables(my, **more):
    """warp.toml for a guest that may use `my` under the name HOST."""
    database = {
        "protocol": "mysql",
        "host": HOST,
        "address": my.host,
        "address_port": my.port,
        "database": my.database,
        "user": my.user,
        "password_env": "TEST_DB_PASSWORD",
    }
    env = {"DB_HOST": HOST, "DB_PORT": "3306", "DB_NAME": my.database, "DB_USER": "anybody"}
    env.update(more.pop("env", {}))
    database.update(more)
    database = {key: value for key, value in database.items() if value is not None}
    return {"env": env, "limits": {"memory": "512MiB"}, "databases": {"test": database}}


@pytest.fixture
def run(warp, mysql, tmp_path):
    """run(GUEST, WORD...): the lines of a command; keys of the database's table follow."""

    def start(component, *words, code=0, **more):
        (tmp_path / "warp.toml").write_text(toml(tables(mysql, **more)))
        out = warp("run", component, "--", *words, cwd=tmp_path, env={"TEST_DB_PASSWORD": mysql.password})
        assert out.returncode == code, out.stdout + out.stderr
        return out.stdout.splitlines()

    return start


@pytest.fixture
def sqlx(run):
    component = rust_guest("rust-mysql", "my_sqlx")
    return lambda *steps, **more: run(component, *steps, **more)


ID = word("SELECT CAST(CONNECTION_ID() AS CHAR)")


def test_us_117_mysql_async(run):
    """Another driver, with its own way of doing everything, and a pool that resets sessions itself."""
    component = rust_guest("rust-mysql", "my_async")
    rows = word("SELECT id, label FROM e2e_async ORDER BY id")
    lines = run(
        component, "connect a", f"run a {word('CREATE OR REPLACE TABLE e2e_async (id INT PRIMARY KEY, label TEXT)')}",
        "insert a 1 one", "insert a 2 %C3%A4%27s", f"rows a {rows}", "transaction a 3 three", f"rows a {rows}",
        f"rows a {ID}", f"rows a {word('SELECT nonsense')}", f"run a {word('DROP TABLE e2e_async')}", "close a",
        "connect b", f"rows b {ID}", "close b", pool_size=1,
    )  # fmt: skip
    assert lines[0].startswith("ok 10.") and lines[2:4] == ["ok 1", "ok 1"], lines
    assert lines[4] == lines[6] == "ok 1|one 2|%C3%A4's" and lines[5] == "ok 3", "a transaction that was rolled back"
    assert lines[8].startswith("error 42S22%201054%20") and lines[9:11] == ["ok 0", "ok"]
    assert lines[12] == lines[7], "close, then connect, and it is the same session"
    found = run(component, f"pool 3 20 {ID}", pool_size=3)[0].split()
    assert found[0] == "ok" and len(found) == 21 and len(set(found[1:])) <= 3, "its pool is on top of the host's"


def test_us_117_sqlx_creates_inserts_selects_drops(sqlx):
    rows = word("SELECT CAST(id AS CHAR), label FROM e2e_sqlx ORDER BY id")
    lines = sqlx(
        "connect a",
        f"run a {word('DROP TABLE IF EXISTS e2e_sqlx')}",
        f"run a {word('CREATE TABLE e2e_sqlx (id INT PRIMARY KEY, label TEXT)')}",
        "insert a 1 one", "insert a 2 %C3%A4%27s", f"rows a {rows}",
        "transaction a 3 three", f"rows a {rows}", f"rows a {ID}",
        f"run a {word('UPDATE e2e_sqlx SET label = NULL WHERE id = 1')}", f"rows a {rows}",
        f"run a {word('DROP TABLE e2e_sqlx')}", "ping a", "close a",
        "connect b", f"rows b {ID}", f"text b {word('SELECT DATABASE(); SELECT 2')}", "close b",
        pool_size=1,
    )  # fmt: skip
    assert lines[0] == lines[12] == lines[13] == lines[17] == "ok"
    assert lines[3:6] == ["ok 1", "ok 1", "ok 1|one 2|%C3%A4's"]
    assert lines[6] == "ok 3" and lines[7] == lines[5], "a transaction that was rolled back"
    assert lines[9] == "ok 1" and lines[10] == "ok 1| 2|%C3%A4's"
    assert lines[8] == lines[15], "close, then connect, and it is the same session"
    assert lines[16] == "ok shop 2"


def test_sqlx_sees_the_servers_errors_and_they_cost_no_session(sqlx):
    steps = [
        step
        for _ in range(4)
        for step in ("connect a", f"rows a {word('SELECT nonsense')}", f"rows a {ID}", "close a")
    ]
    lines = sqlx(*steps, pool_size=1)
    assert all(line.startswith("error 42S22%20") for line in lines[1::4]), lines
    assert len(set(lines[2::4])) == 1


def test_large_values_pass(sqlx):
    lines = sqlx("connect a", "large a 100000", "large a 20000000", f"rows a {ID}", "close a", "connect b", f"rows b {ID}")
    assert lines[1:3] == ["ok 100000", "ok 20000000"] and lines[3] == lines[6]


def test_nothing_of_a_guest_is_left_for_the_next(sqlx):
    lines = sqlx(
        "connect a", f"rows a {ID}", f"text a {word('USE till')}", f"text a {word('SET @mine = 7')}",
        f"text a {word('CREATE TEMPORARY TABLE t1 (x INT)')}", f"text a {word('BEGIN')}", "close a",
        "connect b", f"rows b {ID}", f"text b {word('SELECT DATABASE(), CAST(@mine AS CHAR)')}",
        f"text b {word('SELECT * FROM t1')}", f"text b {word('SELECT CAST(@@in_transaction AS CHAR)')}", "close b",
        pool_size=1,
    )  # fmt: skip
    assert lines[1] == lines[8] and lines[9] == "ok shop|"
    assert lines[10].startswith("error 42S02%20") and lines[11] == "ok 0"


def test_a_pool_in_the_guest_is_on_top_of_the_hosts(sqlx):
    lines = sqlx(f"pool 3 30 {ID}", pool_size=3)
    found = lines[0].split()
    assert found[0] == "ok" and len(found) == 31 and len(set(found[1:])) <= 3


def test_guests_with_their_own_password(sqlx, mysql):
    mysql.run("CREATE OR REPLACE USER 'mine'@'%' IDENTIFIED BY 'my secret'; GRANT ALL ON shop.* TO 'mine'@'%'")
    who = word("SELECT CURRENT_USER()")
    own = {"DB_USER": "mine", "DB_PASSWORD": "my secret"}
    for auth in ("guest", "relay"):
        keys = {"auth": auth, "user": None, "password_env": None}
        lines = sqlx("connect a", f"rows a {who}", "close a", env=own, **keys)
        assert lines == ["ok", "ok mine@%25", "ok"], auth
        lines = sqlx("connect a", env={**own, "DB_PASSWORD": "wrong"}, **keys)
        assert lines[0].startswith("error 28000%20") and "Access%20denied" in lines[0], (auth, lines)
    lines = sqlx("connect a", f"rows a {who}", env=own)
    assert lines[1] == "ok app@%25", "the service's, whatever the guest says"


def test_another_database_is_refused(sqlx):
    lines = sqlx("connect a", env={"DB_NAME": "till"})
    assert lines[0].startswith("error 42000%20") and "till" in lines[0]


@SHIM
def test_us_117_through_the_database_proxy(run, guest, kind):
    lines = run(
        guest(f"mysqltool-{kind}"),
        "CREATE TABLE things (id INT, name TEXT)", "INSERT INTO things VALUES (1, 'one'), (2, NULL)",
        "SELECT name FROM things ORDER BY id", "DROP TABLE things", "SELECT nonsense",
    )  # fmt: skip
    assert lines[:4] == ["ok", "ok", "ok one NULL", "ok"] and lines[4].startswith("error 42S22 1054 ")


@SHIM
def test_us_117_close_then_connect_is_the_same_session(run, guest, kind):
    lines = run(guest(f"mysqltool-{kind}"), "SELECT CONNECTION_ID()", "SET @a = 1", "SELECT @a", "SELECT CONNECTION_ID()",
                env={"DB_SHARE": "1"})  # fmt: skip
    assert lines[1:3] == ["ok", "ok NULL"] and lines[0] == lines[3]


# What a guest leaves behind, and what the next one must find.
LEFT = (
    "CREATE TEMPORARY TABLE mine (x INT); SET @mine = 7, autocommit = 0, sql_mode = 'ANSI'; SET NAMES latin1; "
    "USE till; BEGIN; DO GET_LOCK('mine', 0); PREPARE mine FROM 'SELECT 1'"
)
FOUND = (
    "SELECT CONCAT_WS(',', CURRENT_USER(), DATABASE(), IFNULL(@mine, 'none'), @@autocommit, @@character_set_client, "
    "@@in_transaction, IFNULL(IS_USED_LOCK('mine'), 'free'), @@sql_mode = @@global.sql_mode)"
)


@pytest.mark.parametrize("plugin", ["mysql_native_password", "ed25519"])
def test_us_115_servers_without_com_reset_connection(run, guest, mysql, plugin):
    """MariaDB behind a relay that makes the command one that it does not know: COM_CHANGE_USER instead."""
    if plugin == "ed25519":
        mysql.run("INSTALL SONAME 'auth_ed25519'")
    mysql.run(f"CREATE OR REPLACE USER 'old'@'%' IDENTIFIED VIA {plugin} USING PASSWORD('{mysql.password}'); "
              "GRANT ALL ON *.* TO 'old'@'%'")  # fmt: skip
    with FaultProxy(mysql.host, mysql.port) as relay:
        relay.rewrite(b"\1\0\0\0\x1f", b"\1\0\0\0\x7f")
        lines = run(guest("mysqltool-p2"), *["SELECT CONNECTION_ID()", LEFT, FOUND, "SELECT 1 FROM mine", "EXECUTE mine"] * 3,
                    env={"DB_SHARE": "1"}, user="old", address_port=relay.port, pool_size=1)  # fmt: skip
        assert relay.rewritten == 1, "it is tried once a connection"
    assert lines[0] == lines[5] == lines[10], "all of it in one session"
    assert lines[1] == "ok" and lines[2] == "ok old@%,shop,none,ON,utf8mb4,0,free,1"
    assert lines[3].startswith("error 42S02 1146 ") and lines[4].startswith("error HY000 1243 ")
    assert lines[1:5] == lines[6:10] == lines[11:15]


def test_a_server_that_is_not_there(sqlx, run, guest):
    nobody = {"address_port": 1}
    lines = sqlx("connect a", **nobody)
    assert lines[0].startswith("error ") and "127.0.0.1:1" in lines[0]
    lines = run(guest("mysqltool-p2"), "SELECT 1", code=1, **nobody)
    assert lines[0].startswith("error 08001 connection-failed: ")


# ---- MariaDB Connector/C, as upstream wrote it ----------------------------------------------------


@pytest.fixture(scope="session")
def connector_c(tmp_path_factory):
    out = tmp_path_factory.mktemp("drivers")
    made = subprocess.run([ROOT / "scripts" / "build-guest-drivers.sh", "--out", out, "mysql_c"],
                          capture_output=True, text=True, timeout=600)  # fmt: skip
    assert made.returncode == 0, made.stderr
    return out / "mysql_c.wasm"


def test_us_117_connector_c(run, connector_c):
    place = [HOST, "3306", "anybody", "", "shop"]
    lines = run(
        connector_c, *place, "CREATE OR REPLACE TABLE e2e_c (id INT, label TEXT)",
        "INSERT INTO e2e_c VALUES (1, 'one'), (2, NULL)", "SELECT * FROM e2e_c ORDER BY id",
        "prepared 1 SELECT id FROM e2e_c WHERE id > ?", "SELECT 1; DO 2; SELECT 'a', 'b'", "SELECT nonsense",
        "SELECT CONNECTION_ID()", "SET @mine = 1", "USE till", "connect", "SELECT CONNECTION_ID()",
        "SELECT @mine, DATABASE()", "DROP TABLE e2e_c", pool_size=1,
    )  # fmt: skip
    assert lines[:4] == ["connected", "ok 0", "ok 2", "1,one|2,NULL"], lines
    assert lines[4] == "2" and lines[5] == "1 ; ok 0 ; a,b" and lines[6].startswith("error 1054 42S22: ")
    assert lines[10] == "connected" and lines[7] == lines[11], "close, then connect, and it is the same session"
    assert lines[12] == "NULL,shop" and lines[13] == "ok 0"


@pytest.mark.parametrize("auth", ["guest", "relay"])
def test_connector_c_with_its_own_password(run, mysql, connector_c, auth):
    mysql.run("CREATE OR REPLACE USER 'c'@'%' IDENTIFIED BY 'my secret'; GRANT ALL ON shop.* TO 'c'@'%'")
    keys = {"auth": auth, "user": None, "password_env": None}
    if auth == "guest":  # built without TLS it has no RSA, which the way in full needs
        lines = run(connector_c, HOST, "3306", "c", "my secret", "shop", code=1, **keys)
        assert lines[0].startswith("error ")
        return
    lines = run(connector_c, HOST, "3306", "c", "my secret", "shop", "SELECT CURRENT_USER()", **keys)
    assert lines == ["connected", "c@%"]
