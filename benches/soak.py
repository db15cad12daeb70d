# SPDX-License-Identifier: Apache-2.0
"""The soak test behind soak.sh: questions, faults, and the books about both.

A question ends in one of four ways: its result, which is checked; a whole HTTP answer that tells an
error; hung up by the client, on purpose; or none of these, which counts as lost. One case is told
apart: a trap or a time limit ends an instance of WASI 0.3 with all that is in flight there, and an
answer whose head it had already given can then only be cut. That is a fault of the neighbour's, named
cut_answer, if such an end was seen at that moment, and lost otherwise."""
import http.client
import os
import random
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlencode

from fault_proxy import FaultProxy
from harness import Warp, find_guest, find_warp
from infra import Postgres

CLIENTS = 8
HOSTS = {"direct": "direct.soak.example", "proxied": "proxied.soak.example"}
SQLSTATE = re.compile(r"[0-9A-Z]{5} .")
# What a session shows that its last user left behind, and what it then leaves behind itself.
CANARY = (
    "SELECT '{t}', coalesce(current_setting('soak.canary', true), ''), "
    "coalesce(to_regclass('pg_temp.canary')::text, ''), (SELECT count(*) FROM pg_prepared_statements), "
    "(SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()), "
    "(SELECT count(*) FROM pg_listening_channels()), current_setting('application_name'); "
    "SET soak.canary = '{t}'; CREATE TEMPORARY TABLE canary (t text); PREPARE canary AS SELECT 1; "
    "SELECT pg_advisory_lock({n}) IS NULL; LISTEN canary; SET application_name = '{t}'"
)


class Books:
    def __init__(self):
        self.lock = threading.Lock()
        self.asked, self.faults, self.injected = Counter(), Counter(), Counter()
        self.wrong, self.lost, self.written = [], [], []
        self.cut, self.ended = [], []  # answers that broke off; when an instance of WASI 0.3 ended

    def settle(self):
        """Whose fault each cut was."""
        for when, kind, text in self.cut:
            if kind == "p3" and any(abs(when - end) < 1 for end in self.ended):
                self.faults["cut_answer"] += 1
            else:
                self.lost.append(text)

    def note(self, what, *key):
        with self.lock:
            if isinstance(what, Counter):
                what[key[0]] += 1
            else:
                what.append(key[0])


class Client(threading.Thread):
    """Asks one question after the other."""

    OPS = [("canary", 40), ("echo", 20), ("insert", 12), ("big", 8), ("sleep", 6), ("error", 4),
           ("leave", 4), ("abort", 3), ("trap", 2), ("spin", 1)]  # fmt: skip

    def __init__(self, number, port, rng, books, until):
        super().__init__(name=f"client-{number}")
        self.number, self.port, self.rng, self.books, self.until = number, port, rng, books, until
        self.count = 0

    def run(self):
        names, weights = zip(*self.OPS)
        while time.monotonic() < self.until():
            op = self.rng.choices(names, weights)[0]
            try:
                self.ask(op)
            except Exception as e:  # noqa: BLE001: a bug of this script must not end a thread in silence
                self.books.note(self.books.lost, f"{op}: the script failed: {e!r}")

    def ask(self, op):
        self.count += 1
        token = f"t{self.number}x{self.count}x{self.rng.getrandbits(48):x}"
        sql, check = self.question(op, token)
        kind = self.rng.choice(["p2", "p3"])
        path = f"/{op}" if sql is None else "/sql"
        params = {"host": HOSTS[self.rng.choice(list(HOSTS))]}
        if sql is not None:
            params["q"] = sql
        # The instance ends with its connection in hand; one of WASI 0.3 lives on and keeps it.
        if self.rng.random() < (0.5 if kind == "p2" else 0.02) and op in ("leave", "canary"):
            params["keep"] = "1"
        self.books.note(self.books.asked, op)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"{path}?{urlencode(params)}", headers={"Host": f"{kind}.soak.example"})
            if op == "abort":
                time.sleep(self.rng.random() * 0.2)
                return
            answer = connection.getresponse()
            body = answer.read().decode()
        except (http.client.IncompleteRead, http.client.RemoteDisconnected) as e:
            if op != "abort":
                self.books.note(self.books.cut, (time.monotonic(), kind, f"{op} {kind} {token}: {e!r}"))
            return
        except (OSError, http.client.HTTPException) as e:
            if op != "abort":
                self.books.note(self.books.lost, f"{op} {kind} {token}: {e!r}")
            return
        finally:
            connection.close()
        self.judge(op, kind, token, answer.status, body, check)

    def question(self, op, token):
        """SQL (None: another path), and what checks the rows of its answer."""
        n = self.rng.randrange(1, 1 << 30)
        if op == "canary":
            want = f"{token}|||0|0|0|warpgrid"
            return CANARY.format(t=token, n=n), lambda rows: rows[:1] == [want]
        if op == "echo":
            return f"SELECT '{token}', {n}, md5('{token}')", lambda rows: rows[0].startswith(f"{token}|{n}|")
        if op == "insert":
            return f"INSERT INTO soak VALUES ('{token}') RETURNING t", lambda rows: rows == [token]
        if op == "big":
            size = self.rng.randrange(1000, 400000)
            return f"SELECT '{token}', repeat('x', {size})", lambda rows: rows == [f"{token}|{'x' * size}"]
        if op in ("sleep", "abort"):
            return f"SELECT pg_sleep({self.rng.random():.2f}), '{token}'", lambda rows: rows == [f"|{token}"]
        if op == "error":
            return f"SELECT 1 / 0, '{token}'", None
        if op == "leave":
            return f"BEGIN; CREATE TABLE left_{token} (t text); SELECT '{token}'", lambda rows: rows == [token]
        return None, None

    def judge(self, op, kind, token, status, body, check):
        b = self.books
        where = f"{op} {kind} {token}: {status} {body[:200]!r}"
        if status == 200 and check is not None:
            if not check(body.splitlines() or [""]):
                b.note(b.wrong, where)
            elif op == "insert":
                b.note(b.written, token)
        elif op == "error" and status == 400 and body.startswith("22012 "):
            pass
        elif status == 503 and SQLSTATE.match(body):
            b.note(b.faults, body.split(" ", 1)[0])
        elif status in (500, 503, 504) and body:
            b.note(b.faults, f"http_{status}")
            if kind == "p3":
                b.note(b.ended, time.monotonic())
        else:
            b.note(b.wrong, where)


