# SPDX-License-Identifier: Apache-2.0
"""The databases of soak.py: what is asked of each, what its answer must be, and how it is harmed.

A question is the text that the guest sends and a check of the lines that it answers. `canary` asks what a
session must not know of its last user, and then leaves all of that behind."""
import os
import re
from collections import Counter

from infra import MySQL, Postgres, Redis, wait_until


class Side:
    """One server; `direct` and, once `proxy` is set, `proxied`."""

    protocol = None

    def __init__(self):
        self.proxy = None
        self.hosts = [f"{self.name}-{way}.soak.example" for way in ("direct", "proxied")]

    def params(self, host):
        """Of a request to the guest."""
        p = {"host": host, "port": self.port, "db": self.keys.get("database", ""), "user": "anybody"}
        return {**p, "proto": self.protocol} if self.protocol else p

    def question(self, op, token, rng):
        """(None, None): an operation that is another path."""
        n, op = rng.randrange(1, 1 << 30), "sleep" if op == "abort" else op
        ask = getattr(self, op, None)
        return ask(token, n, rng) if ask else (None, None)

    def is_fault(self, body):
        """Whether a refusal tells of a server that went, not of what was asked."""
        return False


class PostgresSide(Side):
    name, port, well = "postgres", 5432, "SELECT 'well'"
    refusal = "22012 "

    def __init__(self, folder):
        super().__init__()
        # The server's log is kept small, and what it acknowledged survives its end.
        pg = self.server = Postgres(folder, "--set", "synchronous_commit=on", "--set", "log_connections=off",
                                    "--set", "log_disconnections=off", "--set", "log_min_messages=panic")  # fmt: skip
        self.password = pg.password
        self.keys = {"database": pg.database, "user": pg.user}
        pg.psql(f"CREATE TABLE soak (t text PRIMARY KEY); GRANT ALL ON soak TO {pg.user}; "
                f"GRANT ALL ON SCHEMA public TO {pg.user}")  # fmt: skip

    def canary(self, token, n, rng):
        want = f"{token}|||0|0|0|warpgrid"
        return (
            f"SELECT '{token}', coalesce(current_setting('soak.canary', true), ''), "
            "coalesce(to_regclass('pg_temp.canary')::text, ''), (SELECT count(*) FROM pg_prepared_statements), "
            "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
            "(SELECT count(*) FROM pg_listening_channels()), current_setting('application_name'); "
            f"SET soak.canary = '{token}'; CREATE TEMPORARY TABLE canary (t text); PREPARE canary AS SELECT 1; "
            f"SELECT pg_advisory_lock({n}) IS NULL; LISTEN canary; SET application_name = '{token}'"
        ), lambda rows: rows[:1] == [want]

    def echo(self, token, n, rng):
        return f"SELECT '{token}', {n}, md5('{token}')", lambda rows: rows[0].startswith(f"{token}|{n}|")

    def insert(self, token, n, rng):
        return f"INSERT INTO soak VALUES ('{token}') RETURNING t", lambda rows: rows == [token]

    def big(self, token, n, rng):
        size = rng.randrange(1000, 400000)
        return f"SELECT '{token}', repeat('x', {size})", lambda rows: rows == [f"{token}|{'x' * size}"]

    def sleep(self, token, n, rng):
        return f"SELECT pg_sleep({rng.random():.2f}), '{token}'", lambda rows: rows == [f"|{token}"]

    def error(self, token, n, rng):
        return f"SELECT 1 / 0, '{token}'", None

    def leave(self, token, n, rng):
        return f"BEGIN; CREATE TABLE left_{token} (t text); SELECT '{token}'", lambda rows: rows == [token]

    def backend(self):
        out = self.server.psql(
            f"SELECT pid FROM pg_stat_activity WHERE usename = '{self.server.user}' ORDER BY random() LIMIT 1",
            check=False,
        )
        return int(out.stdout) if out.returncode == 0 and out.stdout.strip() else None

    def terminate(self):
        self.server.psql(f"SELECT pg_terminate_backend({self.backend() or 0})", check=False)

    def kill9(self):
        """The server then ends all its sessions and recovers."""
        pid = self.backend()
        if pid:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass

    def restart(self):
        self.server.restart("immediate")

    def wait_ready(self):
        self.server.wait_ready()

    def written(self):
        return Counter(row[0] for row in self.server.sql("SELECT t FROM soak"))

    def left(self):
        return int(self.server.scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'left\\_t%'"))


class MySQLSide(Side):
    name, protocol, port, well = "mysql", "mysql", 3306, "SELECT 'well'"
    refusal = "22012 "
    FAULT = re.compile(r"(70100 1317|70100 1927|HY000 1927|HY000 2013|08S01 ) ?")

    def __init__(self, folder):
        super().__init__()
        my = self.server = MySQL(folder)
        self.password = my.password
        self.keys = {"protocol": "mysql", "database": my.database, "user": my.user}
        self.safe()
        my.run("CREATE TABLE soak (t VARCHAR(64) PRIMARY KEY); CREATE TABLE left_over (t VARCHAR(64))")

    def safe(self):
        """What the server acknowledges is to survive its end."""
        self.server.run("SET GLOBAL innodb_flush_log_at_trx_commit = 2")

    def canary(self, token, n, rng):
        want = f"{token}||shop|1|utf8mb4||0"
        return (
            f"SELECT '{token}', COALESCE(@canary, ''), DATABASE(), @@autocommit, @@character_set_client, "
            "REPLACE(@@sql_mode, @@global.sql_mode, ''), "
            "COALESCE(IS_USED_LOCK(CONCAT('canary', CONNECTION_ID())), 0); "
            f"CREATE TEMPORARY TABLE canary (t INT); SET @canary = '{token}', autocommit = 0, sql_mode = 'ANSI'; "
            "PREPARE canary FROM 'SELECT 1'; SET NAMES latin1; DO GET_LOCK(CONCAT('canary', CONNECTION_ID()), 0); "
            "USE till"
        ), lambda rows: rows[:1] == [want]

    def echo(self, token, n, rng):
        return f"SELECT '{token}', {n}; SELECT MD5('{token}')", lambda rows: rows[0] == f"{token}|{n}"

    def insert(self, token, n, rng):
        return f"INSERT INTO soak VALUES ('{token}') RETURNING t", lambda rows: rows == [token]

    def big(self, token, n, rng):
        size = rng.randrange(1000, 400000)
        return f"SELECT '{token}', REPEAT('x', {size})", lambda rows: rows == [f"{token}|{'x' * size}"]

    def sleep(self, token, n, rng):
        return f"SELECT SLEEP({rng.random():.2f}), '{token}'", lambda rows: rows in ([f"0|{token}"], [f"1|{token}"])

    def error(self, token, n, rng):
        return f"SIGNAL SQLSTATE '22012' SET MESSAGE_TEXT = '{token}'", None

    def leave(self, token, n, rng):
        return f"BEGIN; INSERT INTO left_over VALUES ('{token}'); SELECT '{token}'", lambda rows: rows == [token]

    def is_fault(self, body):
        return self.FAULT.match(body) is not None

    def terminate(self):
        ids = self.server.sessions()
        if ids:
            self.server.run("; ".join(f"KILL {n}" for n in ids[:1]) + ";", check=False)

    def kill9(self):
        self.server.process.kill()
        self.server.process.wait(60)
        self.server.start()
        self.safe()

    def restart(self):
        self.server.stop()
        self.server.start()
        self.safe()

    def wait_ready(self):
        self.server.run("SELECT 1")

    def written(self):
        return Counter(row[0] for row in self.server.run("SELECT t FROM soak"))

    def left(self):
        return int(self.server.run("SELECT COUNT(*) FROM left_over")[0][0])


class RedisSide(Side):
    name, protocol, port, well = "redis", "redis", 6379, "PING"
    refusal = "RESP ERR unknown command"
    FAULT = re.compile(r"RESP (LOADING |ERR database |ERR .*(connection|server|stopping))", re.IGNORECASE)

    def __init__(self, folder):
        super().__init__()
        # What it acknowledged survives the end of its process.
        self.server = Redis(folder, "appendonly yes", "appendfsync everysec")
        self.password = self.server.password
        self.keys = {"protocol": "redis"}
        self.server.ask("SET", "big", "x" * 400000)

    def canary(self, token, n, rng):
        def clean(rows):
            return all(f" {state} " in rows[0] + " " for state in ("db=0", "name=", "sub=0", "multi=-1", "resp=2"))

        return (
            f"CLIENT INFO\nECHO {token}\nCLIENT SETNAME {token}\nSELECT 5\nWATCH canary\nMULTI\n"
            f"SET canary {token}"
        ), lambda rows: clean(rows) and rows[2] == f"${len(token)} {token}" and rows[-1] == "+QUEUED"

    def echo(self, token, n, rng):
        want = [f"${len(token)} {token}", f"${len(str(n))} {n}", "+PONG"]
        return f"ECHO {token}\nECHO {n}\nPING", lambda rows: rows == want

    def insert(self, token, n, rng):
        return f"SET soak:{token} 1", lambda rows: rows == ["+OK"]

    def big(self, token, n, rng):
        size = rng.randrange(1000, 400000)
        want = [f"${size} {'x' * size}", f"${len(token)} {token}"]
        return f"GETRANGE big 0 {size - 1}\nECHO {token}", lambda rows: rows == want

    def sleep(self, token, n, rng):
        want = ["*-1", f"${len(token)} {token}"]
        return f"BLPOP nothing {rng.random() + 0.01:.2f}\nECHO {token}", lambda rows: rows == want

    def error(self, token, n, rng):
        return f"nonsense {token}", None

    def leave(self, token, n, rng):
        return f"MULTI\nSET left:{token} 1\nECHO {token}", lambda rows: rows == ["+OK", "+QUEUED", "+QUEUED"]

    def is_fault(self, body):
        return self.FAULT.match(body) is not None

    def terminate(self):
        self.server.ask("CLIENT", "KILL", "TYPE", "normal")

    def kill9(self):
        self.server.close()
        self.server.start()

    restart = kill9

    def wait_ready(self):
        wait_until(lambda: self.server.ask("PING") == "+PONG", "Redis has loaded its data", 30)

    def written(self):
        return Counter(key.removeprefix("soak:") for key in self.server.keys("soak:*"))

    def left(self):
        return len(self.server.keys("left:*"))


SIDES = {side.name: side for side in (PostgresSide, MySQLSide, RedisSide)}