class Chaos(threading.Thread):
    """One fault after the other, whatever the state of things."""

    KINDS = [("terminate", 30), ("cut", 20), ("stall", 10), ("delay", 8), ("cut_after", 12), ("refuse", 8),
             ("kill9", 5), ("restart", 4)]  # fmt: skip

    def __init__(self, pg, proxy, rng, books, until):
        super().__init__(name="chaos")
        self.pg, self.proxy, self.rng, self.books, self.until = pg, proxy, rng, books, until

    def run(self):
        names, weights = zip(*self.KINDS)
        while time.monotonic() < self.until():
            time.sleep(self.rng.uniform(0.1, 0.9))
            what = self.rng.choices(names, weights)[0]
            self.books.note(self.books.injected, what)
            getattr(self, what)()

    def backend(self):
        out = self.pg.psql(
            f"SELECT pid FROM pg_stat_activity WHERE usename = '{self.pg.user}' ORDER BY random() LIMIT 1", check=False
        )
        return int(out.stdout) if out.returncode == 0 and out.stdout.strip() else None

    def terminate(self):
        pid = self.backend()
        self.pg.psql(f"SELECT pg_terminate_backend({pid or 0})", check=False)

    def kill9(self):
        """The server then ends all its sessions and recovers."""
        pid = self.backend()
        if pid:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                return
            self.pg.wait_ready()

    def restart(self):
        self.pg.restart("immediate")
        self.pg.wait_ready()

    def cut(self):
        self.proxy.cut()

    def cut_after(self):
        self.proxy.cut_after(self.rng.randrange(1, 200000))
        time.sleep(0.5)
        self.proxy.cut_after(None)

    def stall(self):
        way = self.rng.choice(["up", "down", "both"])
        self.proxy.stall(way)
        time.sleep(self.rng.uniform(0.05, 2))
        self.proxy.resume(way)

    def delay(self):
        self.proxy.delay(self.rng.uniform(0.001, 0.05))
        time.sleep(1)
        self.proxy.delay(0)

    def refuse(self):
        self.proxy.refuse()
        time.sleep(self.rng.uniform(0.1, 1))
        self.proxy.accept()


def resources(pid):
    """(resident KiB, descriptors)"""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)), len(os.listdir(f"/proc/{pid}/fd"))


def settings(pg, proxy):
    databases = {}
    for name, port in (("direct", pg.port), ("proxied", proxy.port)):
        databases[name] = {
            "host": HOSTS[name], "address": "127.0.0.1", "address_port": port, "database": pg.database,
            "user": pg.user, "password_env": "SOAK_PASSWORD", "pool_size": 6, "connect_timeout": "3s",
            "recv_timeout": "3s", "idle_timeout": "2s", "health_interval": "1s",
        }  # fmt: skip
    services = {
        kind: {"component": str(find_guest(f"dbprobe-{kind}")), "host": f"{kind}.soak.example"}
        for kind in ("p2", "p3")
    }
    env = {"DB_PORT": "5432", "DB_NAME": pg.database, "DB_USER": "anybody", "DB_HOST": HOSTS["direct"]}
    return {"http": {"workers": 2}, "limits": {"request_timeout": "5s"}, "env": env,
            "databases": databases, "services": services}  # fmt: skip


def recovered(server, timeout_s=30):
    """Whether every guest reaches every database again, twice each, when nothing more goes wrong."""
    end = time.monotonic() + timeout_s
    for kind in ("p2", "p3") * 2:
        for host in HOSTS.values():
            path = "/sql?" + urlencode({"q": "SELECT 'well'", "host": host})
            while (r := server.get(path, headers={"Host": f"{kind}.soak.example"})).status != 200:
                if time.monotonic() > end:
                    return f"{kind} {host}: {r}"
                time.sleep(0.2)
    return None


def soak(seconds, seed):
    books, rng = Books(), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="warpgrid-soak.") as folder:
        # The server's log is kept small, and what it acknowledged survives its end.
        pg = Postgres(folder, "--set", "synchronous_commit=on", "--set", "log_connections=off",
                      "--set", "log_disconnections=off", "--set", "log_min_messages=panic")  # fmt: skip
        warp = Warp(find_warp(), Path(folder) / "home")
        try:
            pg.psql(f"CREATE TABLE soak (t text PRIMARY KEY); GRANT ALL ON soak TO {pg.user}; "
                    f"GRANT ALL ON SCHEMA public TO {pg.user}")  # fmt: skip
            with FaultProxy(pg.host, pg.port) as proxy:
                config = settings(pg, proxy)
                with warp.serve(None, config, env={"SOAK_PASSWORD": pg.password}) as server:
                    begun = time.monotonic()
                    until = lambda: begun + seconds  # noqa: E731
                    threads = [Client(n, server.port, random.Random(rng.random()), books, until)
                               for n in range(CLIENTS)]  # fmt: skip
                    threads.append(Chaos(pg, proxy, random.Random(rng.random()), books, until))
                    for t in threads:
                        t.start()
                    time.sleep(min(seconds * 0.2, 20))  # caches and pools fill
                    first = resources(server.pid)
                    for t in threads:
                        t.join(seconds + 120)
                        if t.is_alive():
                            books.lost.append(f"{t.name} does not end")
                    pg.wait_ready()
                    trouble = recovered(server)
                    if trouble:
                        books.lost.append(f"did not recover: {trouble}")
                    time.sleep(min(3.5, seconds / 3))  # idle connections and instances go
                    last = resources(server.pid)
            books.settle()
            check_written(pg, books)
        finally:
            pg.close()
    return books, first, last


def check_written(pg, books):
    there = Counter(row[0] for row in pg.sql("SELECT t FROM soak"))
    books.wrong += [f"insert {t}: acknowledged, and not there" for t in books.written if there[t] != 1]
    left = pg.scalar("SELECT count(*) FROM pg_class WHERE relname LIKE 'left\\_t%'")
    if left != "0":
        books.wrong.append(f"{left} tables of transactions that nobody committed")


def main():
    seconds = int(sys.argv[1])
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"# {seconds} s, seed {seed}", flush=True)
    ok = True
    try:
        books, first, last = soak(seconds, seed)
    except AssertionError as e:  # the host did not end in order, or said what it must not say
        print(f"error: {e}", file=sys.stderr)
        sys.exit(1)

    def line(name, pairs):
        print(f"RESULT soak_{name} " + " ".join(f"{k}={v}" for k, v in pairs), flush=True)

    for what in ("wrong", "lost"):
        for text in getattr(books, what)[:20]:
            print(f"{what}: {text}", file=sys.stderr)
            ok = False
    asked, faults = sum(books.asked.values()), sum(books.faults.values())
    line("answers", [("requests", asked), ("faults", faults), ("wrong", len(books.wrong)),
                     ("lost", len(books.lost)), ("inserts", len(books.written))])  # fmt: skip
    line("asked", sorted(books.asked.items()))
    line("faults", sorted(books.faults.items()))
    line("injected", sorted(books.injected.items()))
    line("memory", [("rss_kib", first[0]), ("rss_end_kib", last[0]), ("growth_kib", last[0] - first[0]),
                    ("fds", first[1]), ("fds_end", last[1])])  # fmt: skip
    sys.exit(0 if ok else 1)


main()
